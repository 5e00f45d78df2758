"""The whole road, in order: one file a step, and this tuple is the story."""

from __future__ import annotations

from provisioner.engine import Step
from provisioner.steps import (
    containerd,
    control_plane,
    flannel,
    ingress,
    join,
    kubelet_certificates,
    kubernetes,
    l2_proof,
    metallb,
    metrics_server,
    nfs_server,
    nodes,
    pod_routes,
    pools,
    preflight,
    prepare,
    storage,
    workloads,
)

STEPS: tuple[Step, ...] = (
    preflight.STEP,
    prepare.STEP,
    containerd.STEP,
    kubernetes.STEP,
    control_plane.STEP,
    flannel.STEP,
    join.STEP,
    pod_routes.STEP,
    kubelet_certificates.STEP,
    nodes.STEP,
    nfs_server.STEP,
    storage.STEP,
    metallb.STEP,
    pools.STEP,
    metrics_server.STEP,
    ingress.STEP,
    workloads.STEP,
    l2_proof.STEP,
)

__all__ = [
    "STEPS",
    "drain",
    "ingress",
    "kubeadm_state",
    "kubelet_certificates",
    "kubernetes",
    "l2_proof",
    "pool_supply",
    "removal",
    "uncordon",
]
