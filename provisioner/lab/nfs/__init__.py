"""NFS in user space, for nodes of a lab whose kernel has none: a mount.nfs, and exportfs's hand to NFS-Ganesha.

It runs in the nodes, with Debian's Python and nothing else, so it imports nothing of the rest of the project.
"""
