"""Remove the cluster's network from a node, in a network namespace: real links, routes and packet filter."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from provisioner.steps import reset_node

pytestmark = pytest.mark.integration
# Chains without their counters: a frame may pass between two reads.
STATE = (
    "ip -brief link | awk '{print $1}' | cut -d@ -f1; ip route; "
    "iptables-save | grep -E '^[-:]' | sed 's/ \\[[0-9]*:[0-9]*]$//'"
)
BEFORE = """
ip link set lo up
ip link add mine type bridge; ip address add 192.0.2.10/24 dev mine; ip link set mine up
ip route add 198.51.100.0/24 via 192.0.2.1
iptables -t nat -N MINE; iptables -t nat -A PREROUTING -p tcp --dport 80 -j MINE
iptables -A INPUT -p tcp --dport 22 -m comment --comment 'from the operator' -j ACCEPT
iptables -A INPUT -p tcp --dport 23 -m comment --comment 'until KUBE-SERVICES is there -j KUBE-SERVICES' -j ACCEPT
iptables -A INPUT -p tcp --dport 24 -m comment --comment KUBE-ACCESS -j ACCEPT
iptables -A INPUT -p tcp --dport 25 -m comment --comment 'a \\" quote -j KUBE-X' -j ACCEPT
iptables -N TO-CNI-NET; iptables -A INPUT -p tcp --dport 26 -j TO-CNI-NET; iptables -A TO-CNI-NET -j RETURN
iptables -N MY-KUBE-; iptables -A INPUT -p tcp --dport 27 -g MY-KUBE-
ip route add 10.244.77.0/24 via 192.0.2.1; ip route add blackhole 10.244.78.0/24
"""
JOINED = """
ip link add cni0 type bridge; ip address add 10.244.1.1/24 dev cni0; ip link set cni0 up
ip route add 10.244.0.0/24 via 192.0.2.11; ip route add 10.244.2.0/24 via 192.0.2.12
iptables -t nat -N KUBE-SERVICES
iptables -t nat -A PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES
iptables -t nat -N PROVISIONER-MASQ; iptables -t nat -A POSTROUTING -s 10.244.0.0/16 -j PROVISIONER-MASQ
iptables -N FLANNEL-FWD; iptables -A FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD
iptables -t nat -N CNI-HOSTPORT-DNAT; iptables -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
"""


def test_reset_removes_the_clusters_network_and_nothing_else() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if not shutil.which("iptables-save"):
        pytest.skip("iptables is not installed")
    script = reset_node.network_script("10.244.0.0/16", ["192.0.2.11", "192.0.2.12"])
    whole = f"{BEFORE}{STATE}\necho ====\n{JOINED}{STATE}\necho ====\n{script}{STATE}\necho ====\n{script}{STATE}"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-euc", whole], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    before, joined, after, again = (part.strip().splitlines() for part in done.stdout.split("===="))
    assert len(joined) > len(before)
    assert set(before) <= set(after), "the operator's own configuration stays"
    more = set(after) - set(before)
    assert all(line.startswith(":") and line.endswith(" ACCEPT") for line in more), "except built-in chains"
    assert again == after, "a second run changes nothing"
