"""Kubernetes objects as plain dicts: what they are called, how two of them differ. Pure functions."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from provisioner.changes import unified

Object = dict[str, Any]

# What the API server writes by itself and what therefore says nothing about a difference.
_SERVER_METADATA = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


def parse(text: str | bytes) -> list[Object]:
    """Return the objects of a multi-document YAML manifest, in order, with every List unrolled."""
    found: list[Object] = []
    for document in yaml.safe_load_all(text):
        if not document:
            continue
        found.extend(document["items"] if document.get("kind") == "List" else [document])
    return found


def order(manifests: Iterable[Object]) -> list[Object]:
    """Return manifests with namespaces first, then definitions, the rest in the order given."""
    first = {"Namespace": 0, "CustomResourceDefinition": 1}
    return sorted(manifests, key=lambda manifest: first.get(manifest["kind"], 2))


def difference(path: str, live: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> str:
    """Return the unified diff between a live object and what a dry-run apply made of it; "" when equal.

    Server-written metadata and status are left out, and the values of Secrets are replaced by their length.
    """
    return unified(path, _text(live) if live is not None else "", _text(wanted))


def without_ca_bundles(manifest: Object) -> Object:
    """Return the manifest without `caBundle`: the program that owns the webhook writes it at run time."""
    result = copy.deepcopy(manifest)
    _drop(result, "caBundle")
    return result


def containers(manifest: Object) -> list[Object]:
    """Return the containers, init containers first, of a workload manifest (for patching in place)."""
    spec = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def _drop(node: Any, key: str) -> None:
    if isinstance(node, dict):
        node.pop(key, None)
        for value in node.values():
            _drop(value, key)
    elif isinstance(node, list):
        for value in node:
            _drop(value, key)


def _text(source: Mapping[str, Any]) -> str:
    shown = copy.deepcopy(dict(source))
    shown.pop("status", None)
    for key in _SERVER_METADATA:
        shown.get("metadata", {}).pop(key, None)
    if shown.get("kind") == "Secret":
        for part in ("data", "stringData"):
            if part in shown:
                shown[part] = {key: f"({len(value)} characters)" for key, value in shown[part].items()}
    return yaml.safe_dump(shown, sort_keys=True, width=120)
