"""Kubernetes objects as plain dicts: their names, their differences, changes to them. Pure functions."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from provisioner.text import unified_diff

Object = dict[str, Any]

FIELD_MANAGER = "provisioner"  # of our server-side applies, in `managedFields`
# Written by the API server, so never part of a difference.
_GENERATION = "deprecated.daemonset.template.generation"  # an annotation
_SERVER_METADATA = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


def order(manifests: Iterable[Object]) -> list[Object]:
    """Return manifests with namespaces first, then CustomResourceDefinitions, then the rest in the given order."""
    first = {"Namespace": 0, "CustomResourceDefinition": 1}
    return sorted(manifests, key=lambda manifest: first.get(manifest["kind"], 2))


def is_managed(live: Mapping[str, Any]) -> bool:
    """Return whether we applied a live object: its managed fields name our field manager."""
    entries = live["metadata"].get("managedFields") or ()
    return any(entry.get("manager") == FIELD_MANAGER for entry in entries)


def object_name(manifest: Mapping[str, Any]) -> str:
    """Return an object's name for messages: `Kind namespace/name`, or `Kind name` without a namespace."""
    return f"{manifest['kind']} {namespaced_name(manifest)}"


def namespaced_name(manifest: Mapping[str, Any]) -> str:
    """Return an object's `namespace/name`, or its name without a namespace."""
    return join_name(manifest["metadata"]["name"], manifest["metadata"].get("namespace"))


def join_name(name: str, namespace: str | None) -> str:
    """Return `namespace/name`, or the name if there is no namespace."""
    return f"{namespace}/{name}" if namespace else name


def difference(path: str, live: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> str:
    """Return the unified diff between a live object and the result of a dry-run apply; "" if they are equal.

    None stands for no object. Status and metadata that the server writes are omitted. Values of Secrets are replaced
    by their length and whether they change.
    """
    before = _text(live, live) if live is not None else ""
    return unified_diff(path, before, _text(wanted, live) if wanted is not None else "")


def with_port_protocols(manifest: Mapping[str, Any]) -> Object:
    """Return the manifest with an explicit protocol for every port of a Service.

    The protocol is part of a port's key, and API servers before 1.21 refuse a server-side apply without it.
    """
    if manifest.get("kind") != "Service":
        return dict(manifest)
    result = copy.deepcopy(dict(manifest))
    for port in result.get("spec", {}).get("ports") or []:
        port.setdefault("protocol", "TCP")
    return result


def without_ca_bundles(manifest: Object) -> Object:
    """Return the manifest without `caBundle`, which the webhook's own controller writes."""
    result = copy.deepcopy(manifest)
    _drop(result, "caBundle")
    return result


def containers(manifest: Object) -> list[Object]:
    """Return the containers of a workload manifest, init containers first, to be modified in place."""
    spec = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def scale_probes(manifest: Object, scale: float) -> Object:
    """Return a manifest whose probes are `scale` times as patient, like the site's timeouts.

    The timeout is scaled, since a healthy container on an emulated machine can miss the default of one second. So is
    the time before a container is restarted, which would only make it slower. A readiness probe restarts nothing: its
    period and threshold stay.
    """
    result = copy.deepcopy(manifest)
    for container in containers(result):
        for name in ("livenessProbe", "readinessProbe", "startupProbe"):
            if name in container:
                _scale_probe(container[name], scale, restarts=name != "readinessProbe")
    return result


def _scale_probe(probe: Object, scale: float, *, restarts: bool) -> None:
    """Scale a probe in place (defaults: core/v1, Probe). restarts: whether its failure restarts the container."""
    probe["timeoutSeconds"] = max(1, math.ceil(probe.get("timeoutSeconds", 1) * scale))
    if restarts:
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
    visible = copy.deepcopy(dict(source))
    visible.pop("status", None)
    metadata = visible.get("metadata", {})
    for key in _SERVER_METADATA:
        metadata.pop(key, None)
    if metadata.get("annotations"):
        metadata["annotations"].pop(_GENERATION, None)
    if visible.get("kind") == "Secret":
        for part in {"data", "stringData"} & visible.keys():
            before = (live or source).get(part) or {}
            visible[part] = {key: _masked(value, before.get(key)) for key, value in (visible[part] or {}).items()}
        # kubectl's copy of what it applied, including the values
        metadata.get("annotations", {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return yaml.safe_dump(visible, sort_keys=True, width=120)


def _masked(value: str, before: str | None) -> str:
    return f"({len(value)} characters{'' if value == before else ', changed'})"
