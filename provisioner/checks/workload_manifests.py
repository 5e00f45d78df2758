"""Read the manifests of the shipped workloads, for every check that knows what they should answer.

What a user runs in the same namespace is not checked for its content.
"""

from __future__ import annotations

from provisioner.checks.check import NAMESPACE
from provisioner.kube import Object, templates
from provisioner.site import Site


def objects(site: Site, kind: str, *workloads: str) -> list[Object]:
    """Return the objects of a kind from the manifests of these workloads, as far as hosts.toml enables them."""
    return [
        item
        for workload in workloads
        if workload in site.workloads.enabled
        for item in templates.read(site, f"workloads/{workload}.yaml")
        if item["kind"] == kind and item["metadata"].get("namespace") == NAMESPACE
    ]


def services(site: Site, kind: str, *workloads: str) -> list[str]:
    """Return the names of these workloads' Services of a type, such as "NodePort"."""
    found = objects(site, "Service", *workloads)
    return [one["metadata"]["name"] for one in found if one["spec"].get("type") == kind]
