"""Who announces each Service, and from which node: MetalLB, kube-vip, Cilium or K3s ServiceLB.

A loadBalancerClass decides; else what a program has written about the Service: MetalLB's annotation, kube-vip's
kube-vip.io/vipHost, ServiceLB's pods, a Lease. Cilium has a Lease for each Service, kube-vip one for each or one for
all (its environment svc_election, svc_leasename); the holder is a node's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from provisioner.kube import Object
from provisioner.kube.objects import namespaced_name
from provisioner.l2.election import elsewhere
from provisioner.l2.facts import Announcer, Facts, Lease, Service
from provisioner.l2.pools import pool_of

CLASSES: Mapping[str, Announcer] = {
    "io.cilium/l2-announcer": "cilium",
    "kube-vip.io/kube-vip-class": "kube-vip",
}
_ALLOCATED = ("metallb.io/ip-allocated-from-pool", "metallb.universe.tf/ip-allocated-from-pool")
_VIP_HOST = "kube-vip.io/vipHost"
_SVCLB = ("svccontroller.k3s.cattle.io/svcnamespace", "svccontroller.k3s.cattle.io/svcname")
SERVICES_LEASE, CONTROL_PLANE_LEASE = "plndr-svcs-lock", "plndr-cp-lock"
_SLACK = 15.0  # seconds; the newest renewal of any Lease stands for "now"


@dataclass(frozen=True)
class Written:
    """What programs have written: Leases by name, the Services that ServiceLB serves, None: unknown."""

    leases: Mapping[str, Lease] | None = None
    served_by_svclb: frozenset[str] | None = None
    annotations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def written(
    services: Sequence[Object] | None, pods: Sequence[Object] | None, leases: Sequence[Object] | None
) -> Written:
    """Return what is written about the Services. None: could not be read."""
    served = None
    if pods is not None:
        labels = [pod["metadata"].get("labels") or {} for pod in pods]
        served = frozenset("/".join(own[key] for key in _SVCLB) for own in labels if all(key in own for key in _SVCLB))
    return Written(
        None if leases is None else read_leases(leases),
        served,
        {namespaced_name(item): item["metadata"].get("annotations") or {} for item in services or ()},
    )


def read_leases(found: Sequence[Object]) -> dict[str, Lease]:
    """Return Leases by namespace/name. One is expired if others were renewed long after it had to be."""
    renewals = {namespaced_name(item): _time((item.get("spec") or {}).get("renewTime")) for item in found}
    now = max((when for when in renewals.values() if when is not None), default=0.0)
    made = {}
    for item in found:
        name, spec = namespaced_name(item), item.get("spec") or {}
        renewed, lasts = renewals[name], spec.get("leaseDurationSeconds")
        expired = None if renewed is None or lasts is None else renewed + lasts + _SLACK < now
        made[name] = Lease(name=name, holder=spec.get("holderIdentity") or "", expired=expired)
    return made


def _time(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except ValueError:
        return None


def with_announcers(facts: Facts, found: Written) -> Facts:
    """Return the facts with the announcer of each Service, and its Lease."""
    if facts.services is None:
        return facts
    return facts.model_copy(update={"services": tuple(_announced(facts, one, found) for one in facts.services)})


def _announced(facts: Facts, service: Service, found: Written) -> Service:
    announcer, why = _announcer(facts, service, found)
    lease = _lease(service, announcer, found) if announcer in ("cilium", "kube-vip") else None
    holder = found.annotations.get(service.key, {}).get(_VIP_HOST, "") if announcer == "kube-vip" else ""
    if lease is None and holder:
        lease = Lease(name=f"annotation {_VIP_HOST}", holder=holder)
    return service.model_copy(update={"announcer": announcer, "announcer_reason": why, "lease": lease})


def _announcer(facts: Facts, service: Service, found: Written) -> tuple[Announcer | None, str]:
    wanted = service.load_balancer_class
    if wanted:
        if wanted == facts.metallb.load_balancer_class:
            return "metallb", f"its loadBalancerClass is {wanted}, which MetalLB serves"
        # A class without a known program: what else is installed leaves it alone.
        return CLASSES.get(wanted, "other"), f"its loadBalancerClass is {wanted}"
    return _by_traces(facts, service, found) or _only_one(facts, found)


def _by_traces(facts: Facts, service: Service, found: Written) -> tuple[Announcer, str] | None:
    """Return the program that has written something about a Service, None without such a trace."""
    metallb, annotations = facts.metallb, found.annotations.get(service.key, {})
    own = set(map(ip_address, service.ingress_ips))
    nodes = {ip_address(text) for node in facts.nodes for text in (*node.internal_ips, *node.external_ips)}
    allocated = next((annotations[key] for key in _ALLOCATED if key in annotations), "")
    leases = found.leases or {}
    traces: tuple[tuple[bool, Announcer, str], ...] = (
        (service.key in (found.served_by_svclb or ()) and own <= nodes, "servicelb", "K3s ServiceLB runs pods for it"),
        (
            metallb.installed is not False and bool(allocated),
            "metallb",
            f"MetalLB has assigned its address from pool {allocated}",
        ),
        (
            metallb.installed is True and any(pool_of(facts, ip) is not None for ip in own),
            "metallb",
            "its address is in a pool of MetalLB",
        ),
        (_ending_with(leases, _cilium(service)) is not None, "cilium", "Cilium has a Lease for it"),
        (
            _VIP_HOST in annotations or _kube_vip(service) in leases,
            "kube-vip",
            "kube-vip has chosen a node for it",
        ),
    )
    return next(((program, why) for there, program, why in traces if there), None)


def _only_one(facts: Facts, found: Written) -> tuple[Announcer | None, str]:
    """Return the only program of the cluster that announces Services; "other" if there is none."""
    others = facts.others
    runs: dict[Announcer, bool | None] = {
        "metallb": facts.metallb.installed,
        "kube-vip": others.kube_vip,
        "cilium": others.cilium_l2,
        "servicelb": None if found.served_by_svclb is None else others.servicelb,
    }
    candidates = [name for name, there in runs.items() if there is not False]
    if not candidates:
        return "other", "no program that announces Services was found in the cluster"
    only = candidates[0]
    if len(candidates) == 1 and runs[only]:
        return only, f"{elsewhere.NAMES[only]} is the only program in the cluster that announces Services"
    return None, ""


def _cilium(service: Service) -> str:
    return f"cilium-l2announce-{service.namespace}-{service.name}"


def _kube_vip(service: Service) -> str:
    return f"{service.namespace}/kubevip-{service.name}"


def _lease(service: Service, announcer: Announcer | None, found: Written) -> Lease | None:
    leases = found.leases or {}
    if announcer == "cilium":
        return _ending_with(leases, _cilium(service))
    return leases.get(_kube_vip(service)) or _ending_with(leases, SERVICES_LEASE)


def _ending_with(leases: Mapping[str, Lease], name: str) -> Lease | None:
    return next((lease for key, lease in leases.items() if key.endswith(f"/{name}")), None)


def control_plane_lease(leases: Iterable[Lease]) -> Lease | None:
    """Return kube-vip's Lease for the API's own address."""
    return next((lease for lease in leases if lease.name.endswith(f"/{CONTROL_PLANE_LEASE}")), None)
