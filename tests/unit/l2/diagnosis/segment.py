"""A segment and a cluster written by hand: three healthy nodes, and what a test changes about them.

This machine is 192.0.2.1. Among w1, w2 and w3, MetalLB elects w2 for 192.0.2.200 and w1 for 2001:db8::200. The link
is virtual: a kernel's reply is 42 bytes long, a speaker's 60.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from typing import Any

from provisioner.l2 import diagnosis
from provisioner.l2.facts import (
    Advertisement,
    Counters,
    Endpoint,
    Facts,
    KubeProxy,
    L2Status,
    MetalLB,
    Nic,
    Node,
    OtherAnnouncers,
    Pool,
    Port,
    Service,
)
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Address, Announcement, Answer, Capture, Handshake, Outcome, Vantage
from provisioner.l2.result import Result

IP, IP6 = "192.0.2.200", "2001:db8::200"
PROBER = "52:54:00:00:00:01"
W1, W2, W3 = "52:54:00:00:00:11", "52:54:00:00:00:12", "52:54:00:00:00:13"
MACS = {"w1": W1, "w2": W2, "w3": W3}
OWN = {"w1": "192.0.2.11", "w2": "192.0.2.12", "w3": "192.0.2.13"}
SECOND = "52:54:00:00:01:12"  # w2's second interface
FOREIGN = "b8:27:eb:00:00:99"
ROUTER = "52:54:00:00:00:fe"
PROGRAMS = ("kubectl", "ip", "sudo", "provisioner", "printf", "ping")  # what a command may start with
KINDS = {"Z": Kind.PROBE, "B": Kind.REQUEST, "U": Kind.UNICAST}
IPVS = KubeProxy(mode="ipvs", strict_arp=False)
ANNOUNCES = (L2Status(service="default/web", node="w2"),)
SENT = {"Z": 100.0, "B": 100.2, "U": 101.5}  # when each kind of request is sent


def node(name: str, **changes: Any) -> Node:
    """Return a healthy node: the NAT interface that every VM has, and eth1 on the segment."""
    values: dict[str, Any] = {
        "name": name,
        "internal_ips": (OWN[name],),
        "ready": True,
        "network_unavailable": False,
        "labels": {},
        "speaker": "ready",
        "nics": (nat(), nic(name)),
    }
    return Node(**{**values, **changes})


def nat() -> Nic:
    """Return the interface that VirtualBox adds to every VM, with the same MAC and address in all."""
    return Nic(name="eth0", mac="08:00:27:00:00:01", addresses=("10.0.2.15/24",), up=True, proxy_arp=False)


def nic(owner: str, **changes: Any) -> Nic:
    """Return a node's interface on the segment."""
    link_local = f"fe80::5054:ff:fe00:{MACS[owner][-2:]}/64"
    values: dict[str, Any] = {
        "name": "eth1",
        "mac": MACS[owner],
        "addresses": (f"{OWN[owner]}/24", f"2001:db8::{MACS[owner][-2:]}/64", link_local),
        "up": True,
        "proxy_arp": False,
    }
    return Nic(**{**values, **changes})


def two_nics() -> tuple[Nic, Nic]:
    """Return w2's interface on the segment, and a second one on it."""
    return nic("w2"), nic("w2", name="eth2", mac=SECOND, addresses=("192.0.2.112/24",))


def nodes(**changes: dict[str, Any]) -> tuple[Node, ...]:
    """Return w1, w2 and w3; changes: by node."""
    return tuple(node(name, **changes.get(name, {})) for name in MACS)


def each_node(**changes: Any) -> tuple[Node, ...]:
    """Return w1, w2 and w3, with the same changes to each."""
    return nodes(**dict.fromkeys(MACS, changes))


def service(**changes: Any) -> Service:
    """Return default/web, which has 192.0.2.200 and a ready endpoint on w1."""
    values: dict[str, Any] = {
        "namespace": "default",
        "name": "web",
        "ingress_ips": (IP,),
        "external_traffic_policy": "Cluster",
        "ports": (Port(port=80),),
        "endpoints": (Endpoint(node="w1"),),
        "labels": {},
    }
    return Service(**{**values, **changes})


def sharing(**changes: Any) -> tuple[Service, Service]:
    """Return two Services that share 192.0.2.200, with endpoints on w1 and on w2; changes: to the second."""
    shared: dict[str, Any] = {"allow_shared_ip": "a", "external_traffic_policy": "Local"}
    return service(**shared), service(name="dns", endpoints=(Endpoint(node="w2"),), **{**shared, **changes})


def pools(*addresses: str) -> tuple[Pool, ...]:
    """Return only the pool lab, with these addresses."""
    return (Pool(name="lab", addresses=addresses),)


def counted(requests: int, responses: int = 0) -> dict[str, dict[str, Counters]]:
    """Return the counters of w2's speaker for 192.0.2.200."""
    return {"w2": {IP: Counters(requests_received=requests, responses_sent=responses)}}


def metallb(**changes: Any) -> MetalLB:
    """Return a healthy MetalLB."""
    values: dict[str, Any] = {
        "version": "0.16.1",
        "memberlist": True,
        "ignore_exclude_lb": False,
        "config": "valid",
        "load_balancer_class": "",
        "excluded_interfaces": (),
    }
    return MetalLB(**{**values, **changes})


def facts(**changes: Any) -> Facts:
    """Return a healthy cluster with no unknown facts."""
    values: dict[str, Any] = {
        "metallb": metallb(),
        "kube_proxy": KubeProxy(mode="iptables", strict_arp=False),
        "others": OtherAnnouncers(kube_vip=False, servicelb=False, cilium_l2=False),
        "nodes": nodes(),
        "pools": pools("192.0.2.200-192.0.2.210", "2001:db8::200-2001:db8::210"),
        "advertisements": (Advertisement(name="all", pools=("lab",)),),
        "services": (service(),),
        "external_ips": {},
    }
    return Facts(**{**values, **changes})


def ipv6(**changes: Any) -> Facts:
    """Return the cluster with a Service that also has 2001:db8::200."""
    return facts(services=(service(ingress_ips=(IP, IP6)),), **changes)


def vantage(**changes: Any) -> Vantage:
    """Return this machine's vantage: 192.0.2.1 on eth1 of the segment."""
    own = (IPv4Interface("192.0.2.1/24"), IPv6Interface("fe80::1/64"))
    values: dict[str, Any] = {
        "interface": "eth1",
        "mac": PROBER,
        "addresses": own,
        "own_macs": frozenset({PROBER}),
        "own_addresses": frozenset(one.ip for one in own),
    }
    return Vantage(**{**values, **changes})


def heard(
    mac: str, kinds: str = "ZBU", ip: str = IP, *, length: int = 60, rtt: float = 0.0004, later: float = 0.0
) -> tuple[Answer, ...]:
    """Return a MAC's replies to requests of these kinds; later: seconds after the first requests."""
    return tuple(Answer(ip_address(ip), mac, KINDS[kind], SENT[kind] + later + rtt, rtt, length, "") for kind in kinds)


def syn(mac: str, outcome: Outcome = "open", port: int = 80, ip: str = IP) -> Handshake:
    """Return a connection tried through a MAC."""
    return Handshake(ip_address(ip), mac, port, outcome, "" if outcome == "silent" else mac, 103.0, 0.001)


def gratuitous(mac: str, at: float = 100.5, ip: str = IP, *, metallb: bool = True) -> Announcement:
    """Return a gratuitous ARP frame like MetalLB's, or like another program's."""
    return Announcement(ip_address(ip), mac, at, True, metallb, 60)


def kernels(*names: str) -> tuple[Answer, ...]:
    """Return the replies of nodes for their own addresses; of all nodes without names."""
    return tuple(one for name in names or MACS for one in heard(MACS[name], "ZB", OWN[name], length=42))


def capture(*frames: Answer | Handshake | Announcement | Iterable[Answer], **changes: Any) -> Capture:
    """Return a run that sent every kind of request for 192.0.2.200, and probed the nodes' own addresses.

    quiet: the nodes do not answer for their own addresses.
    """
    flat = [
        one for frame in frames for one in ([frame] if isinstance(frame, Answer | Handshake | Announcement) else frame)
    ]
    answers = tuple(one for one in flat if isinstance(one, Answer))
    targets = tuple(dict.fromkeys([ip_address(IP), *changes.pop("targets", ())]))
    everything = frozenset(Kind)
    # A probe is sent again if one of the owners did not answer it.
    macs = {one.ip: {each.mac for each in answers if each.ip == one.ip} for one in answers}
    heard_probe = {(one.ip, one.mac) for one in answers if one.kind is Kind.PROBE}
    probed = {ip for ip, own in macs.items() if all((ip, mac) in heard_probe for mac in own)}
    asked = {ip: everything if ip.version == 4 else frozenset({Kind.REQUEST, Kind.UNICAST}) for ip in targets}
    asked |= {ip_address(own): frozenset({Kind.PROBE, Kind.REQUEST}) for own in OWN.values()}
    values: dict[str, Any] = {
        "vantage": vantage(),
        "targets": targets,
        "answers": answers + (() if changes.pop("quiet", False) else kernels()),
        "announcements": tuple(one for one in flat if isinstance(one, Announcement)),
        "handshakes": tuple(one for one in flat if isinstance(one, Handshake)),
        "asked": asked,
        "unicast_to": {ip: tuple(MACS.values()) for ip in targets},
        "times": {ip: {Kind.PROBE: 1 if ip in probed else 2, Kind.REQUEST: 1} for ip in targets if ip.version == 4},
        "pps": 200,
        "counted": True,
    }
    return Capture(**{**values, **changes})


def healthy(mac: str = W2) -> Capture:
    """Return a run in which one MAC answers for 192.0.2.200 like a speaker, and serves."""
    return capture(heard(mac), syn(mac))


SILENT = capture()
BOTH = capture(heard(W2), heard(W1), syn(W2), syn(W1))
NO_W2 = capture(kernels("w1", "w3"), quiet=True)
OFF = nodes(w2={"nics": (nat(), nic("w2", addresses=("203.0.113.12/24",)))})


def judge(run: Capture, known: Facts | None, ip: str = IP) -> Result:
    """Return the verdict after checking the form of its sentences and its command."""
    result = diagnosis.diagnose(run, known, ip_address(ip))
    assert result.evidence, result
    for sentence in result.evidence:
        assert sentence.endswith("."), sentence
        assert not {"None", "{"} & set(sentence.replace("(", " ").split()), sentence
        assert ".." not in sentence.replace("…", ""), sentence
    assert "{ip}" not in result.command
    assert "{node}" not in result.command
    assert shlex.split(result.command)[:1] in ([], *([word] for word in PROGRAMS)), result.command
    if result.verdict != "OK":
        assert all((result.remedy, result.command)), result
    assert result.verdict not in result.alternatives
    return result


# verdict, capture, facts, confidence, part of the first sentences, part of the command
Row = tuple[str, Capture, Facts | None, str, str, str]


def reaches(row: Row, ip: str = IP) -> None:
    """Assert a row's verdict, confidence, evidence and command."""
    verdict, run, known, confidence, evidence, command = row
    result = judge(run, known, ip)
    assert (result.verdict, result.confidence) == (verdict, confidence), result
    assert any(evidence in sentence for sentence in result.evidence[:2]), result.evidence
    assert command in result.command, result.command


def address(text: str) -> Address:
    """Return an address."""
    return ip_address(text)
