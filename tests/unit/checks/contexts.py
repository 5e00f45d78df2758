"""What the tests of checks start from: a site in a temporary file, a Context, and the findings of one check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from provisioner.checks import Context, Finding
from provisioner.checks.check import Check
from provisioner.kube import Cluster
from provisioner.ssh import Host
from tests import hosts_toml
from tests.unit.fake_cluster import FakeCluster

SITE = f"""
[cluster]
kubernetes = "1.20.2"
timeout_scale = 0.001
{hosts_toml.hosts("master", "w1", "w2")}
{hosts_toml.pool("lab", "192.0.2.200-192.0.2.210")}
[workloads]
enabled = [
    "nodeport", "loadbalancer", "ingress", "hpa", "daemonset", "configmap", "statefulset", "shared-volume",
]
"""


def context(folder: Path, cluster: FakeCluster, text: str = SITE, hosts: Mapping[str, Any] | None = None) -> Context:
    """Return a Context over this cluster; its timeouts are milliseconds."""
    return Context(hosts_toml.load(folder, text), cast(Cluster, cluster), cast("Mapping[str, Host]", hosts or {}))


def findings(check: Check, where: Context) -> dict[str, list[Finding]]:
    """Run a check and return its findings by code."""
    found: dict[str, list[Finding]] = {}
    for finding in check.run(where):
        found.setdefault(finding.code, []).append(finding)
    return found
