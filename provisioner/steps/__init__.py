"""What apply does, one module a step, in the order of the tuple below.

A step is a module with a STEP, which is in the tuple, or with a function `step`, which the commands `node` and `reset`
run: drain, uncordon, reset_node and delete_node, put in order by removal. Any other module belongs to the one or two
steps that its first sentence names; what more of them share lives in engine or kube.
"""

from __future__ import annotations

from provisioner.engine import Step
from provisioner.steps import (
    containerd,
    control_plane,
    flannel,
    ingress,
    join,
    kubeadm_files,
    kubeadm_objects,
    kubelet_certificates,
    kubernetes,
    l2_proof,
    metallb,
    metrics_server,
    nfs_server,
    nodes,
    pod_routes,
    pool_conflicts,
    pools,
    preflight,
    prepare,
    reachability,
    storage,
    vip,
    workloads,
)
from provisioner.steps.flannel import one_segment

STEPS: tuple[Step, ...] = (
    preflight.STEP,
    reachability.STEP,
    prepare.STEP,
    containerd.STEP,
    kubernetes.STEP,
    vip.STEP,
    control_plane.STEP,
    flannel.STEP,
    join.STEP,
    kubeadm_files.STEP,
    kubeadm_objects.STEP,
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
    "containerd",
    "drain",
    "ingress",
    "kernel_settings",
    "kubelet_certificates",
    "kubernetes",
    "l2_proof",
    "nfs_server",
    "one_segment",
    "pool_conflicts",
    "removal",
    "uncordon",
    "vip",
]
