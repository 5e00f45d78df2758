"""What a node of the lab has of a cluster, and commands that have to succeed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e import drive

# Prints what a machine must not have once it has left the cluster.
CLUSTER_STATE = (
    "ls /etc/kubernetes/kubelet.conf /etc/kubernetes/pki/ca.crt /etc/cni/net.d/*.conflist 2>/dev/null; "
    "ip -brief link | grep -E 'cni0|flannel|veth'; iptables-save | grep -E 'KUBE-|FLANNEL-|CNI-|PROVISIONER-MASQ'; "
    "ip route | grep 10.244; mount | grep nfs4; true"
)
# Prints "active": packages and the container runtime stay.
RUNTIME_STATE = "dpkg -s kubelet >/dev/null && systemctl is-active containerd"


def live(name: str) -> dict[str, str]:
    """Return uid and whether a node is cordoned, {} without one."""
    items = json.loads(drive.kubectl("get nodes -o json"))["items"]
    found = {item["metadata"]["name"]: item for item in items}
    if name not in found:
        return {}
    cordoned = json.dumps(found[name]["spec"].get("unschedulable", False))
    return {"uid": found[name]["metadata"]["uid"], "cordoned": cordoned}


def done(*command: str, at: Path = drive.SITE) -> drive.Ran:
    """Run a provisioner command that has to succeed."""
    ran = drive.operator(*command, site=at)
    assert ran.status == 0, ran.text[-4000:]
    return ran
