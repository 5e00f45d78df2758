"""Between the speaker and who asks: frames that a switch, a hypervisor or a route loses on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.integration.l2.conftest import mac
from tests.integration.l2.stage import collected
from tests.integration.l2.stage.metallb import leader
from tests.integration.l2.stage.town import Checked, Town

pytestmark = pytest.mark.integration

FORWARD = "type filter hook forward priority 0"
# w2's port of the switch is p12.
SWITCH = {
    "BROADCAST_BLIND": (FORWARD, "oifname p12 ether daddr ff:ff:ff:ff:ff:ff arp daddr ip {ip} drop"),
    "INGRESS_LOST": (FORWARD, "oifname p12 arp daddr ip {ip} drop"),
    "EGRESS_FILTERED": ("type filter hook prerouting priority -300", "iifname p12 arp saddr ip {ip} drop"),
}


@pytest.fixture(scope="module")
def through_the_switch(town: Town) -> dict[str, Checked]:
    """Check an address behind each rule, with the speakers' counters as they were before a first run and after it."""
    ips = {verdict: town.of_system("w2") for verdict in SWITCH}
    for ip in ips.values():
        town.announced(town.system, ip, "w2")

    def metrics() -> dict[str, dict[str, dict[str, int]]]:
        return {name: town.system.metrics(name) for name in town.system.nodes}

    with ExitStack() as stack:
        for number, (verdict, (chain, rule)) in enumerate(SWITCH.items()):
            rules = town.street.rules("bridge", f"bridge switch{number}", chain, rule.format(ip=ips[verdict]))
            stack.enter_context(rules)
        before = metrics()
        first = town.check_all(town.system, [*ips.values()])
        counted = collected.facts(town.system, metrics=before, metrics_after=metrics())
        second = town.check_all(town.system, [*ips.values()], facts=counted)
    assert all(one.verdict != "OK" for one in first.values())
    return {verdict: second[ip] for verdict, ip in ips.items()}


@pytest.mark.parametrize("verdict", SWITCH)
def test_what_the_switch_does_to_the_leaders_frames(through_the_switch: dict[str, Checked], verdict: str) -> None:
    """All of these are silence to a client."""
    one = through_the_switch[verdict]
    assert (one.exit, one.verdict) == (1, verdict), one.result
    assert one.result["predicted_leader"] == "w2"
    if verdict == "BROADCAST_BLIND":
        assert one.owners[mac(12)]["answered"] == ["U"]
    else:
        assert not one.owners


def test_a_kernel_that_misses_broadcasts(town: Town) -> None:
    """The ARP tables of the node itself drop what is broadcast: only the kernel's ARP is behind them."""
    ip = "192.0.2.232"  # of pool w1; no Service: the kernel has it
    rule = f"meta pkttype broadcast arp daddr ip {ip} drop"
    town.system.service("kernel", ip, on=())
    with (
        town.held("w1", ip),
        town.street.rules("w1", "arp deaf", "type filter hook input priority 0", rule),
    ):
        one = town.check(town.system, ip)
    assert (one.exit, one.verdict) == (1, "BROADCAST_BLIND"), one.result
    assert one.owners[mac(11)]["answered"] == ["U"]


@contextmanager
def lost_replies(town: Town, node: str, ip: str) -> Iterator[None]:
    """Send what a node says from an address out of another NIC, as an asymmetric route does."""
    town.street.shell(
        node,
        "ip link add other type bridge; ip link set other up; ip address add 10.9.9.1/24 dev other; "
        "ip rule add fwmark 9 table 99; ip route add default via 10.9.9.254 dev other table 99",
    )
    town.street.nft(
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
        town.street.nft(node, "delete table inet astray\n")
        town.street.shell(node, "ip rule delete fwmark 9; ip link delete other")


INPUT = "type filter hook input priority 0"


@pytest.fixture(scope="module")
def connections(town: Town) -> dict[str, Checked]:
    """Have the leader answer for four addresses and treat connections to each differently; check all in one run."""
    ips = {name: town.of_system("w1") for name in ("open", "lost", "refused", "admitted elsewhere")}
    for name, ip in ips.items():
        ranges = {"loadBalancerSourceRanges": ["203.0.113.0/24"]} if name == "admitted elsewhere" else {}
        town.announced(town.system, ip, "w1", **ranges)
    refuse = f"ct original ip daddr {ips['refused']} reject with tcp reset"
    # What kube-proxy does for source ranges: drop what comes from elsewhere, as silently as a lost route.
    drop = f"ct original ip daddr {ips['admitted elsewhere']} ip saddr != 203.0.113.0/24 drop"
    with lost_replies(town, "w1", ips["lost"]), town.street.rules("w1", "inet closed", INPUT, refuse, drop):
        told = town.check_all(town.system, [*ips.values()])
    return {name: told[ip] for name, ip in ips.items()}


@pytest.mark.parametrize(
    ("name", "verdict", "because"),
    [
        ("open", "OK", "open"),
        ("lost", "RETURN_PATH", "not answered"),
        ("refused", "NOT_SERVING", "refused"),
        ("admitted elsewhere", "NOT_SERVING", "203.0.113.0/24"),
    ],
)
def test_what_becomes_of_a_connection(connections: dict[str, Checked], name: str, verdict: str, because: str) -> None:
    """To ARP all of these are the same address of the same leader."""
    one = connections[name]
    assert one.verdict == verdict, one.result
    assert one.who() == {("w1", "eth1", "speaker")}
    assert one.says(because), one.result


def test_a_leader_whose_nic_has_no_address_of_the_segment(town: Town) -> None:
    """The speaker answers on the bare NIC of a node that lives elsewhere: nothing comes back from there."""
    ip = town.free(122, 124, "m4", ("m4",))
    town.announced(town.lone, ip, "m4")
    one = town.check(town.lone, ip)
    assert (one.exit, one.verdict) == (1, "RETURN_PATH"), one.result
    assert one.who() == {("m4", "eth2", "speaker")}


def test_an_address_that_ends_in_zero(town: Town) -> None:
    """Something on the way takes it for a broadcast address and drops what is for it; its neighbour is well."""
    zero, other = "203.0.113.0", "203.0.113.1"
    rule = f"oifname {{ p11, p12 }} ip daddr {zero} drop"
    with (
        town.held("prober", "203.0.112.1", length=23),
        town.held("w1", "203.0.112.11", length=23),
        town.held("w2", "203.0.112.12", length=23),
        town.street.rules("bridge", "bridge switch", FORWARD, rule),
    ):
        for ip in (zero, other):
            town.announced(town.system, ip, leader(ip, ("w1", "w2")))
        told = town.check_all(town.system, [zero, other])
    assert {ip: one.verdict for ip, one in told.items()} == {zero: "BUGGY_IP", other: "OK"}, told
    assert told[zero].exit == 1


def test_a_client_that_remembers_the_old_owner(town: Town) -> None:
    """The address was w2's kernel's; now w1 announces it, and the switch lost what w1 announced."""
    ip = town.of_system("w1")
    gratuitous = f"oifname p1 arp saddr ip {ip} arp daddr ip {ip} drop"
    with town.held("w2", ip):
        town.street.run("prober", "bash", "-c", f"echo >/dev/udp/{ip}/9")
        town.wait_neighbour(ip, mac(12))
    with town.street.rules("bridge", "bridge switch", FORWARD, gratuitous):
        town.announced(town.system, ip, "w1")
        one = town.check(town.system, ip)
    assert (one.exit, one.verdict) == (1, "STALE_CACHE"), one.result
    assert set(one.owners) == {mac(11)}
    assert one.says(mac(12)), one.result
