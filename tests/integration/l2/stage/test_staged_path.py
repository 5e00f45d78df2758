"""Between speaker and client: frames lost by a switch, a hypervisor or a route."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.integration.l2.conftest import mac
from tests.integration.l2.stage import collected
from tests.integration.l2.stage.metallb import leader
from tests.integration.l2.stage.stage import Checked, Stage

pytestmark = pytest.mark.integration

FORWARD = "type filter hook forward priority 0"
# p12 is w2's port on the switch.
SWITCH = {
    "BROADCAST_BLIND": (FORWARD, "oifname p12 ether daddr ff:ff:ff:ff:ff:ff arp daddr ip {ip} drop"),
    "INGRESS_LOST": (FORWARD, "oifname p12 arp daddr ip {ip} drop"),
    "EGRESS_FILTERED": ("type filter hook prerouting priority -300", "iifname p12 arp saddr ip {ip} drop"),
}


@pytest.fixture(scope="module")
def through_the_switch(stage: Stage) -> dict[str, Checked]:
    """Check an address behind each rule, with the speakers' counters from before and after a first run."""
    ips = {verdict: stage.free_in_system("w2") for verdict in SWITCH}
    for ip in ips.values():
        stage.announced(stage.system, ip, "w2")

    def metrics() -> dict[str, dict[str, dict[str, int]]]:
        return {name: stage.system.metrics(name) for name in stage.system.nodes}

    with ExitStack() as stack:
        for number, (verdict, (chain, rule)) in enumerate(SWITCH.items()):
            rules = stage.network.rules("bridge", f"bridge switch{number}", chain, rule.format(ip=ips[verdict]))
            stack.enter_context(rules)
        before = metrics()
        first = stage.check_all(stage.system, [*ips.values()])
        counted = collected.facts(stage.system, metrics=before, metrics_after=metrics())
        second = stage.check_all(stage.system, [*ips.values()], facts=counted)
    assert all(one.verdict != "OK" for one in first.values())
    return {verdict: second[ip] for verdict, ip in ips.items()}


@pytest.mark.parametrize("verdict", SWITCH)
def test_frames_lost_at_the_leaders_switch_port(through_the_switch: dict[str, Checked], verdict: str) -> None:
    """A client sees silence in all cases."""
    one = through_the_switch[verdict]
    assert (one.exit, one.verdict) == (1, verdict), one.result
    assert one.result["predicted_leader"] == "w2"
    if verdict == "BROADCAST_BLIND":
        assert one.owners[mac(12)]["answered"] == ["U"]
    else:
        assert not one.owners


def test_a_kernel_that_misses_broadcasts(stage: Stage) -> None:
    """The node's own ARP tables drop broadcasts; only the kernel's ARP is behind them."""
    ip = "192.0.2.232"  # of pool w1; no Service, only the kernel has it
    rule = f"meta pkttype broadcast arp daddr ip {ip} drop"
    stage.system.service("kernel", ip, on=())
    with (
        stage.kernel_address("w1", ip),
        stage.network.rules("w1", "arp deaf", "type filter hook input priority 0", rule),
    ):
        one = stage.check(stage.system, ip)
    assert (one.exit, one.verdict) == (1, "BROADCAST_BLIND"), one.result
    assert one.owners[mac(11)]["answered"] == ["U"]


@contextmanager
def lost_replies(stage: Stage, node: str, ip: str) -> Iterator[None]:
    """Send a node's packets from an address out of another NIC, as with an asymmetric route."""
    stage.network.shell(
        node,
        "ip link add other type bridge; ip link set other up; ip address add 10.9.9.1/24 dev other; "
        "ip rule add fwmark 9 table 99; ip route add default via 10.9.9.254 dev other table 99",
    )
    stage.network.nft(
        node,
        f"""table inet astray {{
        chain arriving {{
            type filter hook prerouting priority mangle
            ip daddr {ip} ct mark set 9
        }}
        chain leaving {{
            type route hook output priority mangle
            ct mark 9 meta mark set 9
        }}
        }}\n""",
    )
    try:
        yield
    finally:
        stage.network.nft(node, "delete table inet astray\n")
        stage.network.shell(node, "ip rule delete fwmark 9; ip link delete other")


INPUT = "type filter hook input priority 0"


@pytest.fixture(scope="module")
def connections(stage: Stage) -> dict[str, Checked]:
    """Let the leader answer for four addresses but treat connections to each differently; check all in one run."""
    ips = {name: stage.free_in_system("w1") for name in ("open", "lost", "refused", "admitted elsewhere")}
    for name, ip in ips.items():
        ranges = {"loadBalancerSourceRanges": ["203.0.113.0/24"]} if name == "admitted elsewhere" else {}
        stage.announced(stage.system, ip, "w1", **ranges)
    refuse = f"ct original ip daddr {ips['refused']} reject with tcp reset"
    # As kube-proxy does for source ranges: drop other clients' packets, as silently as a lost route.
    drop = f"ct original ip daddr {ips['admitted elsewhere']} ip saddr != 203.0.113.0/24 drop"
    with lost_replies(stage, "w1", ips["lost"]), stage.network.rules("w1", "inet closed", INPUT, refuse, drop):
        told = stage.check_all(stage.system, [*ips.values()])
    return {name: told[ip] for name, ip in ips.items()}


@pytest.mark.parametrize(
    ("name", "verdict", "because"),
    [
        ("open", "OK", "open"),
        # From outside, a route that loses only this address's packets looks as a port's check of them does.
        ("lost", "SPOOF_GUARD", "does not answer"),
        ("refused", "NOT_SERVING", "refused"),
        ("admitted elsewhere", "NOT_SERVING", "203.0.113.0/24"),
    ],
)
def test_the_outcome_of_a_connection(connections: dict[str, Checked], name: str, verdict: str, because: str) -> None:
    """For ARP they are all addresses of the same leader."""
    one = connections[name]
    assert one.verdict == verdict, one.result
    assert one.owner_kinds() == {("w1", "eth1", "speaker")}
    assert one.evidence_has(because), one.result


def test_a_leader_whose_nic_has_no_address_on_the_segment(stage: Stage) -> None:
    """The speaker answers on a node's NIC without an address; its replies take another route and are lost."""
    ip = stage.free(122, 124, "m4", ("m4",))
    stage.announced(stage.lone, ip, "m4")
    one = stage.check(stage.lone, ip)
    assert (one.exit, one.verdict) == (1, "RETURN_PATH"), one.result
    assert one.owner_kinds() == {("m4", "eth2", "speaker")}


def test_an_address_that_ends_in_zero(stage: Stage) -> None:
    """Some device takes it for a broadcast address and drops its packets; the next address works."""
    zero, other = "203.0.113.0", "203.0.113.1"
    rule = f"oifname {{ p11, p12 }} ip daddr {zero} drop"
    with (
        stage.kernel_address("prober", "203.0.112.1", length=23),
        stage.kernel_address("w1", "203.0.112.11", length=23),
        stage.kernel_address("w2", "203.0.112.12", length=23),
        stage.network.rules("bridge", "bridge switch", FORWARD, rule),
    ):
        for ip in (zero, other):
            stage.announced(stage.system, ip, leader(ip, ("w1", "w2")))
        told = stage.check_all(stage.system, [zero, other])
    assert {ip: one.verdict for ip, one in told.items()} == {zero: "BUGGY_IP", other: "OK"}, told
    assert told[zero].exit == 1


def test_a_client_with_a_stale_neighbor_entry(stage: Stage) -> None:
    """The address was w2's; now w1 announces it, but the switch lost its gratuitous frames."""
    ip = stage.free_in_system("w1")
    gratuitous = f"oifname p1 arp saddr ip {ip} arp daddr ip {ip} drop"
    with stage.kernel_address("w2", ip):
        stage.network.run("prober", "bash", "-c", f"echo >/dev/udp/{ip}/9")
        stage.wait_neighbour(ip, mac(12))
    with stage.network.rules("bridge", "bridge switch", FORWARD, gratuitous):
        stage.announced(stage.system, ip, "w1")
        one = stage.check(stage.system, ip)
    assert (one.exit, one.verdict) == (1, "STALE_CACHE"), one.result
    assert set(one.owners) == {mac(11)}
    assert one.evidence_has(mac(12)), one.result
