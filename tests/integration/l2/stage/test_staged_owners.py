"""Several owners or the wrong one: frames that look alike, and a distinct verdict for each."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.l2.conftest import mac
from tests.integration.l2.stage import collected
from tests.integration.l2.stage.network import until
from tests.integration.l2.stage.stage import Checked, Stage

pytestmark = pytest.mark.integration

IPVS = {"mode": "ipvs", "strict_arp": False}


def test_two_speakers_that_cannot_reach_each_other_are_a_split_brain(stage: Stage) -> None:
    ip = stage.free(100, 109, "s1", ("s1", "s2"))
    stage.announced(stage.split, ip, "s1", "s2")
    one = stage.check(stage.split, ip)
    assert (one.exit, one.verdict) == (1, "SPLIT_BRAIN"), one.result
    assert one.owner_kinds() == {("s1", "eth1", "speaker"), ("s2", "eth1", "speaker")}
    assert any("7946" in text for text in (one.result["remedy"], *one.result["evidence"]))


def test_two_kernels_with_an_ipvs_address_are_arp_flux(stage: Stage) -> None:
    """kube-proxy in ipvs mode binds external IPs to every node's kube-ipvs0; without strictARP all answer."""
    ip = stage.free_in_system("w1")
    stage.announced(stage.system, ip, "w1")
    for node in stage.system.nodes:
        stage.network.shell(node, "ip link add kube-ipvs0 type bridge")
    with stage.kernel_address("w1", ip, "kube-ipvs0"), stage.kernel_address("w2", ip, "kube-ipvs0"):
        one = stage.check(stage.system, ip, facts=collected.facts(stage.system, kube_proxy=IPVS))
    for node in stage.system.nodes:
        stage.network.shell(node, "ip link delete kube-ipvs0")
    assert (one.exit, one.verdict) == (1, "ARP_FLUX_IPVS"), one.result
    assert set(one.owners) == {mac(11), mac(12)}
    assert one.owners[mac(12)]["class"] == "kernel"


def test_two_macs_of_one_node_are_two_nics(stage: Stage) -> None:
    ip = stage.free(110, 113, "m1", ("m1",))
    stage.announced(stage.lone, ip, "m1")
    one = stage.check(stage.lone, ip)
    assert (one.exit, one.verdict) == (1, "MULTI_NIC_SAME_SEGMENT"), one.result
    assert one.owner_kinds() == {("m1", "eth1", "speaker"), ("m1", "eth2", "speaker")}


@pytest.fixture(scope="module")
def foreign(stage: Stage) -> dict[str, Checked]:
    """Put a foreign host on four addresses and another MetalLB on a fifth; check all in one run."""
    ips = {
        "beside": stage.free_in_system("w1"),
        "instead": "192.0.2.228",
        "unassigned": stage.free_in_system("w1"),
        "beside, IPv6": stage.free(200, 255, "w1", ("w1", "w2"), "2001:db8::"),
        # No node of system may announce it, or one would, for the other's Service: they share an API server.
        "another MetalLB": "192.0.2.239",
    }
    stage.announced(stage.system, ips["beside"], "w1")
    stage.announced(stage.system, ips["beside, IPv6"], "w1")
    stage.system.service("instead", ips["instead"], on=())
    stage.system.service("ours", ips["another MetalLB"], on=("w1",))
    stage.announced(stage.split, ips["another MetalLB"], "s1", "s2")
    # At once: a speaker sends gratuitous ARP for five seconds only, and what follows takes longer.
    told = stage.check_all(stage.system, [ips["another MetalLB"]])
    others = [ip for name, ip in ips.items() if name != "another MetalLB"]
    with stage.foreign_host("printer", 61, *others):
        told |= stage.check_all(stage.system, others)
    return {name: told[ip] for name, ip in ips.items()}


def test_a_foreign_host_besides_the_leader_is_a_conflict(foreign: dict[str, Checked]) -> None:
    one = foreign["beside"]
    assert (one.exit, one.verdict) == (1, "ADDRESS_CONFLICT"), one.result
    assert {owner["mac"]: owner["class"] for owner in one.result["owners"]} == {mac(11): "speaker", mac(61): "foreign"}


def test_a_foreign_ipv6_host_is_a_conflict(foreign: dict[str, Checked]) -> None:
    one = foreign["beside, IPv6"]
    assert (one.exit, one.verdict) == (1, "ADDRESS_CONFLICT"), one.result
    assert set(one.owners) == {mac(11), mac(61)}


def test_a_foreign_host_instead_of_the_leader_is_a_conflict(foreign: dict[str, Checked]) -> None:
    one = foreign["instead"]
    assert (one.exit, one.verdict) == (1, "ADDRESS_CONFLICT"), one.result
    assert set(one.owners) == {mac(61)}


def test_a_foreign_host_on_an_unassigned_address(foreign: dict[str, Checked]) -> None:
    one = foreign["unassigned"]
    assert (one.exit, one.verdict) == (1, "POOL_ADDRESS_IN_USE"), one.result
    assert set(one.owners) == {mac(61)}


def test_another_metallb_is_a_conflict(foreign: dict[str, Checked]) -> None:
    """Its speakers are not on this cluster's nodes: their frames have a speaker's shape, but foreign MACs."""
    one = foreign["another MetalLB"]
    assert (one.exit, one.verdict) == (1, "ADDRESS_CONFLICT"), one.result
    assert set(one.owners) == {mac(21), mac(22)}
    assert one.evidence_has("another cluster"), one.result


VRRP = """
global_defs {{
    script_user nobody
    vrrp_version 3
}}
vrrp_instance vip {{
    state MASTER
    interface eth1
    virtual_router_id 51
    priority 255
    advert_int 0.2
    garp_master_refresh {refresh}
    virtual_ipaddress {{
        {ip}/32
    }}
}}
"""


@contextmanager
def keepalived(stage: Stage, name: str, ip: str, refresh: int = 0) -> Iterator[None]:
    """Run the real keepalived on a host, as master of an address, for the length of a block."""
    folder = stage.network.folder
    configuration = folder / f"keepalived-{name}.conf"
    configuration.write_text(VRRP.format(ip=ip, refresh=refresh))
    pids = [f"--{kind}={folder / kind}-{name}.pid" for kind in ("pid", "vrrp_pid")]
    words = ("keepalived", "-n", "-l", "-P", "-f", str(configuration), *pids)
    stage.network.spawn(f"keepalived-{name}", name, *words)
    try:
        until(
            lambda: f"{ip}/32" in stage.network.shell(name, "ip -o address show dev eth1"), "keepalived to be master"
        )
        yield
    finally:
        stage.network.programs[f"keepalived-{name}"].terminate()
        stage.network.programs.pop(f"keepalived-{name}").wait(timeout=20)


def test_a_virtual_router_on_the_address_is_a_conflict(stage: Stage) -> None:
    ip = stage.free_in_system("w2")
    stage.announced(stage.system, ip, "w2")
    with stage.foreign_host("router", 62) as router, keepalived(stage, "router", ip):
        one = stage.check(stage.system, ip)
    assert (one.exit, one.verdict) == (1, "ADDRESS_CONFLICT"), one.result
    assert set(one.owners) == {mac(12), router}
    assert one.owners[router]["class"] == "foreign"
    assert not one.evidence_has("another cluster"), "keepalived's frames are not MetalLB's"


def test_kube_vip_on_a_node_is_a_second_announcer(stage: Stage) -> None:
    """keepalived stands in for kube-vip: the address in a node's kernel, and repeated gratuitous frames."""
    ip = stage.free_in_system("w1")
    stage.announced(stage.system, ip, "w1")
    others = collected.NONE | {"kube_vip": True}
    with keepalived(stage, "w2", ip, refresh=1):
        one = stage.check(stage.system, ip, facts=collected.facts(stage.system, others=others))
    assert (one.exit, one.verdict) == (1, "KUBE_VIP_DUPLICATE"), one.result
    assert set(one.owners) == {mac(11), mac(12)}


KUBE_VIP = """
import socket, sys, time
ip, own = socket.inet_aton(sys.argv[1]), bytes.fromhex(sys.argv[2].replace(":", ""))
broadcast = b"\\xff" * 6
reply = bytes.fromhex("0001080006040002") + own + ip + broadcast + b"\\xff" * 4
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(("eth1", 0x0806))
while True:
    raw.send(broadcast + own + b"\\x08\\x06" + reply)
    time.sleep(3)
"""


def test_frames_every_three_seconds_reveal_kube_vip(stage: Stage) -> None:
    """kube-vip's pods are unknown; it sends unsolicited replies for as long as it has the address."""
    ip = stage.free_in_system("w1")
    stage.announced(stage.system, ip, "w1")
    known = collected.facts(stage.system)
    del known["others"]
    with stage.kernel_address("w2", ip):
        stage.network.spawn("kube-vip", "w2", sys.executable, "-c", KUBE_VIP, ip, mac(12))
        try:
            one = stage.check(stage.system, ip, "--timeout", "3", facts=known)
        finally:
            stage.network.kill("kube-vip")
    assert (one.exit, one.verdict) == (1, "KUBE_VIP_DUPLICATE"), one.result
    assert one.evidence_has(mac(12), "every 3 s"), one.result


def test_servicelb_assigns_a_nodes_own_address(stage: Stage) -> None:
    """K3s's ServiceLB: a Service with a node's address, which is in no pool of MetalLB."""
    ip = "192.0.2.52"
    stage.plain.service("klipper", ip, on=("n2",))
    others = collected.NONE | {"servicelb": True}
    with stage.network.socket_in("n2", lambda: socket.create_server((ip, 80))):  # its pod has the node's port
        one = stage.check(stage.plain, ip, facts=collected.facts(stage.plain, others=others))
    assert (one.exit, one.verdict) == (1, "SERVICELB_CONFLICT"), one.result
    assert one.owner_kinds() == {("n2", "eth1", "kernel")}


PROXY = """
ip link add uplink type bridge
ip link set uplink up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv4/conf/eth1/proxy_arp
ip route add {ip} dev uplink
"""


@pytest.fixture(scope="module")
def proxied(stage: Stage) -> dict[str, Checked]:
    """Enable proxy ARP on a router for one address and on a node for another; check both in one run."""
    ips = {"proxy": stage.free_in_system("w1"), "w2": stage.free_in_system("w1")}
    with stage.foreign_host("proxy", 63):
        for name, ip in ips.items():
            stage.announced(stage.system, ip, "w1")
            stage.network.shell(name, PROXY.format(ip=ip))
        try:
            told = stage.check_all(stage.system, [*ips.values()])
        finally:
            for name in ips:
                stage.network.shell(name, "ip link delete uplink; echo 0 >/proc/sys/net/ipv4/conf/eth1/proxy_arp")
    return {name: told[ip] for name, ip in ips.items()}


@pytest.mark.parametrize(("name", "number"), [("proxy", 63), ("w2", 12)])
def test_answering_for_others_is_proxy_arp(proxied: dict[str, Checked], name: str, number: int) -> None:
    """The router is not a foreign owner, and the node no split brain."""
    one = proxied[name]
    assert (one.exit, one.verdict) == (1, "PROXY_ARP"), one.result
    assert set(one.owners) == {mac(11), mac(number)}
    assert "Z" not in one.owners[mac(number)]["answered"]
    assert "B" in one.owners[mac(number)]["answered"]
