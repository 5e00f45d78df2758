"""`l2 collect` against a real API server with MetalLB's own CRDs, in a network namespace of its own.

The namespace has the nodes' addresses, so that the API server's pod proxy really fetches metrics, and really asks
a kubelet for logs; what is served there is what MetalLB's speakers say.
"""
