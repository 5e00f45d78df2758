"""The whole road, in order: one file a step, and this tuple is the story."""

from __future__ import annotations

from provisioner.step import Step
from provisioner.steps import (
    announcements,
    bridge,
    containerd,
    control_plane,
    ingress,
    join,
    kubelet_certificates,
    kubernetes,
    metallb,
    metrics_server,
    network,
    nfs_server,
    nodes,
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
    network.STEP,
    join.STEP,
    bridge.STEP,
    kubelet_certificates.STEP,
    nodes.STEP,
    nfs_server.STEP,
    storage.STEP,
    metallb.STEP,
    pools.STEP,
    metrics_server.STEP,
    ingress.STEP,
    workloads.STEP,
    announcements.STEP,
)
