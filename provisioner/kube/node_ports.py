"""Whose NodePort it is: the API refuses a port that is taken, and does not say by whom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from provisioner.errors import ClusterError
from provisioner.kube.cluster import Cluster
from provisioner.kube.objects import namespaced_name

# The words of kube-apiserver's port allocator (pkg/registry/core/service/portallocator, ErrAllocated).
_REFUSAL = re.compile(r"Invalid value: (\d+): provided port is already allocated")


def allocated_port(message: str) -> int:
    """Return the port that a refusal of the API says is taken, 0 when it says nothing of the kind."""
    found = _REFUSAL.search(message)
    return int(found[1]) if found else 0


def find_holder(cluster: Cluster, port: int) -> str:
    """Return the Service that holds a NodePort as namespace/name, "" when none does."""
    for service in cluster.list("Service"):
        spec = service["spec"]
        held = [entry.get("nodePort") for entry in spec.get("ports") or ()]
        if port in [*held, spec.get("healthCheckNodePort")]:
            return namespaced_name(service)
    return ""


@contextmanager
def explain_conflicts(cluster: Cluster) -> Iterator[None]:
    """Have a refusal of what is done within name the Service that holds the port, for applies and their dry runs."""
    try:
        yield
    except ClusterError as error:
        port = allocated_port(error.message)
        name = find_holder(cluster, port) if port else ""
        if not name:
            raise
        raise ClusterError(
            f"{error.message}: Service {name} holds {port}", "give one of the two another nodePort"
        ) from error
