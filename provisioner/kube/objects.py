"""Kubernetes objects as plain dicts: what they are called, how two of them differ. Pure functions."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from provisioner.text import unified_diff

Object = dict[str, Any]

FIELD_MANAGER = "provisioner"  # the name that our server-side applies are known by (`managedFields`)
# What the API server writes by itself and what therefore says nothing about a difference.
_SERVER_METADATA = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


def order(manifests: Iterable[Object]) -> list[Object]:
    """Return manifests with namespaces first, then definitions, the rest in the order given."""
    first = {"Namespace": 0, "CustomResourceDefinition": 1}
    return sorted(manifests, key=lambda manifest: first.get(manifest["kind"], 2))


def is_managed(live: Mapping[str, Any]) -> bool:
    """Tell whether we applied a live object: its managed fields name our field manager."""
    entries = live["metadata"].get("managedFields") or ()
    return any(entry.get("manager") == FIELD_MANAGER for entry in entries)


def object_name(manifest: Mapping[str, Any]) -> str:
    """Return how messages name an object: `Kind namespace/name`, without a namespace `Kind name`."""
    return f"{manifest['kind']} {namespaced_name(manifest)}"


def namespaced_name(manifest: Mapping[str, Any]) -> str:
    """Return an object's `namespace/name`, without a namespace its name."""
    return join_name(manifest["metadata"]["name"], manifest["metadata"].get("namespace"))


def join_name(name: str, namespace: str | None) -> str:
    """Return `namespace/name`, the name alone where the namespace is None or empty."""
    return f"{namespace}/{name}" if namespace else name


def difference(path: str, live: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> str:
    """Return the unified diff between a live object and what a dry-run apply made of it; "" when equal.

    None: there is no such object, before or afterwards. Server-written metadata and status are left out. The values
    of Secrets are replaced by their length, and by whether they change.
    """
    before = _text(live, live) if live is not None else ""
    return unified_diff(path, before, _text(wanted, live) if wanted is not None else "")


def with_port_protocols(manifest: Mapping[str, Any]) -> Object:
    """Return the manifest with the protocol of a Service's ports spelled out.

    It is part of a port's key, and API servers below 1.21 refuse a server-side apply that leaves it to its default.
    """
    if manifest.get("kind") != "Service":
        return dict(manifest)
    result = copy.deepcopy(dict(manifest))
    for port in result.get("spec", {}).get("ports") or []:
        port.setdefault("protocol", "TCP")
    return result


def without_ca_bundles(manifest: Object) -> Object:
    """Return the manifest without `caBundle`: the program that owns the webhook writes it at run time."""
    result = copy.deepcopy(manifest)
    _drop(result, "caBundle")
    return result


def containers(manifest: Object) -> list[Object]:
    """Return the containers, init containers first, of a workload manifest (for patching in place)."""
    spec = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def scale_probes(manifest: Object, scale: float) -> Object:
    """Return a manifest whose probes wait `scale` times as long, as the site's timeouts do.

    For an answer: a probe's default is one second, which an emulated machine misses while nothing is wrong. And before
    a container is ended, at its start and later: whoever is ended for being slow begins anew, which is slower still.
    Readiness ends nothing, and is known as early as ever.
    """
    result = copy.deepcopy(manifest)
    for container in containers(result):
        for name in ("livenessProbe", "readinessProbe", "startupProbe"):
            if name in container:
                _scale_probe(container[name], scale, ends=name != "readinessProbe")
    return result


def _scale_probe(probe: Object, scale: float, *, ends: bool) -> None:
    """Stretch a probe in place (its defaults: core/v1, Probe). ends: whether its failure ends the container."""
    probe["timeoutSeconds"] = max(1, math.ceil(probe.get("timeoutSeconds", 1) * scale))
    if ends:
        probe["periodSeconds"] = max(probe.get("periodSeconds", 10), probe["timeoutSeconds"])
        probe["failureThreshold"] = math.ceil(probe.get("failureThreshold", 3) * scale)
        if "initialDelaySeconds" in probe:
            probe["initialDelaySeconds"] = math.ceil(probe["initialDelaySeconds"] * scale)


def _drop(node: Any, key: str) -> None:
    if isinstance(node, dict):
        node.pop(key, None)
        for value in node.values():
            _drop(value, key)
    elif isinstance(node, list):
        for value in node:
            _drop(value, key)


def _text(source: Mapping[str, Any], live: Mapping[str, Any] | None) -> str:
    shown = copy.deepcopy(dict(source))
    shown.pop("status", None)
    metadata = shown.get("metadata", {})
    for key in _SERVER_METADATA:
        metadata.pop(key, None)
    if shown.get("kind") == "Secret":
        for part in {"data", "stringData"} & shown.keys():
            before = (live or source).get(part) or {}
            shown[part] = {key: _hidden(value, before.get(key)) for key, value in (shown[part] or {}).items()}
        # kubectl's copy of what it applied, values and all
        metadata.get("annotations", {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return yaml.safe_dump(shown, sort_keys=True, width=120)


def _hidden(value: str, before: str | None) -> str:
    return f"({len(value)} characters{'' if value == before else ', changed'})"
