"""Ports between hosts with real packet filters, a real MTU and real losses: what the step reachability says."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator

import pytest

from provisioner import reach
from provisioner.errors import HostError
from provisioner.ssh import FactQuery
from provisioner.steps import STEPS
from tests.integration.ssh.conftest import MakeSite, Open, OpenSite
from tests.integration.ssh.nodes import NETWORK, Machine

INPUT = "table ip f { chain i { type filter hook input priority 0;"
HOSTS = ("master", "one", "gate")
Find = Callable[..., list[reach.Obstacle]]


@pytest.fixture
def opened(make_site: MakeSite, open_site: Open) -> OpenSite:
    return open_site(make_site(HOSTS, user="root"), FactQuery())


@pytest.fixture
def find(opened: OpenSite) -> Find:
    """Probe and return the obstacles."""

    def probe(vxlan: bool = False) -> list[reach.Obstacle]:
        probed = reach.probe(reach.Needs(opened.site, vxlan), opened.hosts)
        assert not probed.not_tried
        return reach.obstacles(opened.site, opened.hosts, probed)

    return probe


@pytest.fixture
def filtered(machines: dict[str, Machine]) -> Iterator[Callable[[str, str], None]]:
    """Load nftables rules on a machine; they are removed after the test."""
    if not shutil.which("nft"):
        pytest.skip("nft is not installed (Debian: nftables)")

    def load(name: str, rules: str) -> None:
        machines[name].sh(f"nft -f - <<'EOF'\n{rules}\nEOF\n")

    yield load
    for machine in machines.values():
        machine.sh("nft flush ruleset")


def test_an_open_segment_has_no_obstacle_and_nothing_listens_afterwards(
    find: Find, machines: dict[str, Machine]
) -> None:
    before = machines["one"].sh("ss -Hlntu")
    assert find(vxlan=True) == []
    assert machines["one"].sh("ss -Hlntu") == before


def test_a_filter_on_one_host_is_named_with_the_command_that_opens_it(
    find: Find, filtered: Callable[[str, str], None], machines: dict[str, Machine]
) -> None:
    filtered(
        "one",
        "table inet mine { chain in { type filter hook input priority 0; policy drop; iif lo accept; "
        "ct state established,related accept; icmp type echo-request accept; tcp dport 22 accept; }; }",
    )
    (obstacle,) = find()
    assert obstacle.host == "one"
    assert obstacle.code == "PORT_BLOCKED"
    assert obstacle.detail == (
        "does not get TCP 10250 (kubelet), TCP 7946 (MetalLB) and UDP 7946 (MetalLB) from master and gate, "
        "and not TCP 30080 (node ports) from this machine: its nftables chain in of table inet mine has the policy "
        "drop"
    )
    command = obstacle.remedy.removeprefix("on one: sudo ").partition("; and add")[0]
    machines["one"].sh(command)
    assert find() == [], "the command helps"


def test_one_closed_port_of_many(find: Find, filtered: Callable[[str, str], None]) -> None:
    filtered("master", f"{INPUT} ip saddr {NETWORK}.11 udp dport 7946 drop; }}; }}")
    (obstacle,) = find()
    assert (obstacle.host, obstacle.code) == ("master", "PORT_BLOCKED")
    assert obstacle.detail.startswith("does not get UDP 7946 (MetalLB) from one")


def test_a_rejecting_filter(find: Find, filtered: Callable[[str, str], None]) -> None:
    filtered("gate", f"{INPUT} tcp dport 10250 reject with tcp reset; }}; }}")
    (obstacle,) = find()
    assert obstacle.detail.startswith(
        "does not get TCP 10250 (kubelet) from master and one (connections are rejected)"
    )


def test_packets_of_the_full_size(find: Find, machines: dict[str, Machine]) -> None:
    machines["one"].sh("ip link set eth0 mtu 1400")
    try:
        found = {obstacle.host: obstacle for obstacle in find()}
    finally:
        machines["one"].sh("ip link set eth0 mtu 1500")
    assert found["one"].code == "PACKET_SIZE"
    assert found["one"].detail == "does not get packets of 1500 bytes from master and gate"
    assert f"ping -M do -s 1472 {NETWORK}.11" in found["one"].remedy


def test_losses(find: Find, filtered: Callable[[str, str], None]) -> None:
    """One filter for each sender, so that the order in which their packets mingle does not matter."""
    lost = "".join(
        f"ip saddr {NETWORK}.{last} icmp type echo-request numgen inc mod 4 == 0 drop; " for last in (10, 12)
    )
    filtered("one", f"{INPUT} {lost} }}; }}")
    (obstacle,) = find()
    assert obstacle.code == "PACKET_LOSS"
    assert re.match(r"answers only 30 of 40 packets from master and gate$", obstacle.detail)


def test_packets_of_pods_that_are_not_forwarded(find: Find, filtered: Callable[[str, str], None]) -> None:
    filtered("one", "table inet f { chain out { type filter hook forward priority 0; policy drop; }; }")
    (obstacle,) = find()
    assert (obstacle.host, obstacle.code) == ("one", "FORWARD_BLOCKED")
    assert obstacle.remedy.startswith("on one: sudo nft insert rule inet f out ip saddr 10.244.0.0/16 accept; ")


def test_a_real_listener_is_left_alone(find: Find, machines: dict[str, Machine]) -> None:
    serve = 'import socket,time; s=socket.create_server(("", 10250)); time.sleep(60)'
    machines["one"].sh(f"setsid python3 -c '{serve}' >/dev/null 2>&1 & echo $! >/run/serving; sleep 0.5")
    try:
        assert find() == []
    finally:
        machines["one"].sh("kill $(cat /run/serving)")


def test_the_step_raises_one_error_with_everything(opened: OpenSite, filtered: Callable[[str, str], None]) -> None:
    step = next(step for step in STEPS if step.name == "reachability")
    filtered("one", f"{INPUT} tcp dport 10250 drop; }}; }}")
    for host in opened.hosts.values():
        host.query = step.query(opened.site)
    with pytest.raises(HostError) as raised:
        list(step.changes(opened["master"], None, opened.site))  # type: ignore[arg-type]
    assert raised.value.host == "one"
    assert raised.value.message.startswith(
        "does not get TCP 10250 (kubelet) from master and gate: its nftables chain i of"
    )
