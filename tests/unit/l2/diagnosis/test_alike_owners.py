"""One MAC that answers for an address has many causes, which are told apart."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from provisioner.l2.facts import Facts
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Capture
from tests.unit.l2.diagnosis.segment import (
    FOREIGN,
    IP,
    IPVS,
    OWN,
    ROUTER,
    W1,
    W2,
    W3,
    address,
    capture,
    each_node,
    facts,
    healthy,
    heard,
    judge,
    kernels,
    metallb,
    nic,
    node,
    nodes,
    service,
    syn,
    vantage,
)

# No host answers probes from 0.0.0.0, and one MAC answers for the only node's own address and for the Service's.
PROXY_ALONE = capture(heard(ROUTER, "BU"), heard(ROUTER, "B", OWN["w1"]), syn(ROUTER), quiet=True)
STALE = facts(metallb=metallb(config="stale"))
ONE_OWNER: dict[str, tuple[str, tuple[str, ...], Capture, Facts | None]] = {
    "the leader": ("OK", (), healthy(), facts()),
    "another node": ("OK", ("UNEXPECTED_LEADER",), healthy(W1), facts()),
    "another node, and the leader's speaker is failing": (
        "SPEAKER_DOWN",
        (),
        healthy(W1),
        facts(nodes=nodes(w2={"speaker": "failing"})),
    ),
    "another node, and the DaemonSet is short of the leader's speaker": (
        "SPEAKER_DOWN",
        (),
        healthy(W1),
        facts(nodes=nodes(w2={"speaker": "missing"}), metallb=metallb(speakers_wanted=3)),
    ),
    "the first node that should have a speaker": (
        "OK",
        (),
        healthy(W1),
        facts(nodes=nodes(w2={"speaker": "missing"}), metallb=metallb(speakers_wanted=2)),
    ),
    "the first node with a speaker, and how many there should be is unknown": (
        "OK",
        (),
        healthy(W1),
        facts(nodes=nodes(w2={"speaker": "missing"})),
    ),
    "not the first node that should have a speaker": (
        "OK",
        ("UNEXPECTED_LEADER",),
        healthy(W3),
        facts(nodes=nodes(w2={"speaker": "missing"}), metallb=metallb(speakers_wanted=2)),
    ),
    "the leader, and another node's speaker is missing": (
        "OK",
        (),
        healthy(),
        facts(nodes=nodes(w3={"speaker": "missing"})),
    ),
    "another node, and the configuration is stale": (
        "OK",
        ("PREDICTION_UNKNOWN",),
        healthy(W1),
        STALE,
    ),
    "the leader, and the configuration is stale": ("OK", ("PREDICTION_UNKNOWN",), healthy(), STALE),
    "a foreign host": ("ADDRESS_CONFLICT", (), healthy(FOREIGN), facts()),
    "a foreign host that does not serve": ("ADDRESS_CONFLICT", (), capture(heard(FOREIGN)), facts()),
    "an unknown MAC": ("UNKNOWN", ("PREDICTION_UNKNOWN",), healthy(), None),
    "a MAC that may be an unlisted node's": (
        "UNKNOWN",
        (),
        capture(heard(FOREIGN), syn(FOREIGN), kernels("w1", "w2"), quiet=True),
        facts(nodes=nodes(w3={"nics": None})),
    ),
    "a node, and no Service has the address": ("POOL_ADDRESS_IN_USE", (), healthy(), facts(services=())),
    "a node, no Service has the address and the pools are unknown": (
        "UNKNOWN",
        (),
        healthy(),
        facts(services=(), pools=None),
    ),
    "proxy ARP by a router, for the node's own address too": (
        "PROXY_ARP",
        (),
        PROXY_ALONE,
        facts(nodes=(node("w1", nics=None),)),
    ),
    "the nodes' interfaces are unknown": (
        "OK",
        (),
        healthy(),
        facts(nodes=each_node(nics=None)),
    ),
    "no port was tried": ("UNKNOWN", (), capture(heard(W2)), facts()),
    "a Service without a TCP port": (
        "OK",
        (),
        capture(heard(W2)),
        facts(services=(service(ports=({"port": 514, "protocol": "UDP"},)),)),
    ),
    "the Service's ports are unknown and none was tried": (
        "UNKNOWN",
        (),
        capture(heard(W2)),
        facts(services=(service(ports=()),)),
    ),
    "one port of two is closed": (
        "NOT_SERVING",
        (),
        capture(heard(W2), syn(W2), syn(W2, "silent", 443)),
        facts(services=(service(ports=({"port": 80}, {"port": 443})),)),
    ),
    "Local, and the owner has no endpoint": (
        "NOT_SERVING",
        ("UNEXPECTED_LEADER",),
        capture(heard(W2), syn(W2, "silent")),
        facts(services=(service(external_traffic_policy="Local"),)),
    ),
    "the leader has the address configured": (
        "OK",
        ("KERNEL_ALSO_OWNS",),
        healthy(),
        facts(nodes=nodes(w2={"nics": (nic("w2", addresses=("192.0.2.12/24", "192.0.2.200/32")),)})),
    ),
    "only another node has it configured": (
        "POOL_OVERLAPS_NODE",
        (),
        capture(heard(W1, length=42), syn(W1)),
        facts(nodes=nodes(w1={"nics": (nic("w1", addresses=("192.0.2.11/24", "192.0.2.200/32")),)})),
    ),
    "it is configured on this machine": (
        "ADDRESS_CONFLICT",
        (),
        capture(vantage=vantage(own_addresses=frozenset({address(IP), address("192.0.2.1")}))),
        facts(),
    ),
    "probes are dropped here, and the MAC was found on the node": (
        "OK",
        (),
        replace(healthy(), answers=tuple(one for one in healthy().answers if one.kind is not Kind.PROBE)),
        facts(),
    ),
    "the leader missed the probe": ("OK", (), capture(heard(W2, "BU"), syn(W2)), facts()),
    "no node should announce it": (
        "NO_ENDPOINTS",
        (),
        capture(heard(W2), syn(W2, "unreachable")),
        facts(services=(service(endpoints=()),)),
    ),
}


@pytest.mark.parametrize(("verdict", "warned", "run", "known"), ONE_OWNER.values(), ids=ONE_OWNER)
def test_one_owner_is_told_apart(verdict: str, warned: tuple[str, ...], run: Capture, known: Facts | None) -> None:
    result = judge(run, known)
    assert result.verdict == verdict, result
    assert set(result.warnings) == set(warned) if verdict == "OK" else True


def test_a_kernel_warning_has_the_command_that_removes_the_address() -> None:
    nics = (nic("w2", addresses=("192.0.2.12/24", "192.0.2.200/24")),)
    result = judge(healthy(), facts(nodes=nodes(w2={"nics": nics})))
    assert (result.verdict, result.warnings) == ("OK", ("KERNEL_ALSO_OWNS",))
    # The kernel deletes an address only with the prefix that it was added with.
    assert result.command == "provisioner exec --limit w2 -- ip address del 192.0.2.200/24 dev eth1"
    result = judge(capture(heard(W2, length=42), syn(W2)), facts(kube_proxy=IPVS))
    assert (result.verdict, result.warnings) == ("OK", ("KERNEL_ALSO_OWNS",))
    assert result.command == "kubectl -n kube-system edit configmap kube-proxy"


def test_this_machines_address_is_removed_with_its_own_prefix() -> None:
    own = (IPv4Interface("192.0.2.1/24"), IPv4Interface("192.0.2.200/24"))
    here = vantage(addresses=own, own_addresses=frozenset(one.ip for one in own))
    assert judge(capture(vantage=here), facts()).command == "sudo ip address del 192.0.2.200/24 dev eth1"
    other_interface = vantage(own_addresses=frozenset({address(IP)}))
    assert judge(capture(vantage=other_interface), facts()).command == "ip address show to 192.0.2.200"


def test_a_cached_mac_that_is_right_is_not_stale() -> None:
    run = replace(healthy(), vantage=vantage(neighbours={address(IP): W2}))
    assert judge(run, facts()).verdict == "OK"


def test_a_segment_that_duplicates_every_frame_does_not_make_a_kernel_owner() -> None:
    once = {address(IP): {Kind.PROBE: 1, Kind.REQUEST: 1}}
    doubled = capture(heard(W2), heard(W2, rtt=0.0005), syn(W2), times=once)
    assert judge(doubled, facts()).warnings == ("KERNEL_ALSO_OWNS",)
    own = heard(W2, "ZB", OWN["w2"], length=42, rtt=0.0005)
    assert judge(replace(doubled, answers=(*doubled.answers, *own)), facts()).warnings == ()


def test_two_late_replies_to_two_requests_do_not_make_a_kernel_owner() -> None:
    """On a slow machine both arrive after the second request, and both are attributed to it."""
    late = capture(
        heard(W2), heard(W2, "Z", rtt=0.0005), syn(W2), times={address(IP): {Kind.PROBE: 2, Kind.REQUEST: 1}}
    )
    assert judge(late, facts()).warnings == ()


def test_before_metallb_013_the_pools_are_in_a_configmap() -> None:
    old = facts(metallb=metallb(version="0.12.1"))
    assert judge(healthy(FOREIGN), old).command == "kubectl -n metallb-system edit configmap config"
