"""The site's hosts with their nodes in the API, a row each, as `status` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provisioner.site import Site


COLUMNS = ("name", "status", "roles", "version", "address", "age")
WIDE = ("system", "kernel", "runtime", "pods")
_ROLE = "node-role.kubernetes.io/"


def rows(site: Site, nodes: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return one row per host of the site, in its order, then one per node that is not in the site."""
    known = [spec.name for spec in site.hosts]
    order = [*known, *(name for name in nodes if name not in known)]
    table = [_row(name, nodes.get(name)) for name in order]
    for row in table[len(known) :]:
        row["status"] += ", not in hosts.toml"
    return table


def _row(name: str, node: Mapping[str, Any] | None) -> dict[str, str]:
    if node is None:
        return {"name": name, "status": "not a node", **dict.fromkeys((*COLUMNS[2:], *WIDE), "")}
    meta, spec, state = node["metadata"], node.get("spec", {}), node["status"]
    info = state.get("nodeInfo", {})
    conditions = {condition["type"]: condition["status"] for condition in state.get("conditions", ())}
    status = {"True": "Ready", "False": "NotReady"}.get(conditions.get("Ready", ""), "Unknown")
    if spec.get("unschedulable"):
        status += ", cordoned"
    pressures = [kind for kind, value in conditions.items() if kind != "Ready" and value == "True"]
    roles = sorted(label.removeprefix(_ROLE) for label in meta.get("labels", {}) if label.startswith(_ROLE))
    addresses = [entry["address"] for entry in state.get("addresses", ()) if entry["type"] == "InternalIP"]
    return {
        "name": name,
        "status": ", ".join([status, *pressures]),
        "roles": ",".join(roles) or "worker",
        "version": info.get("kubeletVersion", ""),
        "address": ",".join(addresses),
        "age": _age(meta.get("creationTimestamp", "")),
        "system": info.get("osImage", ""),
        "kernel": info.get("kernelVersion", ""),
        "runtime": info.get("containerRuntimeVersion", ""),
        "pods": ",".join(spec.get("podCIDRs", ())),
    }


def _age(created: str) -> str:
    if not created:
        return ""
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
