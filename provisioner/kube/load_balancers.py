"""Services of type LoadBalancer: the external IPs assigned to them, and the IPs and pools that they request."""

from __future__ import annotations

from provisioner.kube.objects import Object

# MetalLB reads both prefixes; the second is the newer one (its documentation, "usage").
_PREFIXES = ("metallb.universe.tf", "metallb.io")


def is_metallb_service(service: Object) -> bool:
    """Return whether MetalLB announces a Service; one with a loadBalancerClass belongs to another controller."""
    spec = service["spec"]
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass")


def assigned_ips(service: Object) -> list[str]:
    """Return the external IPs assigned to a Service."""
    entries = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    return [str(entry["ip"]) for entry in entries if entry.get("ip")]


def requested_ips(service: Object) -> list[str]:
    """Return the external IPs that a Service requests by MetalLB's annotation, else by spec.loadBalancerIP."""
    if text := _annotation(service, "loadBalancerIPs"):
        return [word.strip() for word in text.split(",") if word.strip()]
    requested = service["spec"].get("loadBalancerIP")
    return [requested] if requested else []


def requested_pool(service: Object) -> str:
    """Return the pool that a Service requests by MetalLB's annotation, "" for none."""
    return _annotation(service, "address-pool")


def _annotation(service: Object, name: str) -> str:
    annotations = service["metadata"].get("annotations") or {}
    return next(
        (str(annotations[f"{prefix}/{name}"]) for prefix in _PREFIXES if f"{prefix}/{name}" in annotations), ""
    )
