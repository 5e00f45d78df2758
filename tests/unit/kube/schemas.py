"""Validate objects for a Kubernetes minor: unknown fields and wrong types are errors.

Built-in kinds are checked with the schemas of kubernetes-validate, custom resources with their definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator
from kubernetes_validate import utils

from provisioner.kube import Object

utils.schema_contents = cache(utils.schema_contents)  # otherwise it reads five megabytes for each object


def problem(item: Object, minor: str, definitions: Sequence[Object] = ()) -> str:
    """Return what is wrong with an object for a Kubernetes minor, "" if nothing is.

    definitions: the installed CustomResourceDefinitions.
    """
    for definition in definitions:
        spec = definition["spec"]
        group, _, version = item["apiVersion"].rpartition("/")
        if (spec["group"], spec["names"]["kind"]) == (group, item["kind"]):
            (served,) = [one for one in spec["versions"] if one["name"] == version]
            schema = closed(served["schema"]["openAPIV3Schema"])
            schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
            return "; ".join(
                f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(item)
            )
    try:
        kubernetes_validate.validate(item, minor, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{error.json_path}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return str(error.message)
    return ""


def _definition(kind: str, required: Sequence[str] = (), **properties: Object) -> Object:
    plural = f"{kind.lower()}s"
    spec = {"type": "object", "properties": properties} | ({"required": [*required]} if required else {})
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "plural": plural}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.metallb.io"},
        "spec": {"group": "metallb.io", "scope": "Namespaced", "names": names, "versions": [version]},
    }


_TEXTS = {"type": "array", "items": {"type": "string"}}
_FLAG = {"type": "boolean"}
# The part of MetalLB's definitions that metallb/pool.yaml uses, for machines without upstream's manifests.
METALLB_DEFINITIONS = [
    _definition("IPAddressPool", ["addresses"], addresses=_TEXTS, autoAssign=_FLAG, avoidBuggyIPs=_FLAG),
    _definition("L2Advertisement", ipAddressPools=_TEXTS, interfaces=_TEXTS),
]


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a definition's schema that forbids unknown fields, which a server would silently drop."""
    found = dict(schema)
    if found.get("nullable"):
        return {}  # not a JSON Schema keyword; none of our values is null
    if "properties" in found:
        found["properties"] = {name: closed(one) for name, one in found["properties"].items()}
        if not found.get("x-kubernetes-preserve-unknown-fields"):
            found["additionalProperties"] = False
    if isinstance(found.get("items"), dict):
        found["items"] = closed(found["items"])
    if found.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    return found
