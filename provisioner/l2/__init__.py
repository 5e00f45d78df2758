"""Layer-2 diagnosis: who answers for an address on the segment, asked with frames from outside the cluster.

interfaces: where this machine meets the segment. frames: what is asked and what is read in an answer, built with
Scapy. prober: the one raw socket. scan: a whole sweep. owners: which node a MAC belongs to. commands: `l2 …`.
"""
