"""Who announces an address: tables of facts, versions and what must follow, or must stay unknown."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.l2 import election
from provisioner.l2.facts import Advertisement, Endpoint, Facts, MetalLB, Node, Pool, Service
from provisioner.l2.selectors import any_matches, matches

IP = IPv4Address("10.20.30.1")
EXCLUDED = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}


def node(name: str, **known: Any) -> Node:
    usual: dict[str, Any] = {"ready": True, "network_unavailable": False, "labels": {}, "speaker": "ready"}
    return Node(name=name, **usual | known)


def service(**known: Any) -> Service:
    usual: dict[str, Any] = {
        "namespace": "default",
        "name": "web",
        "ingress_ips": (str(IP),),
        "external_traffic_policy": "Cluster",
        "endpoints": (Endpoint(node="iris1"),),
        "labels": {},
    }
    return Service(**usual | known)


def facts(*nodes: Node, **known: Any) -> Facts:
    """Return a cluster in which everything is known and iris1 and iris2 are candidates."""
    metallb = {"version": "0.16.1", "memberlist": True, "ignore_exclude_lb": False, "config": "valid"}
    usual: dict[str, Any] = {
        "metallb": MetalLB(**metallb | known.pop("metallb", {})),
        "nodes": nodes or (node("iris1"), node("iris2")),
        "pools": (Pool(name="lab", addresses=("10.20.30.0/24",)),),
        "advertisements": (Advertisement(name="lab"),),
        "services": (),
    }
    return Facts(**usual | known)


def predict(known: Facts, one: Service | None = None) -> election.Prediction:
    return election.predict(known, IP, one or service())


# --- the election itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ip", "leader"), [("10.20.30.1", "iris2"), ("10.20.30.2", "iris1")])
def test_the_known_leaders(ip: str, leader: str) -> None:
    prediction = election.predict(facts(), ip_address(ip), service(ingress_ips=(ip,)))
    assert prediction.leader == leader
    assert prediction.candidates is not None
    assert set(prediction.candidates) == {"iris1", "iris2"}
    assert prediction.candidates[0] == leader
    assert (prediction.unknown, prediction.why_empty, dict(prediction.ruled_out)) == ((), "", {})


def test_all_addresses_of_a_service_follow_its_first() -> None:
    both = service(ingress_ips=("10.20.30.1", "10.20.30.2"))
    assert election.predict(facts(), ip_address("10.20.30.2"), both).leader == "iris2", "alone it would be iris1's"


def test_an_ipv6_address_is_hashed_in_its_shortest_form() -> None:
    long, short = (service(ingress_ips=(text,)) for text in ("2001:db8:0:0::7", "2001:db8::7"))
    pools = (Pool(name="lab", addresses=("2001:db8::/64",)),)
    ip = ip_address("2001:db8::7")
    assert election.order(["iris1", "iris2"], ip) == election.predict(facts(pools=pools), ip, long).candidates
    assert election.predict(facts(pools=pools), ip, short) == election.predict(facts(pools=pools), ip, long)


@given(st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=8, unique=True), st.data())
def test_taking_a_follower_away_never_changes_the_leader(names: list[str], data: st.DataObject) -> None:
    ordered = election.order(names, IP)
    assert sorted(ordered) == sorted(names)
    if len(ordered) > 1:
        gone = data.draw(st.sampled_from(ordered[1:]))
        assert election.order([name for name in names if name != gone], IP)[0] == ordered[0]


# --- who is a candidate ---------------------------------------------------------------------------------------------

LEADS, FOLLOWS, NOBODY = "iris2", "iris1", ""


@pytest.mark.parametrize(
    ("known", "leader", "why_out"),
    [
        # The exclude label: honoured since 0.14.2, ignored by the flag since 0.14.4.
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
        # A cordoned node: in 0.14.9 alone.
        (
            facts(
                node("iris1", unschedulable=False), node("iris2", unschedulable=True), metallb={"version": "0.14.9"}
            ),
            FOLLOWS,
            "cordoned",
        ),
        (facts(node("iris1"), node("iris2", unschedulable=True), metallb={"version": "0.15.2"}), LEADS, ""),
        # The speaker, by memberlist; whether the node is ready is not asked.
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


def advertised(**spec: Any) -> dict[str, Any]:
    return {"advertisements": (Advertisement(name="one", **spec),)}


ZONES = (node("iris1", labels={"zone": "a"}), node("iris2", labels={"zone": "b"}))


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
        ({"interfaces": ("eth9",)}, ("iris2", "iris1")),  # they do not matter to the election
        ({"service_selectors": ({"matchLabels": {"app": "web"}},)}, ("iris2", "iris1")),
    ],
)
def test_candidates_by_advertisement(spec: dict[str, Any], candidates: tuple[str, ...]) -> None:
    pools = (Pool(name="lab", addresses=("10.20.30.0/24",), labels={"tier": "web"}),)
    known = facts(*ZONES, pools=pools, **advertised(**spec))
    one = service(labels={"app": "web"})
    assert predict(known, one).candidates == candidates
    assert election.advertisements_for(known, IP, one) == known.advertisements


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
    found = election.advertisements_for(known, IP, service(labels={"app": "web"}))
    assert found is not None
    assert [item.name for item in found] == ["a"]


def test_the_policy_local_asks_for_an_endpoint_on_the_node() -> None:
    ends = (Endpoint(node="iris1"), Endpoint(node="iris2", ready=False))
    prediction = predict(facts(), service(external_traffic_policy="Local", endpoints=ends))
    assert prediction.candidates == ("iris1",)
    assert "whose policy is Local" in prediction.ruled_out["iris2"]
    assert predict(facts(), service(endpoints=ends)).leader == "iris2"


def test_before_0_13_there_are_no_advertisements() -> None:
    old = {"version": "0.12.1", "ignore_exclude_lb": None}
    assert predict(facts(metallb=old, advertisements=None)).leader == "iris2"
    assert predict(facts(metallb=old, advertisements=())).leader == "iris2"
    by_bgp = (Pool(name="lab", addresses=("10.20.30.0/24",), protocol="bgp"),)
    assert predict(facts(metallb=old, advertisements=None, pools=by_bgp)).why_empty == "NO_L2ADVERTISEMENT"


# --- nobody ---------------------------------------------------------------------------------------------------------

LOCAL_ELSEWHERE = service(external_traffic_policy="Local", endpoints=(Endpoint(node="iris3"),))
NOT_READY = service(endpoints=(Endpoint(node="iris1", ready=False),))
DOWN = (node("iris1", speaker="missing"), node("iris2", speaker="failing"))


@pytest.mark.parametrize(
    ("known", "one", "code"),
    [
        (facts(advertisements=()), service(), "NO_L2ADVERTISEMENT"),
        (facts(**advertised(pools=("other",))), service(), "NO_L2ADVERTISEMENT"),
        (facts(**advertised(service_selectors=({"matchLabels": {"a": "b"}},))), service(), "NO_L2ADVERTISEMENT"),
        (
            facts(
                pools=(Pool(name="lab", addresses=("10.20.30.0/24",), labels={}),),
                **advertised(pool_selectors=({"matchLabels": {"tier": "web"}},)),
            ),
            service(),
            "NO_L2ADVERTISEMENT",
        ),
        (facts(node("iris1", labels=EXCLUDED), node("iris2", labels=EXCLUDED)), service(), "EXCLUDE_LABEL"),
        (facts(node("iris1", labels=EXCLUDED), node("iris2", speaker="missing")), service(), "EXCLUDE_LABEL"),
        (facts(**advertised(node_selectors=({"matchLabels": {"a": "b"}},))), service(), "NODE_SELECTOR_EMPTY"),
        # Selectors that admit one node only are well; its speaker is not.
        (
            facts(
                node("iris1", labels={"a": "b"}, speaker="failing"),
                node("iris2", labels={}),
                **advertised(node_selectors=({"matchLabels": {"a": "b"}},)),
            ),
            service(),
            "SPEAKER_DOWN",
        ),
        (facts(), service(endpoints=()), "NO_ENDPOINTS"),
        (facts(), NOT_READY, "NO_ENDPOINTS"),
        (facts(), LOCAL_ELSEWHERE, "LOCAL_NO_CANDIDATE"),
        (facts(*DOWN), service(), "SPEAKER_DOWN"),
        (facts(*DOWN), NOT_READY, "NO_ENDPOINTS"),
        # Two causes at once: the first of the specification's table.
        (facts(advertisements=()), NOT_READY, "NO_L2ADVERTISEMENT"),
        (facts(**advertised(node_selectors=({"matchLabels": {"a": "b"}},))), NOT_READY, "NODE_SELECTOR_EMPTY"),
        # Certain whatever else is unknown.
        (facts(node("iris1", speaker=None), metallb={"memberlist": None}), NOT_READY, "NO_ENDPOINTS"),
        (facts(node("iris1", labels=None), advertisements=()), service(), "NO_L2ADVERTISEMENT"),
        (facts(metallb={"config": "stale"}), NOT_READY, "NO_ENDPOINTS"),
        (facts(metallb={"version": "0.10.3"}), NOT_READY, "NO_ENDPOINTS"),
        # Without memberlist, up to 0.14 nobody is elected; 0.12 and its policy Local do without.
        (facts(metallb={"version": "0.14.9", "memberlist": False}), service(), "NO_FAILOVER_MEMBERLIST_OFF"),
        (facts(metallb={"version": "0.12.1", "memberlist": False}), service(), "NO_FAILOVER_MEMBERLIST_OFF"),
        (facts(node("iris1", network_unavailable=True)), service(), ""),
    ],
)
def test_nobody_announces_and_why(known: Facts, one: Service, code: str) -> None:
    known = known.model_copy(
        update={"nodes": tuple(each.model_copy(update={"unschedulable": False}) for each in known.nodes)}
    )
    prediction = predict(known, one)
    assert prediction.candidates == ()
    assert prediction.leader == ""
    assert prediction.why_empty == code
    assert prediction.unknown == ()


def test_0_12_needs_no_memberlist_for_the_policy_local() -> None:
    known = facts(metallb={"version": "0.12.1", "memberlist": False}, advertisements=None)
    assert predict(known, service(external_traffic_policy="Local")).candidates == ("iris1",)


def test_an_address_that_no_service_has_is_announced_by_nobody() -> None:
    assert election.predict(facts(), IP, None) == election.Prediction(())
    unknown = election.predict(facts(services=None), IP, None)
    assert unknown.candidates is None
    assert unknown.unknown == ("which Service has the address is not known",)


def test_who_would_lead_is_said_where_its_speaker_is_down() -> None:
    prediction = predict(facts(node("iris1"), node("iris2", speaker="missing")))
    assert (prediction.leader, prediction.would_lead) == ("iris1", "iris2")
    prediction = predict(facts(*DOWN))
    assert (prediction.leader, prediction.would_lead) == ("", "iris2")


# --- unknown is not false -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "one", "says"),
    [
        (facts(node("iris1"), node("iris2", speaker=None)), service(), "whether a speaker runs on iris2"),
        (
            facts(node("iris1"), node("iris2", labels=None)),
            service(),
            "whether MetalLB leaves iris2 out for the label",
        ),
        (
            facts(node("iris1"), node("iris2", labels=EXCLUDED), metallb={"ignore_exclude_lb": None}),
            service(),
            "whether MetalLB leaves iris2 out",
        ),
        (facts(node("iris1"), node("iris2", network_unavailable=None)), service(), "whether the network of iris2"),
        (facts(node("iris1"), node("iris2", ready=False)), service(), "iris2 is not ready, so whether its speaker"),
        (
            facts(node("iris1"), node("iris2", speaker="missing"), metallb={"memberlist": None}),
            service(),
            "whether memberlist is on",
        ),
        (
            facts(metallb={"memberlist": None, "version": "0.14.8"}),
            service(),
            "whether memberlist is on",
        ),
        (facts(metallb={"memberlist": False, "version": None}), service(), "announces anything without memberlist"),
        (
            facts(node("iris1"), node("iris2"), metallb={"version": "0.14.9"}),
            service(),
            "is cordoned is not known",
        ),
        (facts(pools=None), service(), "the pools are not known"),
        (facts(advertisements=None), service(), "the advertisements are not known"),
        (facts(pools=()), service(), "10.20.30.1 lies in no pool that is there"),
        (facts(metallb={"config": "invalid"}), service(), "MetalLB has refused the configuration that is there"),
        (facts(metallb={"config": "stale"}), service(), "MetalLB has refused the configuration that is there"),
        (facts(), service(endpoints=None), "the endpoints of default/web are not known"),
        (facts(metallb={"version": None}, advertisements=()), service(), "MetalLB's version is not known"),
        (facts(metallb={"version": "0.10.3"}), service(), "before MetalLB 0.11 the leader depends on"),
        (
            facts(),
            service(external_traffic_policy=None, endpoints=(Endpoint(node="iris1"),)),
            "the externalTrafficPolicy of default/web is not known",
        ),
        (
            facts(*ZONES, **advertised(service_selectors=({"matchLabels": {"app": "web"}},))),
            service(labels=None),
            "the labels by which an advertisement would select default/web",
        ),
        (
            facts(**advertised(pool_selectors=({"matchLabels": {"tier": "web"}},))),
            service(),
            "the labels by which an advertisement would select",
        ),
    ],
)
def test_what_is_not_known_is_named_and_nobody_is_guessed(known: Facts, one: Service, says: str) -> None:
    prediction = predict(known, one)
    assert prediction.candidates is None
    assert prediction.leader == ""
    assert prediction.why_empty == ""
    assert any(says in sentence for sentence in prediction.unknown), prediction.unknown


def test_no_known_node_is_no_prediction() -> None:
    assert election.predict(facts().model_copy(update={"nodes": ()}), IP, service()).unknown == ("no node is known",)


def test_a_doubtful_follower_does_not_make_the_leader_doubtful() -> None:
    prediction = predict(facts(node("iris1", speaker=None), node("iris2")))
    assert (prediction.candidates, prediction.leader) == (None, "iris2")
    assert prediction.unknown == ("whether a speaker runs on iris1 is not known",)


def test_a_version_is_read_off_what_only_newer_ones_have() -> None:
    known = facts(metallb={"version": None})
    assert predict(known).leader == "iris2", "an L2Advertisement proves 0.13"
    labelled = facts(node("iris1"), node("iris2", labels=EXCLUDED), metallb={"version": None})
    assert predict(labelled).candidates is None


def test_what_is_unknown_but_cannot_matter_does_not() -> None:
    assert predict(facts(metallb={"memberlist": None})).leader == "iris2", "every speaker lives, on 0.15 or later"
    ends = (Endpoint(node="iris1"), Endpoint(node="iris2"))
    assert predict(facts(), service(external_traffic_policy=None, endpoints=ends)).leader == "iris2"
    assert predict(facts(node("iris1"), node("iris2", network_unavailable=None), metallb={"version": "0.13.9"})).leader


# --- selectors and pools --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "labels", "verdict"),
    [
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1", "b": "1"}}, {"a": "1"}, False),
        ({"matchLabels": {"a": ""}}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, {"a": "1"}, False),
    ],
)
def test_label_selectors(selector: dict[str, Any], labels: dict[str, str], verdict: bool) -> None:
    assert matches(selector, labels) is verdict


def test_no_selector_means_all_even_of_unknown_labels() -> None:
    assert any_matches((), None) is True
    assert any_matches(({},), None) is True
    assert any_matches(({"matchLabels": {"a": "1"}},), None) is None


@pytest.mark.parametrize(
    ("addresses", "buggy", "size"),
    [
        (("192.0.2.200-192.0.2.210",), True, 11),
        (("192.0.2.0/24",), False, 256),
        (("192.0.2.0/24",), True, 254),
        (("192.0.2.0/23",), True, 508),
        (("192.0.2.250-192.0.3.5",), True, 10),
        (("192.0.2.255/32", "192.0.2.0/32"), True, 0),
        (("10.0.0.0/8",), False, 2**24),
        (("2001:db8::/64",), True, 2**64),
    ],
)
def test_a_pools_size(addresses: tuple[str, ...], buggy: bool, size: int) -> None:
    pool = Pool(name="p", addresses=addresses, avoid_buggy_ips=buggy)
    assert election.size(pool) == size


@given(st.integers(0, 2**16), st.integers(0, 2000))
@settings(deadline=None)
def test_avoided_addresses_are_counted_as_by_listing_them(first: int, more: int) -> None:
    start, end = IPv4Address((10 << 24) + first), IPv4Address((10 << 24) + first + more)
    listed = sum(1 for number in range(int(start), int(end) + 1) if number % 256 not in (0, 255))
    assert election.size(Pool(name="p", addresses=(f"{start}-{end}",), avoid_buggy_ips=True)) == listed


def test_what_is_free_counts_a_shared_address_once() -> None:
    pool = Pool(name="p", addresses=("192.0.2.200-192.0.2.202", "2001:db8::/126"))
    services = (
        service(name="a", ingress_ips=("192.0.2.200", "2001:db8::1")),
        service(name="b", ingress_ips=("192.0.2.200",)),
        service(name="c", ingress_ips=("192.0.2.99",)),
        service(name="d", ingress_ips=()),
    )
    known = facts(pools=(pool,), services=services)
    assert (election.assigned(known, pool), election.free(known, pool)) == (2, 5)
    assert (election.free(known, pool, 4), election.free(known, pool, 6)) == (2, 3)
    assert election.free(facts(pools=(pool,), services=None), pool) is None
    assert election.pool_of(known, ip_address("192.0.2.202")) == pool
    assert election.pool_of(known, ip_address("192.0.2.203")) is None
