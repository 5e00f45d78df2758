"""Who announces an address when facts are missing: unknown is not false, and nobody is guessed."""

from __future__ import annotations

import pytest

from provisioner.l2.election import predictor
from provisioner.l2.facts import Endpoint, Facts, Service
from tests.unit.l2.election.candidates import EXCLUDED, IP, ZONES, advertised, facts, node, predict, service


@pytest.mark.parametrize(
    ("known", "one", "says"),
    [
        (facts(node("iris1"), node("iris2", speaker=None)), service(), "whether a speaker runs on iris2"),
        (
            facts(node("iris1"), node("iris2", labels=None)),
            service(),
            "whether MetalLB excludes iris2 for the label",
        ),
        (
            facts(node("iris1"), node("iris2", labels=EXCLUDED), metallb={"ignore_exclude_lb": None}),
            service(),
            "whether MetalLB excludes iris2",
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
            "is cordoned is unknown",
        ),
        (facts(pools=None), service(), "the pools are unknown"),
        (facts(advertisements=None), service(), "the advertisements are unknown"),
        (facts(pools=()), service(), "10.20.30.1 is in none of the current pools"),
        (facts(metallb={"config": "invalid"}), service(), "MetalLB refused the current configuration"),
        (facts(metallb={"config": "stale"}), service(), "MetalLB refused the current configuration"),
        (facts(), service(endpoints=None), "the endpoints of default/web are unknown"),
        (facts(metallb={"version": None}, advertisements=()), service(), "MetalLB's version is unknown"),
        (facts(metallb={"version": "0.10.3"}), service(), "before MetalLB 0.11 the leader depends on"),
        (
            facts(),
            service(external_traffic_policy=None, endpoints=(Endpoint(node="iris1"),)),
            "the externalTrafficPolicy of default/web is unknown",
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
def test_a_missing_fact_is_named_and_nobody_is_guessed(known: Facts, one: Service, says: str) -> None:
    prediction = predict(known, one)
    assert prediction.candidates is None
    assert prediction.leader == ""
    assert prediction.why_empty == ""
    assert any(says in sentence for sentence in prediction.unknown), prediction.unknown


def test_without_known_nodes_there_is_no_prediction() -> None:
    assert predictor.predict(facts().model_copy(update={"nodes": ()}), IP, service()).unknown == (
        "no nodes are known",
    )


def test_a_doubtful_follower_does_not_make_the_leader_doubtful() -> None:
    prediction = predict(facts(node("iris1", speaker=None), node("iris2")))
    assert (prediction.candidates, prediction.leader) == (None, "iris2")
    assert prediction.unknown == ("whether a speaker runs on iris1 is unknown",)


def test_a_version_is_inferred_from_objects_only_newer_ones_have() -> None:
    known = facts(metallb={"version": None})
    assert predict(known).leader == "iris2", "an L2Advertisement proves 0.13"
    labeled = facts(node("iris1"), node("iris2", labels=EXCLUDED), metallb={"version": None})
    assert predict(labeled).candidates is None


def test_a_missing_fact_that_cannot_matter_is_ignored() -> None:
    assert predict(facts(metallb={"memberlist": None})).leader == "iris2", "every speaker is alive, on 0.15 or later"
    ends = (Endpoint(node="iris1"), Endpoint(node="iris2"))
    assert predict(facts(), service(external_traffic_policy=None, endpoints=ends)).leader == "iris2"
    assert predict(facts(node("iris1"), node("iris2", network_unavailable=None), metallb={"version": "0.13.9"})).leader
