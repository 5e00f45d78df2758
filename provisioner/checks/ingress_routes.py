"""The routes that the ingress workload's manifest wants, for the ingress check: which path leads to which pods.

The manifest decides, not the object in the cluster, from which somebody may have removed a path.
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
Responses = Mapping[Endpoint, http_client.Response]


@dataclass(frozen=True)
class Route:
    """A path of an Ingress and the pods that may answer it. service: "" for a path that must return 404."""

    ingress: str
    host: str
    path: str
    service: str
    pods: frozenset[str]

    def __str__(self) -> str:
        return f"{self.host}{self.path}"

    def accepts(self, response: http_client.Response) -> bool:
        """Tell whether the response is what this route should return."""
        return bool(self.answering_pod(response)) if self.service else response.status == 404

    def answering_pod(self, response: http_client.Response) -> str:
        """Return the pod of this route that the response names as its sender, "" for none."""
        answered = self.pods.intersection(response.body.split()) if response.status == 200 else ()
        return next(iter(answered), "")

    def wrong(self, responses: Responses) -> dict[Endpoint, http_client.Response]:
        """Return the responses that this route should not return, by endpoint."""
        return {endpoint: response for endpoint, response in responses.items() if not self.accepts(response)}


def wanted(context: Context) -> list[Object]:
    """Return the Ingresses of the workload's manifest."""
    return workload_manifests.objects(context.site, "Ingress", WORKLOAD)


def routes(context: Context, ingresses: Sequence[Object]) -> list[Route]:
    """Return the paths of the Ingresses with the ready pods behind them, and a path for each that must return 404."""
    cluster = context.cluster
    manifests = workload_manifests.objects(context.site, "Service", WORKLOAD)
    services = {one["metadata"]["name"]: one for one in (*cluster.list("Service", NAMESPACE), *manifests)}
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
    """Return host, path and Service of each rule of an Ingress, without `resource` backends."""
    found = [
        (rule.get("host", ""), path.get("path", "/"), path["backend"].get("service", {}).get("name", ""))
        for rule in ingress["spec"].get("rules") or ()
        for path in (rule.get("http") or {}).get("paths") or ()
    ]
    return [(host, path, service) for host, path, service in found if service]
