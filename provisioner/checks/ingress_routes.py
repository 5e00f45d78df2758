"""What the Ingress of the workload's file demands: which path leads to which pods, and what each door gave there.

The file says it, not the object in the cluster, from which somebody may have taken a path: who compares an object with
itself finds nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provisioner.checks import http_client, pods, workload_manifests
from provisioner.checks.check import NAMESPACE, Context
from provisioner.checks.ingress_endpoints import Endpoint
from provisioner.kube import Object

WORKLOAD = "ingress"
Pages = Mapping[Endpoint, http_client.Response]


@dataclass(frozen=True)
class Route:
    """One path of an Ingress: the pods that may answer there. service: "" for a path that nobody may answer."""

    ingress: str
    host: str
    path: str
    service: str
    pods: frozenset[str]

    def __str__(self) -> str:
        """Return how a finding names it."""
        return f"{self.host}{self.path}"

    def right(self, page: http_client.Response) -> bool:
        """Tell whether a page is what this route should give. Our pods answer with their own name."""
        return bool(self.who(page)) if self.service else page.status == 404

    def who(self, page: http_client.Response) -> str:
        """Return the pod that says it is the one who answered, "" when none of the route's does."""
        answered = self.pods.intersection(page.body.split()) if page.status == 200 else ()
        return next(iter(answered), "")

    def wrong(self, each: Pages) -> dict[Endpoint, http_client.Response]:
        """Return the doors that gave something else."""
        return {door: page for door, page in each.items() if not self.right(page)}


def wanted(context: Context) -> list[Object]:
    """Return the Ingresses of the workload's file."""
    return workload_manifests.objects(context.site, "Ingress", WORKLOAD)


def routes(context: Context, ingresses: Sequence[Object]) -> list[Route]:
    """Return every path of the Ingresses with the pods that are ready behind it, and a path that none has."""
    cluster = context.cluster
    services = {one["metadata"]["name"]: one for one in cluster.list("Service", NAMESPACE)}
    services |= {one["metadata"]["name"]: one for one in workload_manifests.objects(context.site, "Service", WORKLOAD)}
    own = [pod for pod in cluster.list("Pod", NAMESPACE) if pods.ready(pod)]
    found = []
    for ingress in ingresses:
        name = ingress["metadata"]["name"]
        for host, path, backend in paths(ingress):
            selector = services.get(backend, {}).get("spec", {}).get("selector") or {}
            names = frozenset(pod["metadata"]["name"] for pod in pods.matching(own, selector))
            found.append(Route(name, host, path, backend, names))
        host = next((rule.get("host", "") for rule in ingress["spec"].get("rules") or ()), "")
        found.append(Route(name, host, f"/nobody-{secrets.token_hex(4)}", "", frozenset()))
    return found


def paths(ingress: Object) -> list[tuple[str, str, str]]:
    """Return host, path and Service of each rule of an Ingress.

    Without those of a backend of the controller's own kind (`resource`): nobody here knows what answers.
    """
    found = [
        (rule.get("host", ""), path.get("path", "/"), path["backend"].get("service", {}).get("name", ""))
        for rule in ingress["spec"].get("rules") or ()
        for path in (rule.get("http") or {}).get("paths") or ()
    ]
    return [(host, path, service) for host, path, service in found if service]
