"""Services without an address: each cause, and what is not one."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.l2 import diagnosis
from provisioner.l2.diagnosis import pending
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.facts import Facts, MetalLB, OtherAnnouncers, Pool, Port, Service, ServiceEvent
from provisioner.l2.pools import admits
from tests.unit.l2.diagnosis.segment import IP, facts, healthy, metallb, service

PENDING = service(name="new", ingress_ips=())
BUGGY = Pool(name="lab", addresses=("192.0.2.255-192.0.3.0", "192.0.2.200/32"), avoid_buggy_ips=True)
SMALL = Pool(name="lab", addresses=("192.0.2.200/32",))
DUAL = Pool(name="lab", addresses=("192.0.2.200/32", "2001:db8::/64"))
OTHERS = {"priority": 1, "namespaces": ["shop"]}


def pool(**changes: Any) -> tuple[Pool, ...]:
    return (Pool(name="lab", addresses=("192.0.2.200-192.0.2.201",), **changes),)


@pytest.mark.parametrize(
    ("verdict", "known", "changes", "evidence", "command"),
    [
        pytest.param(
            "POOL_EXHAUSTED",
            facts(pools=(SMALL,)),
            {},
            "Pool lab has 1 address, all assigned.",
            "kubectl -n metallb-system edit ipaddresspool lab",
            id="the only pool is full",
        ),
        pytest.param(
            "POOL_EXHAUSTED",
            facts(pools=(BUGGY,)),
            {},
            "Pool lab has 1 address, all assigned.",
            "ipaddresspool lab",
            id="only .255 and .0 are free, which the pool avoids",
        ),
        pytest.param(
            "POOL_EXHAUSTED",
            facts(pools=(DUAL,)),
            {},
            "Pool lab has 1 IPv4 address, all assigned.",
            "ipaddresspool lab",
            id="IPv4 is full, IPv6 is not",
        ),
        pytest.param(
            "POOL_EXHAUSTED",
            facts(pools=(DUAL,)),
            {"families": ("IPv4",)},
            "Pool lab has 1 IPv4 address, all assigned.",
            "ipaddresspool lab",
            id="IPv4 is full, and the Service is IPv4 only",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=(DUAL,)),
            {"families": ("IPv6",)},
            "Service default/new has no external IP.",
            "describe service new",
            id="IPv4 is full, and the Service is IPv6 only",
        ),
        pytest.param(
            "POOL_EXHAUSTED",
            facts(pools=(SMALL, Pool(name="big", addresses=("192.0.2.0/28",), service_allocation=OTHERS))),
            {},
            "Pool lab has 1 address, all assigned.",
            "ipaddresspool lab",
            id="one pool is full, another does not admit the Service",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=pool(service_allocation=OTHERS)),
            {},
            "serviceAllocation of pool lab does not admit it.",
            "kubectl -n metallb-system edit ipaddresspool lab",
            id="the only pool does not admit the Service",
        ),
        pytest.param(
            "POOL_EXHAUSTED",
            facts(pools=(SMALL, Pool(name="big", addresses=("192.0.2.0/28",)))),
            {"wanted_pool": "lab"},
            "Pool lab has 1 address, all assigned.",
            "ipaddresspool lab",
            id="the requested pool is full, another is not",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=(SMALL, Pool(name="big", addresses=("192.0.2.0/28",)))),
            {},
            "Service default/new has no external IP.",
            "kubectl -n default describe service new",
            id="one pool is full, another is not",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(services=None, pools=(SMALL,)),
            {},
            "Service default/new has no external IP.",
            "describe service new",
            id="the Services are unknown",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=(SMALL,)),
            {"load_balancer_class": "other.example/lb"},
            "Its loadBalancerClass is other.example/lb, which MetalLB does not serve.",
            "describe service new",
            id="another controller's class, and the pool is full",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(metallb=metallb(load_balancer_class="metallb.io/mine")),
            {},
            "It has no loadBalancerClass, and MetalLB serves only metallb.io/mine.",
            "describe service new",
            id="no class, and MetalLB serves one",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=()),
            {},
            "MetalLB has no address pools.",
            "kubectl -n metallb-system get ipaddresspools",
            id="no pool",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=pool(auto_assign=False)),
            {},
            "It requests no pool, and autoAssign is false for lab.",
            "kubectl -n default annotate service new metallb.io/address-pool=lab",
            id="no pool with autoAssign",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=pool(auto_assign=False)),
            {"wanted_pool": "gone"},
            "It requests pool gone, which does not exist.",
            "describe service new",
            id="the requested pool does not exist",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(),
            {"wanted_ips": ("203.0.113.1",)},
            "It requests 203.0.113.1, which is in no pool.",
            "describe service new",
            id="the requested address is in no pool",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(),
            {"wanted_ips": (IP,)},
            "It requests 192.0.2.200, which default/web has.",
            "describe service new",
            id="the requested address is assigned",
        ),
        pytest.param(
            "CONFIG_INVALID",
            facts(metallb=metallb(config="invalid", config_error="duplicate pool.")),
            {},
            "keeps running the last valid one: duplicate pool.",
            "logs deployment/controller",
            id="the configuration is invalid",
        ),
        pytest.param(
            "CONFIG_STALE",
            facts(metallb=metallb(config="stale")),
            {},
            "latest configuration.",
            "logs deployment/controller",
            id="the configuration is stale",
        ),
        pytest.param(
            "NO_ADDRESS",
            Facts(),
            {"events": (ServiceEvent(reason="AllocationFailed", message="no available IPs"),)},
            "Service default/new has no external IP.",
            "describe service new",
            id="nothing is known",
        ),
    ],
)
def test_a_pending_service(verdict: str, known: Facts, changes: dict[str, Any], evidence: str, command: str) -> None:
    pending = PENDING.model_copy(update=changes)
    result = diagnosis.diagnose_pending(known, pending)
    assert result.verdict == verdict, result
    assert result.evidence[0].endswith(evidence), result.evidence
    assert command in result.command
    assert (result.ip, result.family, result.service, result.owners) == ("", "", "default/new", ())
    assert "Service default/new has no external IP." in result.evidence


def test_a_shared_address_may_be_requested() -> None:
    holder = service(allow_shared_ip="a", ports=(Port(port=80),))
    pending = PENDING.model_copy(update={"wanted_ips": (IP,), "allow_shared_ip": "a", "ports": (Port(port=81),)})
    result = diagnosis.diagnose_pending(facts(services=(holder,)), pending)
    assert result.evidence[0] == "Service default/new has no external IP."
    same_port = pending.model_copy(update={"ports": (Port(port=80),)})
    result = diagnosis.diagnose_pending(facts(services=(holder,)), same_port)
    assert result.evidence[0] == "It requests 192.0.2.200, which default/web has."


def test_unknown_facts_leave_alternatives_open() -> None:
    result = diagnosis.diagnose_pending(Facts(others=OtherAnnouncers(servicelb=True)), PENDING)
    assert result.alternatives == ("POOL_EXHAUSTED", "CONFIG_INVALID", "SERVICELB_CONFLICT")
    assert diagnosis.diagnose_pending(facts(), PENDING).alternatives == ()


def test_metallbs_own_reason_is_in_the_evidence() -> None:
    failed = ServiceEvent(
        reason="AllocationFailed", message='Failed to allocate IP for "default/new": no available IPs'
    )
    result = diagnosis.diagnose_pending(facts(), PENDING.model_copy(update={"events": (failed,)}))
    assert result.evidence[-1] == 'MetalLB reports: Failed to allocate IP for "default/new": no available IPs.'


@pytest.mark.parametrize("name", ["new; reboot", "{new}"])
def test_a_name_that_a_shell_would_interpret_is_in_no_command(name: str) -> None:
    for pools in ((), pool(auto_assign=False), pool()):
        result = diagnosis.diagnose_pending(
            facts(pools=pools), PENDING.model_copy(update={"name": name, "wanted_ips": (IP,)})
        )
        assert name not in result.command


def test_before_metallb_013_a_full_pool_is_enlarged_in_the_configmap() -> None:
    old = facts(metallb=MetalLB(version="0.12.1"), pools=(SMALL,))
    assert diagnosis.diagnose_pending(old, PENDING).command == "kubectl -n metallb-system edit configmap config"


def test_a_service_with_an_address_is_diagnosed_by_its_address_only() -> None:
    both: tuple[Service, ...] = (service(), PENDING)
    results = diagnosis.diagnose_all(healthy(), facts(services=both), [], both)
    assert [(result.service, result.verdict) for result in results] == [("default/new", "NO_ADDRESS")]


def test_a_defect_at_one_of_them_is_a_verdict_and_the_others_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mock stands for a mistake in the diagnosis, which no input is known to lead to."""
    find = pending.find

    def broken(known: Facts, one: Service) -> Cause:
        if one.name == "odd":
            raise KeyError("a\nforged line")
        return find(known, one)

    monkeypatch.setattr(pending, "find", broken)
    both = (service(name="odd", ingress_ips=()), PENDING)
    first, second = diagnosis.diagnose_all(healthy(), facts(services=both), [], both)
    assert (first.service, first.verdict, first.command) == ("default/odd", "UNKNOWN", "provisioner l2 collect")
    (sentence,) = first.evidence
    assert sentence.startswith("A defect of this program, KeyError at test_pending.py:")
    assert "\n" not in sentence
    assert (second.service, second.verdict) == ("default/new", "NO_ADDRESS")


def test_a_full_family_is_certain_only_if_the_service_needs_it() -> None:
    known = facts(pools=(DUAL,))
    results = {
        families: diagnosis.diagnose_pending(known, service(name="new", ingress_ips=(), families=families))
        for families in ((), ("IPv4",), ("IPv4", "IPv6"))
    }
    assert {families: (one.confidence, one.alternatives) for families, one in results.items()} == {
        (): ("likely", ("NO_ADDRESS",)),
        ("IPv4",): ("certain", ()),
        ("IPv4", "IPv6"): ("likely", ("NO_ADDRESS",)),
    }


@pytest.mark.parametrize(
    ("allocation", "labels", "admitted"),
    [
        (None, {}, True),
        ({"priority": 3}, {}, True),
        ({"namespaces": ["default"]}, {}, True),
        ({"namespaces": ["shop"]}, {}, False),
        ({"namespaceSelectors": [{"matchLabels": {"team": "a"}}]}, {}, None),
        ({"namespaces": ["default"], "namespaceSelectors": [{"matchLabels": {"team": "a"}}]}, {}, True),
        ({"serviceSelectors": [{"matchLabels": {"tier": "web"}}]}, {"tier": "web"}, True),
        ({"serviceSelectors": [{"matchLabels": {"tier": "web"}}]}, {"tier": "db"}, False),
        ({"serviceSelectors": [{"matchLabels": {"tier": "web"}}]}, None, None),
        ({"namespaces": ["shop"], "serviceSelectors": [{"matchLabels": {"tier": "web"}}]}, {"tier": "web"}, False),
    ],
)
def test_which_services_a_pool_admits(
    allocation: dict[str, Any] | None, labels: dict[str, str] | None, admitted: bool | None
) -> None:
    (only,) = pool(service_allocation=allocation)
    assert admits(only, service(labels=labels)) is admitted
