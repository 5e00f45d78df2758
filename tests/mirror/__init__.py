"""The offline mirror: what the lab's machines use where upstream is out of reach.

Real programs built from package registries (Debian's archive, the Go module proxy), served in upstream's own
layout: apt repositories, an image registry, manifests. `python -m tests.mirror build`, `info`, `serve`.
"""
