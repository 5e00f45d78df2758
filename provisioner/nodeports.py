"""Whose NodePort it is: the API refuses a port that is taken, and does not say by whom."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.kube import Cluster

# The words of kube-apiserver's port allocator (pkg/registry/core/service/portallocator, ErrAllocated).
_REFUSAL = re.compile(r"Invalid value: (\d+): provided port is already allocated")


def refused(message: str) -> int:
    """Return the port that a refusal of the API says is taken, 0 when it says nothing of the kind."""
    found = _REFUSAL.search(message)
    return int(found[1]) if found else 0


def holder(cluster: Cluster, port: int) -> str:
    """Return the Service that holds a NodePort as namespace/name, "" when none does."""
    for service in cluster.list("Service"):
        spec = service["spec"]
        held = [entry.get("nodePort") for entry in spec.get("ports") or ()]
        if port in [*held, spec.get("healthCheckNodePort")]:
            return f"{service['metadata']['namespace']}/{service['metadata']['name']}"
    return ""
