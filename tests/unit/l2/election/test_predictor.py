"""Who announces an address: the order of the candidates, and the rules by version and advertisement."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.l2.election import predictor
from provisioner.l2.facts import Advertisement, Endpoint, Facts, Pool
from tests.unit.l2.election.candidates import EXCLUDED, IP, ZONES, advertised, facts, node, predict, service

# --- the election itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ip", "leader"), [("10.20.30.1", "iris2"), ("10.20.30.2", "iris1")])
def test_known_leaders(ip: str, leader: str) -> None:
    prediction = predictor.predict(facts(), ip_address(ip), service(ingress_ips=(ip,)))
    assert prediction.leader == leader
    assert prediction.candidates is not None
    assert set(prediction.candidates) == {"iris1", "iris2"}
    assert prediction.candidates[0] == leader
    assert (prediction.unknown, prediction.why_empty, dict(prediction.ruled_out)) == ((), "", {})


def test_all_addresses_of_a_service_follow_its_first() -> None:
    both = service(ingress_ips=("10.20.30.1", "10.20.30.2"))
    assert predictor.predict(facts(), ip_address("10.20.30.2"), both).leader == "iris2", "alone it would be iris1's"


def test_an_ipv6_address_is_hashed_in_its_shortest_form() -> None:
    long, short = (service(ingress_ips=(text,)) for text in ("2001:db8:0:0::7", "2001:db8::7"))
    pools = (Pool(name="lab", addresses=("2001:db8::/64",)),)
    ip = ip_address("2001:db8::7")
    assert predictor.order(["iris1", "iris2"], ip) == predictor.predict(facts(pools=pools), ip, long).candidates
    assert predictor.predict(facts(pools=pools), ip, short) == predictor.predict(facts(pools=pools), ip, long)


@given(st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=8, unique=True), st.data())
def test_removing_a_follower_never_changes_the_leader(names: list[str], data: st.DataObject) -> None:
    ordered = predictor.order(names, IP)
    assert sorted(ordered) == sorted(names)
    if len(ordered) > 1:
        gone = data.draw(st.sampled_from(ordered[1:]))
        assert predictor.order([name for name in names if name != gone], IP)[0] == ordered[0]


# --- who is a candidate ---------------------------------------------------------------------------------------------

LEADS, FOLLOWS, NOBODY = "iris2", "iris1", ""


@pytest.mark.parametrize(
    ("known", "leader", "why_out"),
    [
        # The exclude label: respected since 0.14.2, ignored with the flag since 0.14.4.
        (facts(node("iris1"), node("iris2", labels=EXCLUDED)), FOLLOWS, "has the label node.kubernetes.io/exclude"),
        (facts(node("iris1"), node("iris2", labels=EXCLUDED), metallb={"version": "0.14.2"}), FOLLOWS, "label"),
        (facts(node("iris1"), node("iris2", labels=EXCLUDED), metallb={"version": "0.13.12"}), LEADS, ""),
        (facts(node("iris1"), node("iris2", labels=EXCLUDED), metallb={"version": "0.14.1"}), LEADS, ""),
        (facts(node("iris1"), node("iris2", labels=EXCLUDED), metallb={"ignore_exclude_lb": True}), LEADS, ""),
        (
            facts(
                node("iris1"), node("iris2", labels=EXCLUDED), metallb={"version": "0.14.4", "ignore_exclude_lb": True}
            ),
            LEADS,
            "",
        ),
        (
            facts(
                node("iris1"),
                node("iris2", labels=EXCLUDED),
                metallb={"version": "0.14.3", "ignore_exclude_lb": None},
            ),
            FOLLOWS,
            "label",
        ),
        # NetworkUnavailable: since 0.13.10.
        (facts(node("iris1"), node("iris2", network_unavailable=True)), FOLLOWS, "NetworkUnavailable"),
        (facts(node("iris1"), node("iris2", network_unavailable=True), metallb={"version": "0.13.9"}), LEADS, ""),
        (
            facts(node("iris1"), node("iris2", network_unavailable=True), metallb={"version": "0.13.10"}),
            FOLLOWS,
            "Net",
        ),
        # A cordoned node: excluded in 0.14.9 only.
        (
            facts(
                node("iris1", unschedulable=False), node("iris2", unschedulable=True), metallb={"version": "0.14.9"}
            ),
            FOLLOWS,
            "cordoned",
        ),
        (facts(node("iris1"), node("iris2", unschedulable=True), metallb={"version": "0.15.2"}), LEADS, ""),
        # The speaker, by memberlist; the node's readiness does not matter.
        (facts(node("iris1"), node("iris2", speaker="missing")), FOLLOWS, "no live speaker (it is missing)"),
        (facts(node("iris1"), node("iris2", speaker="failing")), FOLLOWS, "no live speaker (it is failing)"),
        (facts(node("iris1"), node("iris2", speaker="missing"), metallb={"memberlist": False}), LEADS, ""),
        (facts(node("iris1"), node("iris2", ready=False), metallb={"memberlist": False}), LEADS, ""),
        (facts(metallb={"memberlist": False, "version": "0.15.0"}), LEADS, ""),
        (facts(metallb={"version": "0.11.0"}, advertisements=None), LEADS, ""),
    ],
)
def test_candidates_by_version(known: Facts, leader: str, why_out: str) -> None:
    prediction = predict(known)
    assert prediction.leader == leader
    assert prediction.candidates == ((leader,) if why_out else ("iris2", "iris1"))
    assert why_out in prediction.ruled_out.get("iris2", "")
    assert prediction.unknown == ()


@pytest.mark.parametrize(
    ("spec", "candidates"),
    [
        ({"node_selectors": ({"matchLabels": {"zone": "a"}},)}, ("iris1",)),
        ({"node_selectors": ({"matchLabels": {"zone": "a"}}, {"matchLabels": {"zone": "b"}})}, ("iris2", "iris1")),
        (
            {"node_selectors": ({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]},)},
            ("iris2",),
        ),
        ({"node_selectors": ({},)}, ("iris2", "iris1")),
        ({"pools": ("lab",)}, ("iris2", "iris1")),
        ({"pool_selectors": ({"matchLabels": {"tier": "web"}},)}, ("iris2", "iris1")),
        ({"pools": ("other",), "pool_selectors": ({"matchLabels": {"tier": "web"}},)}, ("iris2", "iris1")),
        ({"interfaces": ("eth9",)}, ("iris2", "iris1")),  # irrelevant to the election
        ({"service_selectors": ({"matchLabels": {"app": "web"}},)}, ("iris2", "iris1")),
    ],
)
def test_candidates_by_advertisement(spec: dict[str, Any], candidates: tuple[str, ...]) -> None:
    pools = (Pool(name="lab", addresses=("10.20.30.0/24",), labels={"tier": "web"}),)
    known = facts(*ZONES, pools=pools, **advertised(**spec))
    one = service(labels={"app": "web"})
    assert predict(known, one).candidates == candidates
    assert predictor.advertisements_for(known, IP, one) == known.advertisements


def test_a_second_advertisement_for_other_services_does_not_count() -> None:
    known = facts(
        *ZONES,
        advertisements=(
            Advertisement(name="a", node_selectors=({"matchLabels": {"zone": "a"}},)),
            Advertisement(name="b", service_selectors=({"matchLabels": {"app": "mail"}},)),
        ),
    )
    assert predict(known, service(labels={"app": "web"})).candidates == ("iris1",)
    assert predict(known, service(labels={"app": "mail"})).candidates == ("iris2", "iris1")
    found = predictor.advertisements_for(known, IP, service(labels={"app": "web"}))
    assert found is not None
    assert [item.name for item in found] == ["a"]


def test_policy_local_requires_an_endpoint_on_the_node() -> None:
    ends = (Endpoint(node="iris1"), Endpoint(node="iris2", ready=False))
    prediction = predict(facts(), service(external_traffic_policy="Local", endpoints=ends))
    assert prediction.candidates == ("iris1",)
    assert "which has policy Local" in prediction.ruled_out["iris2"]
    assert predict(facts(), service(endpoints=ends)).leader == "iris2"


def test_before_0_13_there_are_no_advertisements() -> None:
    old = {"version": "0.12.1", "ignore_exclude_lb": None}
    assert predict(facts(metallb=old, advertisements=None)).leader == "iris2"
    assert predict(facts(metallb=old, advertisements=())).leader == "iris2"
    by_bgp = (Pool(name="lab", addresses=("10.20.30.0/24",), protocol="bgp"),)
    assert predict(facts(metallb=old, advertisements=None, pools=by_bgp)).why_empty == "NO_L2ADVERTISEMENT"
