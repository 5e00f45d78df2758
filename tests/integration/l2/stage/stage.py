"""The stage of the verdicts: a network, an API server, MetalLBs in several states, and the real command."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.integration.l2.conftest import mac
from tests.integration.l2.stage import collected
from tests.integration.l2.stage.metallb import Api, MetalLB, leader
from tests.integration.l2.stage.network import StageNetwork, until

EXCLUDED = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
EXIT = {0: "all OK", 1: "a fault", 2: "inconclusive"}


@dataclass(frozen=True)
class Checked:
    """What `l2 check` reported for one address."""

    exit: int
    result: dict[str, Any]
    run: dict[str, Any]

    @property
    def verdict(self) -> str:
        """Return the verdict's code."""
        return str(self.result["verdict"])

    @property
    def warnings(self) -> list[str]:
        """Return the warnings' codes."""
        return list(self.result["warnings"])

    @property
    def notable(self) -> list[str]:
        """Return the warnings except the one true of every MetalLB address: it does not answer ping."""
        return [warning for warning in self.warnings if warning != "ICMP_SILENT"]

    @property
    def owners(self) -> dict[str, dict[str, Any]]:
        """Return the owners by MAC."""
        return {owner["mac"]: owner for owner in self.result["owners"]}

    def owner_kinds(self) -> set[tuple[str, str, str]]:
        """Return node, NIC and class of every owner."""
        return {(owner["node"], owner["nic"], owner["class"]) for owner in self.result["owners"]}

    def evidence_has(self, *words: str) -> bool:
        """Return whether one sentence of the evidence has all these words."""
        return any(all(word in sentence for word in words) for sentence in self.result["evidence"])


@dataclass
class Stage:
    """The network and its MetalLBs; each test takes its own addresses.

    system: two nodes, healthy. split: two that cannot reach each other's memberlist. lone: nodes each alone in its
    memberlist, one with two NICs, one on another segment, one without IPv6. frail: two, one of which hangs and dies.
    plain: without memberlist, one node of two gone. air: two virtual machines behind one Wi-Fi client.
    """

    network: StageNetwork
    api: Api
    taken: set[str] = field(default_factory=set)
    files: Iterator[int] = field(default_factory=itertools.count)

    def build(self) -> None:
        """Build the network, create all objects, start all speakers."""
        network = self.network
        network.namespace("bridge")
        network.shell("bridge", "for br in br0 br1; do ip link add $br type bridge; ip link set $br up; done")
        network.node("prober", 1, "192.0.2.1/24", "2001:db8::1/64")
        self.system = MetalLB(self.api, network, "metallb-system")
        self.split = MetalLB(self.api, network, "metallb-split", course="split")
        self.lone = MetalLB(self.api, network, "metallb-lone", course="lone")
        self.frail = MetalLB(self.api, network, "metallb-frail", course="frail")
        self.air = MetalLB(self.api, network, "metallb-air", course="air")
        self.plain = MetalLB(self.api, network, "metallb-plain", course="plain", memberlist=False)
        self._node(self.system, "w1", 11, EXCLUDED)  # 0.13 ignores it
        self._node(self.system, "w2", 12)
        self._node(self.split, "s1", 21)
        self._node(self.split, "s2", 22)
        for name in self.split.nodes:
            firewall = "type filter hook input priority filter\nmeta l4proto { tcp, udp } th dport 7946 reject"
            network.nft(name, f"table inet firewall {{\nchain c {{\n{firewall}\n}}\n}}\n")
        self._node(self.lone, "m1", 31)
        network.nic("m1", "eth2", 32, "192.0.2.32/24")
        self._node(self.lone, "m2", 33, bridge="br1", prefix="198.18.0")
        self._node(self.lone, "m3", 34)
        self._node(self.lone, "m4", 35, bridge="br1", prefix="198.18.0")
        network.nic("m4", "eth2", 36)
        network.shell("m3", "ip -6 address flush dev eth1")
        self._node(self.frail, "d1", 41)
        self._node(self.frail, "d2", 42)
        self.plain.node("n1", "192.0.2.51", ready=False)  # gone: no such host
        self._node(self.plain, "n2", 52)
        self.access_point("air", 70, {"a1": 71, "a2": 72})
        for name, number in (("a1", 71), ("a2", 72)):
            self._node(self.air, name, number, switch="air")
        self._configure()
        for metallb in (self.system, self.split, self.lone, self.frail, self.plain, self.air):
            for name in metallb.nodes:
                if name in network.names:
                    metallb.start(name)

    def _node(
        self,
        metallb: MetalLB,
        name: str,
        number: int,
        labels: dict[str, str] | None = None,
        *,
        bridge: str = "br0",
        prefix: str = "192.0.2",
        switch: str = "bridge",
    ) -> None:
        address = f"{prefix}.{number}"
        six = "2001:db8:" if prefix == "192.0.2" else "2001:db8:0:1:"
        self.network.node(name, number, f"{address}/24", f"{six}:{number}/64", bridge=bridge, switch=switch)
        self.network.serve(name)
        metallb.node(name, address, labels)

    def _configure(self) -> None:
        def only(*names: str) -> list[dict[str, Any]]:
            return [{"matchLabels": {"kubernetes.io/hostname": name}} for name in names]

        system = self.system
        system.pool("main", "192.0.2.170-192.0.2.229", "2001:db8::200-2001:db8::2ff")
        system.advertise("main", ipAddressPools=["main", "far", "low", "edge"])
        system.pool("far", "198.51.100.0/28")
        system.pool("edge", "203.0.113.0-203.0.113.3")
        system.pool("low", "192.0.2.10-192.0.2.15")
        system.pool("w1", "192.0.2.230-192.0.2.234")
        system.advertise("w1", ipAddressPools=["w1"], nodeSelectors=only("w1"))
        system.pool("nowhere", "192.0.2.235-192.0.2.239")
        system.advertise("nowhere", ipAddressPools=["nowhere"], nodeSelectors=[{"matchLabels": {"zone": "moon"}}])
        system.pool("silent", "192.0.2.240-192.0.2.244")
        system.pool("nic", "192.0.2.245-192.0.2.249")
        system.advertise("nic", ipAddressPools=["nic"], interfaces=["eth9"])
        self.split.pool(
            "main", "192.0.2.100-192.0.2.109", "192.0.2.239-192.0.2.239"
        )  # the last is in a pool of system, too
        self.split.advertise("main")
        for name, first, last in (("m1", 110, 113), ("m2", 114, 117), ("m3", 118, 121), ("m4", 122, 124)):
            six = f"2001:db8::{first}-2001:db8::{last}"
            self.lone.pool(name, f"192.0.2.{first}-192.0.2.{last}", six)
            self.lone.advertise(name, ipAddressPools=[name], nodeSelectors=only(name))
        self.frail.pool("main", "192.0.2.125-192.0.2.139")
        self.frail.advertise("main", ipAddressPools=["main"])
        self.frail.pool("d1", "192.0.2.140-192.0.2.144")
        self.frail.advertise("d1", ipAddressPools=["d1"], nodeSelectors=only("d1"))
        self.air.pool("main", "192.0.2.160-192.0.2.169")
        self.air.advertise("main")
        self.plain.pool("main", "192.0.2.150-192.0.2.159")
        self.plain.advertise("main")

    def access_point(self, name: str, number: int, behind: dict[str, int]) -> None:
        """Connect a host that bridges others as a Wi-Fi client must: all their frames leave with its own MAC.

        behind: name -> number of the hosts, on ports of its bridge br0.
        """
        self.network.node(name, number)
        self.network.shell(name, "ip link add br0 type bridge; ip link set br0 up; ip link set eth1 master br0")
        own = mac(number)
        back = [f"ip daddr 192.0.2.{each} ether daddr set {mac(each)}" for each in behind.values()]
        back += [f"arp daddr ip 192.0.2.{each} ether daddr set {mac(each)}" for each in behind.values()]
        self.network.nft(
            name,
            f"""table bridge radio {{
            chain back {{
                type filter hook prerouting priority -300
                iifname eth1 ether daddr {own} jump hosts
            }}
            chain hosts {{
                {chr(10).join(back)}
            }}
            chain out {{
                type filter hook postrouting priority 300
                oifname eth1 arp saddr ether set {own}
                oifname eth1 ether saddr set {own}
            }}
            }}\n""",
        )

    def wait_ready(self) -> None:
        """Wait until every speaker has its configuration and has found the others it can reach."""
        for metallb in (self.system, self.frail, self.air):
            for name in metallb.nodes:
                metallb.wait_for(name, "NodeJoin", times=2)
        for metallb in (self.split, self.lone, self.plain):
            for name in metallb.logs:
                metallb.wait_for(name, "nodeLabelsChanged")

    def free(self, first: int, last: int, led_by: str, candidates: Sequence[str], prefix: str = "192.0.2.") -> str:
        """Return an unused address that the candidate `led_by` will announce."""
        for number in range(first, last + 1):
            ip = f"{prefix}{number}"
            if ip not in self.taken and leader(ip, candidates) == led_by:
                self.taken.add(ip)
                return ip
        raise AssertionError(f"no address between {first} and {last} is free that {led_by} would announce")

    def free_in_system(self, led_by: str) -> str:
        """Return an unused address of system's pool `main` that w1 or w2 will announce."""
        return self.free(170, 224, led_by, ("w1", "w2"))

    def announced(self, metallb: MetalLB, ip: str, *by: str, on: Sequence[str] = (), **spec: Any) -> str:
        """Create a Service with this address and wait until exactly these nodes' speakers announce it."""
        name = f"web-{ip.replace(':', '-').replace('.', '-')}"
        metallb.service(name, ip, on=on or tuple(metallb.nodes), **spec)
        self.wait_announced(metallb, ip, *by)
        return f"{metallb.course}/{name}"

    def wait_announced(self, metallb: MetalLB, ip: str, *by: str) -> None:
        """Wait until exactly these nodes' speakers log that they announce an address."""
        until(lambda: metallb.announcers(ip) == set(by), f"{ip} to be announced by {by or 'nobody'} alone")

    def wait_takeover(self, metallb: MetalLB, ip: str, by: str) -> None:
        """Wait until another node's speaker logs that it announces an address; the old one logs nothing."""
        until(lambda: by in metallb.announcers(ip), f"{by} to take over {ip}")

    def wait_neighbour(self, ip: str, known: str) -> None:
        """Wait until the prober's neighbor cache has this MAC for an address."""
        until(lambda: self.network.neighbours("prober").get(ip) == known, f"the prober to know {ip} at {known}")

    def check(
        self, metallb: MetalLB, ip: str, *options: str, at: str = "prober", facts: dict[str, Any] | None = None
    ) -> Checked:
        """Run `provisioner -o json l2 check IP --facts FILE` on a host that is not a node, and return the result."""
        return self.check_all(metallb, [ip], *options, at=at, facts=facts)[ip]

    def check_all(
        self,
        metallb: MetalLB,
        ips: Sequence[str],
        *options: str,
        at: str = "prober",
        facts: dict[str, Any] | None = None,
    ) -> dict[str, Checked]:
        """Check several addresses in one run, and return the result for each."""
        path = self.network.folder / f"facts-{next(self.files)}.json"
        path.write_text(json.dumps(facts or collected.facts(metallb)))
        words = ("-o", "json", "l2", "check", *ips, "--facts", str(path), "--interface", "eth1", *options)
        ended = self.network.cli(*words, name=at)
        assert ended.returncode in EXIT, ended.stderr
        assert ended.stdout, ended.stderr
        report = json.loads(ended.stdout)
        assert report["schema"] == "l2report/v1"
        for result in report["results"]:
            assert result["evidence"], "a verdict without evidence"
            assert result["remedy"] or result["verdict"] == "OK", "a fault without a remedy"
        found = {result["ip"]: Checked(ended.returncode, result, report["run"]) for result in report["results"]}
        assert [*found] == [*ips], report
        return found

    @contextmanager
    def kernel_address(self, name: str, ip: str, nic: str = "eth1", length: int = 0) -> Iterator[None]:
        """Add an address to a host's kernel for a block. length: of its prefix, 0 for the address alone."""
        length = length or (128 if ":" in ip else 32)
        self.network.shell(name, f"ip address add {ip}/{length} dev {nic}")
        try:
            yield
        finally:
            self.network.shell(name, f"ip address delete {ip}/{length} dev {nic}")

    @contextmanager
    def foreign_host(self, name: str, number: int, *addresses: str) -> Iterator[str]:
        """Connect a host that is not a node, with these addresses for the length of a block; yield its MAC."""
        if name not in self.network.names:
            self.network.node(name, number, f"192.0.2.{number}/24")
        with ExitStack() as stack:
            for address in addresses:
                stack.enter_context(self.kernel_address(name, address))
            yield mac(number)
