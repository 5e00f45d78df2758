"""The table of `provisioner status`."""

from __future__ import annotations

from typing import Any

from provisioner.cli import status
from provisioner.kube import node_rows
from tests.hosts_toml import site


def node(name: str, ready: str = "True", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {}, "creationTimestamp": "2020-01-01T00:00:00Z"},
        "spec": spec,
        "status": {
            "conditions": [{"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": "False"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.10"}],
            "nodeInfo": {"kubeletVersion": "v1.31.2"},
        },
    }


def test_the_table_joins_hosts_and_nodes() -> None:
    nodes = {"master": node("master", unschedulable=True), "two": node("two", "Unknown"), "stray": node("stray")}
    nodes["master"]["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = ""
    found = {row["name"]: row for row in node_rows.rows(site(), nodes)}
    assert list(found) == ["master", "one", "two", "stray"]
    assert found["master"]["status"] == "Ready, cordoned"
    assert found["master"]["roles"] == "control-plane"
    assert found["one"]["status"] == "not a node"
    assert found["two"]["status"] == "Unknown"
    assert found["stray"]["status"] == "Ready, not in hosts.toml"
    heading, *lines = status.table(list(found.values()))
    assert heading.split() == ["NAME", "STATUS", "ROLES", "VERSION", "ADDRESS", "AGE"]
    assert len(lines) == 4
