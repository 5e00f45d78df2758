"""Services without an external IP: why MetalLB has assigned none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

from provisioner.l2 import pools
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.configuration import config_problem
from provisioner.l2.election import elsewhere
from provisioner.l2.facts import Facts, Pool, Service
from provisioner.text import join_words


def find(facts: Facts, service: Service) -> Cause:
    """Return why a Service has no address: the first cause that the facts support."""
    if not elsewhere.by_metallb(facts, service):
        return _elsewhere(service)
    causes = (_other_class, _no_pool, _not_admitted, _exhausted, _config, _impossible_request, _no_auto_assign)
    evidence = (f"Service {service.key} has no external IP.", *_events(service))
    for cause in causes:
        if found := cause(facts, service):
            return replace(found, evidence=(*found.evidence, *evidence))
    others = ("SERVICELB_CONFLICT",) if facts.others.servicelb else ()
    exhausted = ("POOL_EXHAUSTED",) if facts.pools is None or facts.services is None else ()
    invalid = ("CONFIG_INVALID",) if facts.metallb.config == "unknown" else ()
    return Cause("NO_ADDRESS", "certain", evidence, (*exhausted, *invalid, *others))


# By announcer: what gives a Service its address, and where to look.
_ASSIGNED: Mapping[str, tuple[str, str]] = {
    "cilium": (
        "Create a CiliumLoadBalancerIPPool that admits the Service and has a free address.",
        "kubectl get ciliumloadbalancerippools",
    ),
    "kube-vip": (
        "kube-vip assigns no addresses: set the annotation kube-vip.io/loadbalancerIPs, or run its cloud provider.",
        "kubectl -n {namespace} describe service {name}",
    ),
    "servicelb": (
        "Get the pods that ServiceLB runs for it ready; they wait while a port of the Service is taken on the nodes.",
        "kubectl -n kube-system get pods -l svccontroller.k3s.cattle.io/svcname={name} -o wide",
    ),
}


def _elsewhere(service: Service) -> Cause:
    """Return why a Service has no address that another program than MetalLB would announce."""
    evidence: tuple[str, ...] = (f"Service {service.key} has no external IP.",)
    if service.announcer_reason:
        who = f"It is {elsewhere.program(service)}'s" if service.announcer != "other" else "It is nobody's"
        evidence += (f"{who}: {service.announcer_reason}.",)
    if service.announcer is None or service.announcer not in _ASSIGNED:
        return Cause("NO_ANNOUNCER", "likely", evidence, ("NO_ADDRESS",))
    remedy, command = _ASSIGNED[service.announcer]
    return Cause("NO_ADDRESS", "likely", evidence, ("NO_ANNOUNCER",), remedy=remedy, commands=(command,))


def _other_class(facts: Facts, service: Service) -> Cause | None:
    wanted, served = service.load_balancer_class, facts.metallb.load_balancer_class
    if wanted and served is not None and wanted != served:
        own = f", and MetalLB serves only {served}" if served else ", which MetalLB does not serve"
        what = f"Its loadBalancerClass is {wanted}{own}."
    elif wanted and served is None:
        what = f"Its loadBalancerClass is {wanted}; MetalLB serves it only if configured for that class."
        return Cause("NO_ADDRESS", "likely", (what,), remedy=_WRONG_CLASS)
    elif not wanted and served:
        what = f"It has no loadBalancerClass, and MetalLB serves only {served}."
    else:
        return None
    return Cause("NO_ADDRESS", "certain", (what,), remedy=_WRONG_CLASS)


_WRONG_CLASS = "Recreate the Service with the loadBalancerClass that MetalLB serves, or run its class's controller."


def _no_pool(facts: Facts, _: Service) -> Cause | None:
    if facts.pools is None or any(pool.addresses for pool in facts.pools):
        return None
    return Cause(
        "NO_ADDRESS",
        "certain",
        ("MetalLB has no address pools.",),
        ("CONFIG_INVALID",) if facts.metallb.config != "valid" else (),
        remedy="Create an IPAddressPool; if you applied one, MetalLB's webhook may have rejected it.",
        commands=("kubectl -n {ns} get ipaddresspools",),
    )


def eligible(facts: Facts, service: Service) -> tuple[Pool, ...] | None:
    """Return the pools that may serve a Service; None if they are unknown."""
    requested = _requested(facts, service)
    return None if requested is None else tuple(one for one in requested if pools.admits(one, service) is not False)


def _requested(facts: Facts, service: Service) -> tuple[Pool, ...] | None:
    """Return the pools that a Service requests, else those with autoAssign, whether they admit it or not."""
    if facts.pools is None:
        return None
    if service.wanted_pool:
        return tuple(pool for pool in facts.pools if pool.name == service.wanted_pool)
    if service.wanted_ips:
        wanted = [ip_address(text) for text in service.wanted_ips]
        return tuple(pool for pool in facts.pools if any(pools.holds(pool, ip) for ip in wanted))
    return tuple(pool for pool in facts.pools if pool.auto_assign)


_FAMILIES: dict[str, pools.Family] = {"IPv4": 4, "IPv6": 6}


def _exhausted(facts: Facts, service: Service) -> Cause | None:
    """POOL_EXHAUSTED: no pool has a free address of a family that the Service needs.

    If the Service's families are unknown, a full one may be the one it needs; a dual-stack Service may need only one.
    """
    own = eligible(facts, service)
    if not own or service.wanted_ips or facts.services is None:
        return None
    wanted: tuple[str, ...] = service.families or tuple(_FAMILIES)
    full = [name for name in wanted if _full(facts, own, _FAMILIES[name])]
    if not full:
        return None
    sure = all(name in full or not _has_family(own, _FAMILIES[name]) for name in wanted)
    sure = sure and not any(pools.admits(pool, service) is None for pool in own)
    states = join_words(
        _all_assigned(pool, name) for name in full for pool in own if pools.size(pool, _FAMILIES[name])
    )
    return Cause(
        "POOL_EXHAUSTED",
        "certain" if sure else "likely",
        (f"{states[:1].upper()}{states[1:]}.",),
        () if sure else ("NO_ADDRESS",),
        fields={"pool": own[0].name},
    )


def _has_family(own: tuple[Pool, ...], family: pools.Family) -> bool:
    return any(pools.size(pool, family) for pool in own)


def _full(facts: Facts, own: tuple[Pool, ...], family: pools.Family) -> bool:
    """Tell whether pools have addresses of a family, and none of them is free."""
    return _has_family(own, family) and not any(pools.free_count(facts, pool, family) for pool in own)


def _all_assigned(pool: Pool, name: str) -> str:
    number = pools.size(pool, _FAMILIES[name])
    mixed = f"{name} " if number < pools.size(pool) else ""
    return f"pool {pool.name} has {number} {mixed}{'address' if number == 1 else 'addresses'}, all assigned"


def _not_admitted(facts: Facts, service: Service) -> Cause | None:
    requested = _requested(facts, service)
    if not requested or eligible(facts, service):
        return None
    names = join_words(pool.name for pool in requested)
    return Cause(
        "NO_ADDRESS",
        "certain",
        (f"serviceAllocation of pool {names} does not admit it.",),
        remedy="Admit the Service in the pool's serviceAllocation, or create a pool for it.",
        fields={"pool": requested[0].name},
        commands=("kubectl -n {ns} edit ipaddresspool {pool}",),
    )


def _config(facts: Facts, _: Service) -> Cause | None:
    metallb = facts.metallb
    if metallb.config not in ("invalid", "stale"):
        return None
    code = "CONFIG_INVALID" if metallb.config == "invalid" else "CONFIG_STALE"
    return Cause(code, "likely", (config_problem(metallb),), ("NO_ADDRESS",))


def _impossible_request(facts: Facts, service: Service) -> Cause | None:
    own = eligible(facts, service)
    command = ("kubectl -n {namespace} describe service {name}",)
    if service.wanted_pool and own == ():
        what = f"It requests pool {service.wanted_pool}, which does not exist."
        return Cause("NO_ADDRESS", "certain", (what,), remedy="Request an existing pool.", commands=command)
    if not service.wanted_ips or facts.pools is None:
        return None
    for text in service.wanted_ips:
        ip = ip_address(text)
        if pools.pool_of(facts, ip) is None:
            what = f"It requests {text}, which is in no pool."
            return Cause("NO_ADDRESS", "certain", (what,), remedy="Request an address of a pool.", commands=command)
        holders = [other for other in facts.services or () if text in other.ingress_ips and other.key != service.key]
        if holders and not _may_share(service, holders):
            what = f"It requests {text}, which {join_words(other.key for other in holders)} has."
            return Cause("NO_ADDRESS", "certain", (what,), remedy=_SHARE, commands=command)
    return None


_SHARE = "Request another address, or give both Services one metallb.io/allow-shared-ip and different ports."


def _may_share(service: Service, holders: list[Service]) -> bool:
    ports = {(port.port, port.protocol) for port in service.ports}
    return all(
        service.allow_shared_ip
        and other.allow_shared_ip == service.allow_shared_ip
        and not ports & {(port.port, port.protocol) for port in other.ports}
        for other in holders
    )


def _no_auto_assign(facts: Facts, service: Service) -> Cause | None:
    if eligible(facts, service) != () or service.wanted_pool or service.wanted_ips:
        return None
    names = join_words(pool.name for pool in facts.pools or ())
    return Cause(
        "NO_ADDRESS",
        "certain",
        (f"It requests no pool, and autoAssign is false for {names}.",),
        remedy="Set the annotation metallb.io/address-pool, or set autoAssign: true on a pool.",
        fields={"pool": (facts.pools or ())[0].name},
        commands=("kubectl -n {namespace} annotate service {name} metallb.io/address-pool={pool}",),
    )


def _events(service: Service) -> tuple[str, ...]:
    failed = [event.message for event in service.events if event.reason == "AllocationFailed" and event.message]
    return tuple(f"MetalLB reports: {message.rstrip('.')}." for message in failed[-1:])
