"""Kubernetes: the API as a Cluster, objects as plain dicts, manifests, kubeadm's configuration."""

from __future__ import annotations

from provisioner.kube.cluster import ApiState, Cluster
from provisioner.kube.objects import Object

__all__ = [
    "ApiState",
    "Cluster",
    "Object",
    "address_pools",
    "certificates",
    "download",
    "kubeadm",
    "kubeadm_drift",
    "kubeadm_state",
    "kubeconfig",
    "load_balancers",
    "manifests",
    "node_ports",
    "objects",
    "templates",
]
