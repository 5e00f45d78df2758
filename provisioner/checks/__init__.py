"""The checks that `verify` runs, in order; each proves one thing that a user of the cluster needs.

A check is a module with a CHECK in the tuple. The other modules serve several checks or hold the second idea of one;
the first sentence of their docstring says whose. Checks run on the operator's machine, read the API, and act as a
client outside the cluster.
"""

from __future__ import annotations

from provisioner.checks import (
    certificates,
    configmap,
    daemonset,
    dns,
    freed,
    hardening,
    hpa,
    ingress,
    loadbalancer,
    nodeport,
    nodes,
    reachability,
    retained,
    statefulset,
    storage,
    system,
    vip,
)
from provisioner.checks.check import Check, Context, Finding
from provisioner.checks.runner import choose, run

__all__ = ["CHECKS", "Check", "Context", "Finding", "certificates", "choose", "run"]

CHECKS: tuple[Check, ...] = (
    nodes.CHECK,
    reachability.CHECK,
    certificates.CHECK,
    hardening.CHECK,
    system.CHECK,
    vip.CHECK,
    dns.CHECK,
    storage.CHECK,
    retained.CHECK,
    loadbalancer.CHECK,
    freed.CHECK,
    ingress.CHECK,
    nodeport.CHECK,
    daemonset.CHECK,
    configmap.CHECK,
    hpa.CHECK,
    statefulset.CHECK,
)
