"""`l2 collect` against a real API server with MetalLB's CRDs, in its own network namespace.

The namespace has the nodes' addresses, so the API server's pod proxy really fetches metrics, and really asks a kubelet
for logs; the content served there is what MetalLB's speakers produce.
"""
