"""Kubernetes: the API as a Cluster, objects as plain dicts, manifests, kubeadm's configuration."""

from __future__ import annotations

from provisioner.kube.cluster import Cluster
from provisioner.kube.cluster_view import ApiState, ClusterView
from provisioner.kube.objects import Object

__all__ = [
    "ApiState",
    "Cluster",
    "ClusterView",
    "Object",
    "address_pools",
    "certificates",
    "download",
    "hardening",
    "kubeadm",
    "kubeadm_drift",
    "kubeadm_render",
    "kubeadm_state",
    "kubeconfig",
    "kubeconfig_file",
    "load_balancers",
    "manifests",
    "node_ports",
    "node_rows",
    "objects",
    "templates",
]
