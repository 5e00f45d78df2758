"""Nodes as system containers: a Debian with systemd as PID 1 in namespaces and cgroups of its own.

A supervisor process stands for each node, as a QEMU process stands for a VM: killing it cuts the node's power.
"""

from provisioner.lab.containers import cgroups, nfs
from provisioner.lab.containers.machine import CONTAINERS

__all__ = ["CONTAINERS", "cgroups", "kernel", "nfs"]
