"""The pod network: flannel's manifest on the cluster's own NIC, or the bridge plugin and routes."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from provisioner.errors import HostError, NotYet
from provisioner.kube import Object, manifests
from provisioner.ssh import Host, HostNic
from provisioner.steps import flannel, pod_routes
from provisioner.steps.pod_routes import CNI, SCRIPT, UNIT, UNIT_FILE
from tests import hosts_toml
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node
from tests.unit.steps.doubles import POOL, RecordingHost, carry_out, drain, fleet_for, running, site_at, summaries

BRIDGE = 'network = "bridge"'

# --- flannel ----------------------------------------------------------------------------------------------------

CONFIG: Object = {
    "kind": "ConfigMap",
    "metadata": {"name": "kube-flannel-cfg", "namespace": "kube-flannel"},
    "data": {
        "cni-conf.json": '{"name": "cbr0"}',
        "net-conf.json": json.dumps(
            {"Network": "10.244.0.0/16", "EnableNFTables": False, "Backend": {"Type": "vxlan"}}
        ),
    },
}
DAEMON_SET: Object = {
    "kind": "DaemonSet",
    "metadata": {"name": "kube-flannel-ds", "namespace": "kube-flannel"},
    "spec": {
        "template": {
            "spec": {
                "initContainers": [{"name": "install-cni", "args": ["-f"]}],
                "containers": [{"name": "kube-flannel", "args": ["--ip-masq", "--kube-subnet-mgr"]}],
            }
        }
    },
}


def test_flannel_gets_network_and_backend() -> None:
    before = json.dumps(CONFIG)
    result = flannel.patched(CONFIG, "10.200.0.0/16", "host-gw", {"eth1"}, [])
    assert json.loads(result["data"]["net-conf.json"]) == {
        "Network": "10.200.0.0/16",
        "EnableNFTables": False,
        "Backend": {"Type": "host-gw"},
    }
    assert result["data"]["cni-conf.json"] == '{"name": "cbr0"}'
    assert json.dumps(CONFIG) == before


@pytest.mark.parametrize(
    ("nics", "argument"),
    [
        ({"eth1"}, "--iface=eth1"),
        ({"eth1", "enp7s0"}, r"--iface-regex=^(192\.168\.56\.10|192\.168\.56\.11)$"),
        (set(), r"--iface-regex=^(192\.168\.56\.10|192\.168\.56\.11)$"),
    ],
)
def test_flannel_uses_the_clusters_nic(nics: set[str], argument: str) -> None:
    """Its default is the NIC of the default route, which on Vagrant is the NAT one of all machines."""
    result = flannel.patched(DAEMON_SET, "10.244.0.0/16", "vxlan", nics, ["192.168.56.11", "192.168.56.10"])
    spec = result["spec"]["template"]["spec"]
    assert spec["containers"][0]["args"] == ["--ip-masq", "--kube-subnet-mgr", argument]
    assert spec["initContainers"][0]["args"] == ["-f"]
    assert len(DAEMON_SET["spec"]["template"]["spec"]["containers"][0]["args"]) == 2


@pytest.mark.parametrize(
    ("prefix", "other", "expected"),
    [("24", "192.168.56.12", True), ("24", "192.168.57.12", False), ("16", "192.168.57.12", True)],
)
def test_one_segment(tmp_path: Path, prefix: str, other: str, expected: bool) -> None:
    hosts = "".join(
        hosts_toml.host(f"h{address.replace('.', '-')}", address, role)
        for address, role in (("192.168.56.10", "control-plane"), (other, "worker"))
    )
    fleet = fleet_for(flannel.STEP, site_at(tmp_path, hosts=hosts + POOL))
    first = fleet["h192-168-56-10"]
    first.facts = replace(first.facts, nics=(HostNic("eth1", "m", True, ("10.0.2.15/24", f"192.168.56.10/{prefix}")),))
    assert flannel.one_segment(cast(Host, first)) is expected


def test_without_a_nic_there_is_no_segment(tmp_path: Path) -> None:
    host = fleet_for(flannel.STEP, site_at(tmp_path))["master"].know(nics=())
    assert not flannel.one_segment(cast(Host, host))


@pytest.mark.parametrize(("far", "backend"), [(False, "host-gw"), (True, "vxlan")])
def test_the_backend_follows_the_hosts_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: bool, backend: str
) -> None:
    manifest = yaml.safe_dump_all([{"apiVersion": "v1", **CONFIG}, {"apiVersion": "apps/v1", **DAEMON_SET}])
    monkeypatch.setattr(manifests, "fetch", lambda site, download: manifest.encode())
    host = fleet_for(flannel.STEP, site_at(tmp_path))["master"]
    if far:
        host.know(nics=(HostNic("eth1", "m", True, ("192.168.56.10/31",)),))
    cluster = FakeCluster()
    assert carry_out(flannel.STEP, host, cluster) == [
        "apply ConfigMap kube-flannel/kube-flannel-cfg",
        "apply DaemonSet kube-flannel/kube-flannel-ds",
    ]
    assert json.loads(cluster.applied[0]["data"]["net-conf.json"])["Backend"] == {"Type": backend}
    assert cluster.applied[1]["spec"]["template"]["spec"]["containers"][0]["args"][-1] == "--iface=eth1"
    assert drain(flannel.STEP, host, cluster) == []


# --- bridge -----------------------------------------------------------------------------------------------------


def ranges(**pods: str) -> FakeCluster:
    cluster = FakeCluster()
    for name, pod_range in pods.items():
        cluster.hold({**node(name), "spec": {"podCIDR": pod_range} if pod_range else {}})
    return cluster


ALL = {"master": "10.244.0.0/24", "worker1": "10.244.1.0/24", "worker2": "10.244.2.0/24"}


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    return fleet_for(pod_routes.STEP, site_at(tmp_path, BRIDGE))["worker1"]


def test_a_new_node(host: RecordingHost) -> None:
    assert carry_out(pod_routes.STEP, host, ranges(**ALL)) == [
        f"write {SCRIPT}",
        f"write {UNIT_FILE}",
        f"enable and start {UNIT}",
        f"write {CNI}",
    ], "the configuration comes last: the kubelet reports Ready as soon as it is there"
    script, mode = host.files[SCRIPT]
    assert mode == 0o755
    assert [line for line in script.splitlines() if "route" in line and not line.startswith("#")] == [
        "ip route replace 10.244.0.0/24 via 192.168.56.10",
        "ip route replace 10.244.2.0/24 via 192.168.56.12",
    ]
    assert host.commands == [
        "systemctl daemon-reload",
        f"systemctl enable --quiet {UNIT} && systemctl restart {UNIT}",
    ]


def converged(host: RecordingHost, cluster: FakeCluster) -> RecordingHost:
    carry_out(pod_routes.STEP, host, cluster)
    return host.keep(mtime=100.5).know(units={UNIT: running(since=100.0)})


def test_a_converged_host(host: RecordingHost) -> None:
    assert drain(pod_routes.STEP, converged(host, ranges(**ALL)), ranges(**ALL)) == []


@pytest.mark.parametrize(
    ("since", "active", "expected"),
    [
        (99.0, True, [f"enable and start {UNIT}"]),
        (0.0, False, [f"enable and start {UNIT}"]),
        (101.0, True, []),
    ],
    ids=["killed before the restart", "stopped", "restarted later"],
)
def test_partial_states(host: RecordingHost, since: float, active: bool, expected: list[str]) -> None:
    converged(host, ranges(**ALL)).know(units={UNIT: replace(running(since), active=active)})
    assert summaries(pod_routes.STEP, host, ranges(**ALL)) == expected


def test_a_node_that_joins_later_gets_a_route(host: RecordingHost) -> None:
    converged(host, ranges(master="10.244.0.0/24", worker1="10.244.1.0/24"))
    assert summaries(pod_routes.STEP, host, ranges(**ALL)) == [f"change {SCRIPT}", f"enable and start {UNIT}"]


def test_a_node_that_is_not_in_hosts_toml_gets_no_route(host: RecordingHost) -> None:
    carry_out(pod_routes.STEP, host, ranges(**ALL, stranger="10.244.9.0/24"))
    assert "10.244.9.0" not in host.files[SCRIPT][0]


def test_a_node_without_a_pod_cidr_is_an_error(host: RecordingHost) -> None:
    with pytest.raises(NotYet, match="has no pod CIDR in the API yet"):
        drain(pod_routes.STEP, host, ranges(master="10.244.0.0/24", worker1=""))


def test_bridge_needs_one_segment(host: RecordingHost) -> None:
    host.know(nics=(HostNic("eth1", "m", True, ("192.168.56.11/32",)),))
    with pytest.raises(HostError, match="needs all hosts on one segment") as raised:
        drain(pod_routes.STEP, host, ranges(**ALL))
    assert raised.value.remedy == 'set network = "flannel" under [cluster]'


def test_the_conflist() -> None:
    document = json.loads(pod_routes.cni_config("10.244.1.0/24"))
    plugins = {plugin["type"]: plugin for plugin in document["plugins"]}
    assert [*plugins] == ["bridge", "portmap"]
    ((own,),) = plugins["bridge"]["ipam"]["ranges"]
    assert own == {"subnet": "10.244.1.0/24", "gateway": "10.244.1.1"}
    assert plugins["bridge"]["isGateway"]
    assert plugins["bridge"]["hairpinMode"], "a pod reaches itself through its own Service"
    assert not plugins["bridge"]["ipMasq"], "the script masquerades, and never between pods"
    assert plugins["portmap"]["capabilities"] == {"portMappings": True}


def test_the_script_can_run_twice(tmp_path: Path) -> None:
    """Runs in sh, with `ip` and `iptables` replaced by scripts that record their arguments."""
    text = pod_routes.routes_script("10.244.0.0/16", {"10.244.0.0/24": "192.168.56.10"})
    tools, said = tmp_path / "bin", tmp_path / "said"
    tools.mkdir()
    for name in ("ip", "iptables"):
        fails = 'case "$*" in *" -C "*|*" -N "*) exit 1;; esac\n' if name == "iptables" else ""
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{said}\n{fails}')
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}
    subprocess.run(["/bin/sh", "-c", text], check=True, env=environment)
    assert said.read_text().splitlines() == [
        "ip route replace 10.244.0.0/24 via 192.168.56.10",
        "iptables -t nat -N PROVISIONER-MASQ",
        "iptables -t nat -F PROVISIONER-MASQ",
        "iptables -t nat -A PROVISIONER-MASQ -d 10.244.0.0/16 -j RETURN",
        "iptables -t nat -A PROVISIONER-MASQ -d 224.0.0.0/4 -j RETURN",
        "iptables -t nat -A PROVISIONER-MASQ -j MASQUERADE",
        "iptables -t nat -C POSTROUTING -s 10.244.0.0/16 -j PROVISIONER-MASQ",
        "iptables -t nat -A POSTROUTING -s 10.244.0.0/16 -j PROVISIONER-MASQ",
    ]


@pytest.mark.parametrize("pod_range", ["10.244.1.0/24", "10.200.128.0/25", "172.20.0.0/20"])
def test_the_gateway_is_the_first_address(pod_range: str) -> None:
    document: Any = json.loads(pod_routes.cni_config(pod_range))
    gateway = ipaddress.ip_address(document["plugins"][0]["ipam"]["ranges"][0][0]["gateway"])
    assert gateway == ipaddress.ip_network(pod_range)[1]
