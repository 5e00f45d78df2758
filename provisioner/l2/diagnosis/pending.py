"""Services without an external IP: why MetalLB has given them none."""

from __future__ import annotations

from ipaddress import ip_address

from provisioner.l2 import pools
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.facts import Facts, Pool, Service
from provisioner.text import join_words


def find(facts: Facts, service: Service) -> Cause:
    """Return why a Service has no address: the first cause that the facts support."""
    causes = (_other_class, _no_pool, _kept_for_others, _exhausted, _config, _asks_too_much, _not_automatic)
    told = _events(service)
    none = f"Service {service.key} has no external IP."
    for cause in causes:
        if found := cause(facts, service):
            return Cause(
                found.code,
                found.confidence,
                (*found.evidence, none, *told),
                found.alternatives,
                found.fields,
                found.remedy,
                found.commands,
            )
    others = tuple(code for code, runs in (("SERVICELB_CONFLICT", facts.others.servicelb),) if runs)
    open_causes = ("POOL_EXHAUSTED",) if facts.pools is None or facts.services is None else ()
    doubt = ("CONFIG_INVALID",) if facts.metallb.config == "unknown" else ()
    return Cause("NO_ADDRESS", "certain", (none, *told), (*open_causes, *doubt, *others))


def _other_class(facts: Facts, service: Service) -> Cause | None:
    wanted, served = service.load_balancer_class, facts.metallb.load_balancer_class
    if wanted and served is not None and wanted != served:
        what = f"It is of class {wanted}, which is another controller's" + (
            f" (MetalLB's is {served})." if served else "."
        )
    elif wanted and served is None:
        what = f"It is of class {wanted}; MetalLB takes such Services only when it was given that class."
        return Cause("NO_ADDRESS", "likely", (what,), remedy=_BY_CLASS)
    elif not wanted and served:
        what = f"It is of no class, and MetalLB serves the class {served} only."
    else:
        return None
    return Cause("NO_ADDRESS", "certain", (what,), remedy=_BY_CLASS)


_BY_CLASS = "Make the Service anew with the class that MetalLB serves, or let its own controller give it an address."


def _no_pool(facts: Facts, _: Service) -> Cause | None:
    if facts.pools is None or any(pool.addresses for pool in facts.pools):
        return None
    return Cause(
        "NO_ADDRESS",
        "certain",
        ("MetalLB has no address pool.",),
        ("CONFIG_INVALID",) if facts.metallb.config != "valid" else (),
        remedy="Make an IPAddressPool; where one was applied, its webhook may have refused it.",
        commands=("kubectl -n {ns} get ipaddresspools",),
    )


def eligible(facts: Facts, service: Service) -> tuple[Pool, ...] | None:
    """Return the pools that may serve a Service; None when they are unknown."""
    asked = _asked_for(facts, service)
    return None if asked is None else tuple(pool for pool in asked if pools.admits(pool, service) is not False)


def _asked_for(facts: Facts, service: Service) -> tuple[Pool, ...] | None:
    """Return the pools that a Service asks for, or that assign by themselves, be they kept for others or not."""
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
    """POOL_EXHAUSTED: no pool has an address left of a family that the Service is to have.

    Of a Service of unknown families, one that is full may be the one it needs; a Service of two may make do with one.
    """
    own = eligible(facts, service)
    if not own or service.wanted_ips or facts.services is None:
        return None
    wanted: tuple[str, ...] = service.families or tuple(_FAMILIES)
    full = [name for name in wanted if _full(facts, own, _FAMILIES[name])]
    if not full:
        return None
    sure = all(name in full or not _held(own, _FAMILIES[name]) for name in wanted)
    unfit = any(pools.admits(pool, service) is None for pool in own)
    said = join_words(_all_assigned(pool, name) for name in full for pool in own if pools.size(pool, _FAMILIES[name]))
    return Cause(
        "POOL_EXHAUSTED",
        "certain" if sure and not unfit else "likely",
        (f"{said[:1].upper()}{said[1:]}.",),
        () if sure and not unfit else ("NO_ADDRESS",),
        fields={"pool": own[0].name},
    )


def _held(own: tuple[Pool, ...], family: pools.Family) -> bool:
    return any(pools.size(pool, family) for pool in own)


def _full(facts: Facts, own: tuple[Pool, ...], family: pools.Family) -> bool:
    """Tell whether pools have addresses of a family, and none left of them."""
    return _held(own, family) and not any(pools.free_count(facts, pool, family) for pool in own)


def _all_assigned(pool: Pool, name: str) -> str:
    number = pools.size(pool, _FAMILIES[name])
    mixed = f"{name} " if number < pools.size(pool) else ""
    return f"pool {pool.name} has {number} {mixed}{'address' if number == 1 else 'addresses'}, all assigned"


def _kept_for_others(facts: Facts, service: Service) -> Cause | None:
    asked = _asked_for(facts, service)
    if not asked or eligible(facts, service):
        return None
    names, are = join_words(pool.name for pool in asked), "is" if len(asked) == 1 else "are"
    return Cause(
        "NO_ADDRESS",
        "certain",
        (f"What it may ask for, {names}, {are} kept for other namespaces or Services (serviceAllocation).",),
        remedy="Admit the Service in the pool's serviceAllocation, or make a pool for it.",
        fields={"pool": asked[0].name},
        commands=("kubectl -n {ns} edit ipaddresspool {pool}",),
    )


def _config(facts: Facts, _: Service) -> Cause | None:
    metallb = facts.metallb
    if metallb.config not in ("invalid", "stale"):
        return None
    said = f": {metallb.config_error.rstrip('.')}" if metallb.config_error else ""
    if metallb.config == "invalid":
        what = f"MetalLB refuses its configuration and goes on with the last good one{said}."
        return Cause("CONFIG_INVALID", "likely", (what,), ("NO_ADDRESS",))
    return Cause(
        "CONFIG_STALE", "likely", (f"MetalLB has not taken up its newest configuration{said}.",), ("NO_ADDRESS",)
    )


def _asks_too_much(facts: Facts, service: Service) -> Cause | None:
    own = eligible(facts, service)
    command = ("kubectl -n {namespace} describe service {name}",)
    if service.wanted_pool and own == ():
        what = f"It asks for pool {service.wanted_pool}, which is not there."
        return Cause("NO_ADDRESS", "certain", (what,), remedy="Ask for a pool that exists.", commands=command)
    if not service.wanted_ips or facts.pools is None:
        return None
    for text in service.wanted_ips:
        ip = ip_address(text)
        if pools.pool_of(facts, ip) is None:
            what = f"It asks for {text}, which is in no pool."
            return Cause("NO_ADDRESS", "certain", (what,), remedy="Ask for an address of a pool.", commands=command)
        holders = [other for other in facts.services or () if text in other.ingress_ips and other.key != service.key]
        if holders and not _may_share(service, holders):
            what = f"It asks for {text}, which {join_words(other.key for other in holders)} has."
            remedy = _SHARE
            return Cause("NO_ADDRESS", "certain", (what,), remedy=remedy, commands=command)
    return None


_SHARE = "Ask for another address, or give both Services one value of metallb.io/allow-shared-ip and different ports."


def _may_share(service: Service, holders: list[Service]) -> bool:
    ports = {(port.port, port.protocol) for port in service.ports}
    return all(
        service.allow_shared_ip
        and other.allow_shared_ip == service.allow_shared_ip
        and not ports & {(port.port, port.protocol) for port in other.ports}
        for other in holders
    )


def _not_automatic(facts: Facts, service: Service) -> Cause | None:
    if eligible(facts, service) != () or service.wanted_pool or service.wanted_ips:
        return None
    names = join_words(pool.name for pool in facts.pools or ())
    return Cause(
        "NO_ADDRESS",
        "certain",
        (f"It asks for no pool, and no pool assigns by itself (autoAssign is false for {names}).",),
        remedy="Name the pool in the annotation metallb.io/address-pool, or let a pool assign by itself.",
        fields={"pool": (facts.pools or ())[0].name},
        commands=("kubectl -n {namespace} annotate service {name} metallb.io/address-pool={pool}",),
    )


def _events(service: Service) -> tuple[str, ...]:
    failed = [event.message for event in service.events if event.reason == "AllocationFailed" and event.message]
    return tuple(f"MetalLB says: {message.rstrip('.')}." for message in failed[-1:])
