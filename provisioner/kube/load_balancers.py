"""Services of type LoadBalancer and the external IPs that they have been given or ask for by name."""

from __future__ import annotations

from provisioner.kube.objects import Object

# MetalLB reads both prefixes; the second is the newer (its documentation, "usage").
_PREFIXES = ("metallb.universe.tf", "metallb.io")


def is_metallb_service(service: Object) -> bool:
    """Tell whether a Service is MetalLB's to announce: a class of its own makes it another controller's."""
    spec = service["spec"]
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass")


def assigned_ips(service: Object) -> list[str]:
    """Return the external IPs that a Service has been given."""
    entries = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    return [str(entry["ip"]) for entry in entries if entry.get("ip")]


def requested_ips(service: Object) -> list[str]:
    """Return the external IPs that a Service asks for: by MetalLB's annotation, else by spec.loadBalancerIP."""
    if text := _annotation(service, "loadBalancerIPs"):
        return [word.strip() for word in text.split(",") if word.strip()]
    asked = service["spec"].get("loadBalancerIP")
    return [asked] if asked else []


def requested_pool(service: Object) -> str:
    """Return the pool that a Service asks for by MetalLB's annotation, "" for none."""
    return _annotation(service, "address-pool")


def _annotation(service: Object, name: str) -> str:
    annotations = service["metadata"].get("annotations") or {}
    return next(
        (str(annotations[f"{prefix}/{name}"]) for prefix in _PREFIXES if f"{prefix}/{name}" in annotations), ""
    )
