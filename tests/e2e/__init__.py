"""The whole road on the lab: blank VMs, a cluster, proofs, and kills on the way."""
