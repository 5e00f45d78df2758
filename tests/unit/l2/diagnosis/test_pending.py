"""Services without an address: each cause, and who is not to blame."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.l2 import diagnosis
from provisioner.l2.facts import Facts, MetalLB, OtherAnnouncers, Pool, Port, Service, ServiceEvent
from provisioner.l2.pools import admits
from tests.unit.l2.diagnosis.segment import IP, facts, metallb, service

WAITING = service(name="new", ingress_ips=())
BUGGY = Pool(name="lab", addresses=("192.0.2.255-192.0.3.0", "192.0.2.200/32"), avoid_buggy_ips=True)
SMALL = Pool(name="lab", addresses=("192.0.2.200/32",))
DUAL = Pool(name="lab", addresses=("192.0.2.200/32", "2001:db8::/64"))
OTHERS = {"priority": 1, "namespaces": ["shop"]}


def pool(**changes: Any) -> tuple[Pool, ...]:
    return (Pool(name="lab", addresses=("192.0.2.200-192.0.2.201",), **changes),)


@pytest.mark.parametrize(
    ("verdict", "known", "changes", "said", "typed"),
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
            facts(
                pools=(Pool(name="lab", addresses=("192.0.2.255-192.0.3.0", "192.0.2.200/32"), avoid_buggy_ips=True),)
            ),
            {},
            "Pool lab has 1 address, all assigned.",
            "ipaddresspool lab",
            id="what is left is .255 and .0, which the pool avoids",
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
            id="IPv4 is full, and the Service is of IPv4 alone",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=(DUAL,)),
            {"families": ("IPv6",)},
            "Service default/new has no external IP.",
            "describe service new",
            id="IPv4 is full, and the Service is of IPv6 alone",
        ),
        pytest.param(
            "POOL_EXHAUSTED",
            facts(pools=(SMALL, Pool(name="big", addresses=("192.0.2.0/28",), service_allocation=OTHERS))),
            {},
            "Pool lab has 1 address, all assigned.",
            "ipaddresspool lab",
            id="one pool is full, another is kept for others",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=pool(service_allocation=OTHERS)),
            {},
            "What it may ask for, lab, is kept for other namespaces or Services (serviceAllocation).",
            "kubectl -n metallb-system edit ipaddresspool lab",
            id="the only pool is kept for others",
        ),
        pytest.param(
            "POOL_EXHAUSTED",
            facts(pools=(SMALL, Pool(name="big", addresses=("192.0.2.0/28",)))),
            {"wanted_pool": "lab"},
            "Pool lab has 1 address, all assigned.",
            "ipaddresspool lab",
            id="the wanted pool is full, another is not",
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
            id="who has addresses is not known",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=(SMALL,)),
            {"load_balancer_class": "other.example/lb"},
            "It is of class other.example/lb, which is another controller's.",
            "describe service new",
            id="another controller's class, and the pool is full as well",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(metallb=metallb(load_balancer_class="metallb.io/mine")),
            {},
            "It is of no class, and MetalLB serves the class metallb.io/mine only.",
            "describe service new",
            id="MetalLB serves a class",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=()),
            {},
            "MetalLB has no address pool.",
            "kubectl -n metallb-system get ipaddresspools",
            id="no pool",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=pool(auto_assign=False)),
            {},
            "It asks for no pool, and no pool assigns by itself (autoAssign is false for lab).",
            "kubectl -n default annotate service new metallb.io/address-pool=lab",
            id="no pool assigns by itself",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(pools=pool(auto_assign=False)),
            {"wanted_pool": "gone"},
            "It asks for pool gone, which is not there.",
            "describe service new",
            id="the wanted pool is not there",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(),
            {"wanted_ips": ("203.0.113.1",)},
            "It asks for 203.0.113.1, which is in no pool.",
            "describe service new",
            id="the wanted address is in no pool",
        ),
        pytest.param(
            "NO_ADDRESS",
            facts(),
            {"wanted_ips": (IP,)},
            "It asks for 192.0.2.200, which default/web has.",
            "describe service new",
            id="the wanted address is taken",
        ),
        pytest.param(
            "CONFIG_INVALID",
            facts(metallb=metallb(config="invalid", config_error="duplicate pool.")),
            {},
            "goes on with the last good one: duplicate pool.",
            "logs deployment/controller",
            id="the configuration is refused",
        ),
        pytest.param(
            "CONFIG_STALE",
            facts(metallb=metallb(config="stale")),
            {},
            "newest configuration.",
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
def test_pending(verdict: str, known: Facts, changes: dict[str, Any], said: str, typed: str) -> None:
    waiting = WAITING.model_copy(update=changes)
    result = diagnosis.diagnose_pending(known, waiting)
    assert result.verdict == verdict, result
    assert result.evidence[0].endswith(said), result.evidence
    assert typed in result.command
    assert (result.ip, result.family, result.service, result.owners) == ("", "", "default/new", ())
    assert "Service default/new has no external IP." in result.evidence


def test_sharing_an_address_is_no_conflict() -> None:
    holder = service(allow_shared_ip="a", ports=(Port(port=80),))
    waiting = WAITING.model_copy(update={"wanted_ips": (IP,), "allow_shared_ip": "a", "ports": (Port(port=81),)})
    result = diagnosis.diagnose_pending(facts(services=(holder,)), waiting)
    assert result.evidence[0] == "Service default/new has no external IP."
    same_port = waiting.model_copy(update={"ports": (Port(port=80),)})
    result = diagnosis.diagnose_pending(facts(services=(holder,)), same_port)
    assert result.evidence[0] == "It asks for 192.0.2.200, which default/web has."


def test_what_is_not_known_stays_open() -> None:
    result = diagnosis.diagnose_pending(Facts(others=OtherAnnouncers(servicelb=True)), WAITING)
    assert result.alternatives == ("POOL_EXHAUSTED", "CONFIG_INVALID", "SERVICELB_CONFLICT")
    known = facts()
    assert diagnosis.diagnose_pending(known, WAITING).alternatives == ()


def test_metallb_is_heard() -> None:
    failed = ServiceEvent(
        reason="AllocationFailed", message='Failed to allocate IP for "default/new": no available IPs'
    )
    result = diagnosis.diagnose_pending(facts(), WAITING.model_copy(update={"events": (failed,)}))
    assert result.evidence[-1] == 'MetalLB says: Failed to allocate IP for "default/new": no available IPs.'


@pytest.mark.parametrize("name", ["new; reboot", "{new}"])
def test_a_facts_file_does_not_write_commands(name: str) -> None:
    for pools in ((), pool(auto_assign=False), pool()):
        result = diagnosis.diagnose_pending(
            facts(pools=pools), WAITING.model_copy(update={"name": name, "wanted_ips": (IP,)})
        )
        assert name not in result.command


def test_before_013_a_full_pool_is_enlarged_in_the_configmap() -> None:
    old = facts(metallb=MetalLB(version="0.12.1"), pools=(SMALL,))
    assert diagnosis.diagnose_pending(old, WAITING).command == "kubectl -n metallb-system edit configmap config"


def test_services_with_addresses_are_judged_by_the_wire_alone() -> None:
    from tests.unit.l2.diagnosis.segment import well

    both: tuple[Service, ...] = (service(), WAITING)
    results = diagnosis.diagnose_all(well(), facts(services=both), [], both)
    assert [(result.service, result.verdict) for result in results] == [("default/new", "NO_ADDRESS")]


def test_a_full_family_is_sure_to_be_why_only_where_the_service_needs_it() -> None:
    known = facts(pools=(DUAL,))
    of = {
        families: diagnosis.diagnose_pending(known, service(name="new", ingress_ips=(), families=families))
        for families in ((), ("IPv4",), ("IPv4", "IPv6"))
    }
    assert {families: (one.confidence, one.alternatives) for families, one in of.items()} == {
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
def test_for_whom_a_pool_is_kept(
    allocation: dict[str, Any] | None, labels: dict[str, str] | None, admitted: bool | None
) -> None:
    (kept,) = pool(service_allocation=allocation)
    assert admits(kept, service(labels=labels)) is admitted
