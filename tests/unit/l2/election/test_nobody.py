"""Addresses that nobody announces, and why."""

from __future__ import annotations

import pytest

from provisioner.l2.election import predictor
from provisioner.l2.facts import Endpoint, Facts, Pool, Service
from tests.unit.l2.election.candidates import EXCLUDED, IP, advertised, facts, node, predict, service

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
        # The selectors admit one node, whose speaker is down.
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
        # Two causes at once: the first in the specification's table wins.
        (facts(advertisements=()), NOT_READY, "NO_L2ADVERTISEMENT"),
        (facts(**advertised(node_selectors=({"matchLabels": {"a": "b"}},))), NOT_READY, "NODE_SELECTOR_EMPTY"),
        # Certain whatever else is unknown.
        (facts(node("iris1", speaker=None), metallb={"memberlist": None}), NOT_READY, "NO_ENDPOINTS"),
        (facts(node("iris1", labels=None), advertisements=()), service(), "NO_L2ADVERTISEMENT"),
        (facts(metallb={"config": "stale"}), NOT_READY, "NO_ENDPOINTS"),
        (facts(metallb={"version": "0.10.3"}), NOT_READY, "NO_ENDPOINTS"),
        # Without memberlist, nobody is elected up to 0.14, except by 0.12 with policy Local.
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


def test_0_12_needs_no_memberlist_for_policy_local() -> None:
    known = facts(metallb={"version": "0.12.1", "memberlist": False}, advertisements=None)
    assert predict(known, service(external_traffic_policy="Local")).candidates == ("iris1",)


def test_an_address_without_a_service_is_announced_by_nobody() -> None:
    assert predictor.predict(facts(), IP, None) == predictor.Prediction(())
    unknown = predictor.predict(facts(services=None), IP, None)
    assert unknown.candidates is None
    assert unknown.unknown == ("which Service has the address is unknown",)


def test_the_leader_that_would_be_is_named_if_its_speaker_is_down() -> None:
    prediction = predict(facts(node("iris1"), node("iris2", speaker="missing")))
    assert (prediction.leader, prediction.would_lead) == ("iris1", "iris2")
    prediction = predict(facts(*DOWN))
    assert (prediction.leader, prediction.would_lead) == ("", "iris2")
