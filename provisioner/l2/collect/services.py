"""Services of type LoadBalancer from the API: what they request, what they have, which endpoints serve them.

Of a Service's annotations only MetalLB's are read, each into a fact of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from provisioner.kube import Object
from provisioner.kube.objects import namespaced_name
from provisioner.l2.facts import Endpoint, L2Status, Port, Service, ServiceEvent
from provisioner.l2.facts_values import network
from provisioner.redact import redact

SLICES = "discovery.k8s.io/v1"
# MetalLB's annotation prefixes; the second since before 0.13 (controller/service.go).
_PREFIXES = ("metallb.io", "metallb.universe.tf")
_EVENTS = 12  # the newest of a Service; a flapping announcement would fill a file
_REPORTERS = ("metallb-controller", "metallb-speaker")

Endpoints = Mapping[str, tuple[Endpoint, ...]]  # namespace/name -> endpoints
Events = Mapping[str, tuple[ServiceEvent, ...]]


def services(
    found: Sequence[Object], endpoints: Endpoints | None, events: Events | None, note: Callable[[str], None]
) -> tuple[Service, ...]:
    """Return the Services of type LoadBalancer. endpoints, events: None if they could not be read."""
    return tuple(
        _service(item, endpoints, events or {}, note) for item in found if item["spec"].get("type") == "LoadBalancer"
    )


def external_ips(found: Sequence[Object], note: Callable[[str], None]) -> dict[str, tuple[str, ...]]:
    """Return the addresses in spec.externalIPs, of Services of any type, each with those Services."""
    named: dict[str, tuple[str, ...]] = {}
    for item in found:
        key = namespaced_name(item)
        texts = item["spec"].get("externalIPs") or ()
        for ip in _valid(texts, lambda text: str(ip_address(text)), f"{key}: external IP", note):
            named[ip] = (*named.get(ip, ()), key)
    return named


def from_slices(found: Sequence[Object], *, serving: bool | None) -> Endpoints:
    """Return endpoints by Service from EndpointSlices (discovery.k8s.io/v1).

    serving: whether MetalLB also counts terminating endpoints that still serve (since 0.14.2); None: unknown, so not.
    """
    endpoints: dict[str, dict[Endpoint, None]] = {}
    for item in found:
        service = (item["metadata"].get("labels") or {}).get("kubernetes.io/service-name")
        if not service:
            continue
        own = endpoints.setdefault(f"{item['metadata']['namespace']}/{service}", {})
        for endpoint in item.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            ready = conditions.get("ready") in (True, None) or bool(serving and conditions.get("serving"))
            own[Endpoint(node=endpoint.get("nodeName") or "", ready=ready)] = None
    return {service: tuple(own) for service, own in endpoints.items()}


def from_endpoints(found: Sequence[Object]) -> Endpoints:
    """Return endpoints by Service from Endpoints (v1), which MetalLB up to 0.13 reads if slices are too old."""
    endpoints: dict[str, dict[Endpoint, None]] = {}
    for item in found:
        own = endpoints.setdefault(namespaced_name(item), {})
        for subset in item.get("subsets") or ():
            for key, ready in (("addresses", True), ("notReadyAddresses", False)):
                for address in subset.get(key) or ():
                    own[Endpoint(node=address.get("nodeName") or "", ready=ready)] = None
    return {service: tuple(own) for service, own in endpoints.items()}


def events(found: Sequence[Object]) -> Events:
    """Return MetalLB's events about Services, oldest first, the newest twelve of each."""
    ordered = sorted(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    kept: dict[str, list[ServiceEvent]] = {}
    for item in ordered:
        about, source = item["involvedObject"], item.get("source") or {}
        reporter = source.get("component") or item.get("reportingComponent") or ""
        if about.get("kind") != "Service" or reporter not in _REPORTERS:
            continue
        message = redact(str(item.get("message") or ""))
        named = re.search(r'node "([^"]+)"', message)
        event = ServiceEvent(
            reason=str(item.get("reason") or ""),
            node=named[1] if named else str(source.get("host") or ""),
            message=message[:500],
        )
        kept.setdefault(f"{about.get('namespace')}/{about.get('name')}", []).append(event)
    return {service: tuple(list_of[-_EVENTS:]) for service, list_of in kept.items()}


def l2_status(found: Sequence[Object]) -> tuple[L2Status, ...]:
    """Return ServiceL2Statuses; 0.14.2 to 0.14.6 name the Service in labels only."""
    statuses = []
    for item in found:
        status, labels = item.get("status") or {}, item["metadata"].get("labels") or {}
        namespace = status.get("serviceNamespace") or labels.get("metallb.io/service-namespace")
        name = status.get("serviceName") or labels.get("metallb.io/service-name") or item["metadata"]["name"]
        statuses.append(
            L2Status(
                service=f"{namespace or item['metadata']['namespace']}/{name}",
                node=status.get("node") or labels.get("metallb.io/node") or "",
                interfaces=tuple(each["name"] for each in status.get("interfaces") or () if each.get("name")),
            )
        )
    return tuple(statuses)


def _service(item: Object, endpoints: Endpoints | None, events: Events, note: Callable[[str], None]) -> Service:
    metadata, spec = item["metadata"], item["spec"]
    key = namespaced_name(item)
    ingress = (item.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
    wanted = [*(_annotation(item, "loadBalancerIPs") or "").split(","), spec.get("loadBalancerIP") or ""]
    return Service(
        namespace=metadata["namespace"],
        name=metadata["name"],
        ingress_ips=tuple(entry["ip"] for entry in ingress if entry.get("ip")),
        load_balancer_class=spec.get("loadBalancerClass"),
        external_traffic_policy=spec.get("externalTrafficPolicy", "Cluster"),
        allow_shared_ip=_annotation(item, "allow-shared-ip"),
        source_ranges=_valid(spec.get("loadBalancerSourceRanges") or (), network, f"{key}: source range", note),
        ports=tuple(
            Port(
                port=each["port"],
                protocol=each.get("protocol", "TCP"),
                name=each.get("name") or "",
                app_protocol=each.get("appProtocol") or "",
            )
            for each in spec.get("ports") or ()
        ),
        endpoints=None if endpoints is None else endpoints.get(key, ()),
        events=events.get(key, ()),
        labels=metadata.get("labels") or {},
        wanted_ips=_valid(
            filter(None, map(str.strip, wanted)), lambda text: str(ip_address(text)), f"{key}: requested IP", note
        ),
        wanted_pool=_annotation(item, "address-pool") or "",
        families=tuple(spec.get("ipFamilies") or ()),
        status_by=_status_writer(metadata.get("managedFields") or ()),
    )


def _status_writer(fields: Sequence[Mapping[str, Any]]) -> str:
    """Return the field manager that wrote status.loadBalancer last, "" if that is not recorded."""
    writers = [
        (str(entry.get("time") or ""), str(entry.get("manager") or ""))
        for entry in fields
        if "f:loadBalancer" in ((entry.get("fieldsV1") or {}).get("f:status") or {})
    ]
    return max(writers)[1] if writers else ""


def _annotation(item: Object, name: str) -> str | None:
    annotations = item["metadata"].get("annotations") or {}
    return next(
        (str(annotations[f"{prefix}/{name}"]) for prefix in _PREFIXES if f"{prefix}/{name}" in annotations), None
    )


def _valid(
    values: Iterable[str], parse: Callable[[str], str], what: str, note: Callable[[str], None]
) -> tuple[str, ...]:
    """Return the values that `parse` accepts; the API admits others too, which MetalLB also ignores."""
    kept = []
    for value in values:
        try:
            kept.append(parse(value.strip()))
        except ValueError:
            note(f"{what} {value!r} ignored: invalid")
    return tuple(dict.fromkeys(kept))
