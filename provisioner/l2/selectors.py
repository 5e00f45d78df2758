"""Kubernetes label selectors, as MetalLB's advertisements use them (apimachinery, metav1.LabelSelectorAsSelector)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether labels satisfy a selector: all matchLabels and all matchExpressions; an empty one selects all.

    >>> matches({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}, {})
    True
    """
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or ())


def any_matches(selectors: Sequence[Mapping[str, Any]], labels: Mapping[str, str] | None) -> bool | None:
    """Return whether any selector matches; no selectors mean all. None: unknown labels would decide."""
    if not selectors or any(not _selects(selector) for selector in selectors):
        return True
    if labels is None:
        return None
    return any(matches(selector, labels) for selector in selectors)


def _selects(selector: Mapping[str, Any]) -> bool:
    return bool(selector.get("matchLabels") or selector.get("matchExpressions"))


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    values: Iterable[str] = expression.get("values") or ()
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":  # also true if there is no such label
        return key not in labels or labels[key] not in values
    return bool((key in labels) == (operator == "Exists"))
