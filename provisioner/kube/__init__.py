"""Kubernetes: the API as a Cluster, objects as plain dicts, manifests, kubeadm's configuration."""

from __future__ import annotations

from provisioner.kube.cluster import Cluster, State
from provisioner.kube.objects import Object

__all__ = [
    "Cluster",
    "Object",
    "State",
    "certificates",
    "cluster",
    "download",
    "kubeadm",
    "kubeconfig",
    "load_balancers",
    "manifests",
    "node_ports",
    "objects",
    "templates",
]
