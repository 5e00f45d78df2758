"""Who needs which port of whom, and what a probe's findings say for few and for many hosts."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from provisioner import reach
from provisioner.reach.ports import Port
from provisioner.reach.probe import Blocked, Lossy, Narrow
from provisioner.site import Site, parse_site
from provisioner.ssh import FactQuery, Host
from tests import hosts_toml
from tests.unit.steps.doubles import RecordingHost, blank

KUBELET = Port("tcp", 10250, "kubelet")
METALLB = Port("udp", 7946, "MetalLB")


def site_of(count: int, rest: str = "") -> Site:
    roles = [("control-plane",), *[("worker",)] * (count - 1)]
    hosts = "".join(hosts_toml.host(f"n{number}", f"192.0.2.{number + 10}", *roles[number]) for number in range(count))
    return parse_site(f"{hosts}{rest}", Path("/nowhere/hosts.toml"))


def fleet(site: Site) -> dict[str, Host]:
    hosts = {
        spec.name: RecordingHost(spec, site, blank(spec, FactQuery(), number))
        for number, spec in enumerate(site.hosts)
    }
    return cast("dict[str, Host]", hosts)


def keys(ports: tuple[Port, ...]) -> list[str]:
    return [port.key for port in ports]


def test_ports_by_role() -> None:
    text = hosts_toml.host("a", "192.0.2.1", "control-plane") + hosts_toml.host("b", "192.0.2.2", "control-plane")
    text += hosts_toml.host("w", "192.0.2.3", "worker")
    site = parse_site(f'[cluster]\nendpoint = "api.example.org"\n{text}', Path("/nowhere/hosts.toml"))
    needs = reach.Needs(site, vxlan=True)
    a, b, w = site.hosts
    node = ["tcp/10250", "tcp/7946", "udp/7946"]
    assert keys(needs.needed(b, a)) == ["tcp/6443", "tcp/2379", "tcp/2380", *node, "tcp/2049", "udp/8472"]
    assert keys(needs.needed(w, a)) == ["tcp/6443", *node, "tcp/2049", "udp/8472"]
    assert keys(needs.needed(a, w)) == [*node, "udp/8472"]
    assert keys(needs.needed(None, a)) == ["tcp/6443", "tcp/30080"]
    assert keys(needs.needed(None, w)) == ["tcp/30080"]


def test_ports_of_what_is_disabled_are_not_needed() -> None:
    site = site_of(2, "[nfs]\nenabled = false\n[metallb]\nenabled = false\n[workloads]\nenabled = []\n")
    assert keys(reach.Needs(site).needed(site.hosts[1], site.hosts[0])) == ["tcp/6443", "tcp/10250"]


def test_one_sentence_a_host_however_many_hosts_do_not_get_through() -> None:
    site = site_of(60)
    sources = [host.name for host in site.hosts if host.name != "n1"]
    probed = reach.Probed(
        blocked=[Blocked(name, "n1", port, "silent") for name in sources for port in (KUBELET, METALLB)],
        narrow=[Narrow(name, "n2", 1500, "node") for name in sources if name != "n2"],
        lossy=[Lossy(name, "n3", 5, 40, "node") for name in sources if name != "n3"],
        filters={"n1": {"ufw": "Status: active"}},
    )
    blocked, narrow, lossy = reach.obstacles(site, fleet(site), probed)
    assert blocked.detail == (
        "does not get TCP 10250 (kubelet) and UDP 7946 (MetalLB) from n0, n2, n3, n4, n5, n6, n7, n8 and 51 more: "
        "ufw is active there"
    )
    assert blocked.remedy == "on n1: sudo ufw allow from 192.0.2.0/24; sudo ufw allow from 10.244.0.0/16"
    assert (narrow.host, narrow.code) == ("n2", "PACKET_SIZE")
    assert lossy.detail.startswith("answers only 35 of 40 packets from n0, n2, n4,")


def test_a_filter_that_is_not_on_the_host() -> None:
    site = site_of(3)
    probed = reach.Probed(blocked=[Blocked("n0", "n2", KUBELET, "silent")], filters={"n2": {}})
    (obstacle,) = reach.obstacles(site, fleet(site), probed)
    assert obstacle.detail == "does not get TCP 10250 (kubelet) from n0"
    assert obstacle.remedy == (
        "no packet filter was found on n2: look for a security group or switch in between, and at the output rules of "
        "n0 (sudo nft list ruleset)"
    )


def test_a_pod_network_that_does_not_work() -> None:
    site = site_of(3)
    probed = reach.Probed(
        lossy=[Lossy(name, "n2", 40, 40, "pods") for name in ("n0", "n1")],
        narrow=[Narrow("n0", "n1", 1450, "pods")],
    )
    narrow, dead = reach.obstacles(site, fleet(site), probed)
    assert dead.code == "POD_NETWORK_BLOCKED"
    assert dead.detail == "does not answer n0 and n1 at its address in the pod network"
    assert narrow.detail == "does not get packets of 1450 bytes at its address in the pod network from n0"
    assert narrow.remedy.startswith("VXLAN makes packets of 1500 bytes of them")
