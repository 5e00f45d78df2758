"""NodePort conflicts: the API refuses an allocated port without naming the Service that has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from provisioner.errors import ClusterError
from provisioner.kube.cluster import Cluster
from provisioner.kube.objects import namespaced_name

# ErrAllocated of kube-apiserver's port allocator (pkg/registry/core/service/portallocator).
_REFUSAL = re.compile(r"Invalid value: (\d+): provided port is already allocated")


def allocated_port(message: str) -> int:
    """Return the port that an API error reports as allocated, 0 for any other error."""
    found = _REFUSAL.search(message)
    return int(found[1]) if found else 0


def find_holder(cluster: Cluster, port: int) -> str:
    """Return the namespace/name of the Service that has a NodePort, "" if none has."""
    for service in cluster.list("Service"):
        spec = service["spec"]
        held = [entry.get("nodePort") for entry in spec.get("ports") or ()]
        if port in [*held, spec.get("healthCheckNodePort")]:
            return namespaced_name(service)
    return ""


@contextmanager
def explain_conflicts(cluster: Cluster) -> Iterator[None]:
    """Add the Service that has the port to a conflict in an apply or its dry run."""
    try:
        yield
    except ClusterError as error:
        port = allocated_port(error.message)
        name = find_holder(cluster, port) if port else ""
        if not name:
            raise
        raise ClusterError(
            f"{error.message}: Service {name} has port {port}", "change the nodePort of one of the two"
        ) from error
