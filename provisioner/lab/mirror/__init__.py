"""The mirror: what the lab's machines install from when upstream is unreachable.

It serves the real programs, built from package registries (Debian's archive, the Go module proxy), in upstream's own
layout: apt repositories, an image registry, manifests. `python -m provisioner.lab.mirror build`, `info`, `serve`.
"""

__all__ = ["assembly", "cache", "editions", "for_tests", "manifests"]
