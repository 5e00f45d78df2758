"""Each path of an Ingress leads to its own Deployment, and no other path leads anywhere."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.addresses import host_port
from provisioner.checks import pods, web
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, bad, good, settle
from provisioner.steps import ingress as step

if TYPE_CHECKING:
    from provisioner.objects import Object
    from provisioner.site import Site


@dataclass(frozen=True)
class Route:
    """One path of an Ingress: the pods that may answer there. service: "" for a path that nobody may answer."""

    ingress: str
    host: str
    path: str
    service: str
    pods: frozenset[str]

    def right(self, page: web.Page) -> bool:
        """Tell whether a page is what this route should give. Our pods answer with their own name."""
        return page.body.strip() in self.pods if self.service else page.status == 404


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for each path of each Ingress of the workloads, and one for a path that none has."""
    cluster = context.cluster
    ingresses = cluster.list("Ingress", NAMESPACE, api_version="networking.k8s.io/v1")
    if not ingresses:
        yield bad("INGRESS_NONE", NAMESPACE, "has no Ingress", "provisioner apply")
        return
    doors = settle(context, "the ingress controller's address", lambda: entrances(context), bool, timeout=60)
    if not doors:
        yield bad(
            "INGRESS_NO_ENTRANCE",
            "ingress controller",
            "has no Service that leads to its port 80 from outside",
            f"kubectl -n {step.NAMESPACES[step.controller(context.site)]} get services",
        )
        return
    pages = settle(
        context,
        "every path of the Ingress",
        lambda: {route: ask(context, doors, route) for route in routes(context, ingresses)},
        lambda seen: all(route.right(page) for route, page in seen.items()),
        timeout=60,
    )
    log = [] if all(route.right(page) for route, page in pages.items()) else _controller_log(context)
    for route, page in pages.items():
        yield _judge(route, page, log)


def _judge(route: Route, page: web.Page, log: list[str]) -> Finding:
    subject = f"{route.host}{route.path}"
    if route.right(page):
        if route.service:
            return good("INGRESS_ROUTES", subject, f"leads to {page.body.strip()} of {route.service} ({page.url})")
        return good("INGRESS_UNKNOWN_404", subject, "leads nowhere (404), as a path that no Ingress names should")
    wanted = f"a pod of {route.service}" if route.service else "a 404"
    return bad(
        "INGRESS_WRONG" if page.status else "INGRESS_SILENT",
        subject,
        f"should give {wanted} and gave: {page}",
        f"kubectl -n {NAMESPACE} describe ingress {route.ingress}",
        f"pods of {route.service}: {', '.join(sorted(route.pods)) or 'none is ready'}" if route.service else "",
        *log,
    )


def routes(context: Context, ingresses: list[Object]) -> list[Route]:
    """Return every path of the Ingresses with the pods that are ready behind it, and a path that none has."""
    cluster = context.cluster
    services = {one["metadata"]["name"]: one for one in cluster.list("Service", NAMESPACE)}
    own = [pod for pod in cluster.list("Pod", NAMESPACE) if pods.ready(pod)]
    found = []
    for ingress in ingresses:
        name = ingress["metadata"]["name"]
        rules = ingress["spec"].get("rules") or []
        for rule in rules:
            for path in rule.get("http", {}).get("paths") or ():
                backend = path["backend"]["service"]["name"]
                selector = services.get(backend, {}).get("spec", {}).get("selector") or {}
                names = frozenset(pod["metadata"]["name"] for pod in pods.selected(own, selector))
                found.append(Route(name, rule.get("host", ""), path.get("path", "/"), backend, names))
        host = next((rule.get("host", "") for rule in rules), "")
        found.append(Route(name, host, f"/nobody-{secrets.token_hex(4)}", "", frozenset()))
    return found


def entrances(context: Context) -> list[tuple[str, int]]:
    """Return address and port of the ways into the controller, best first: external IPs, then NodePorts."""
    chosen = step.controller(context.site)
    service = context.cluster.get("Service", step.SERVICES[chosen], step.NAMESPACES[chosen])
    return ways_in(service, [host.address for host in context.site.hosts]) if service else []


def ways_in(service: Object, nodes: list[str]) -> list[tuple[str, int]]:
    """Return the ways through one Service to its port 80, from outside of the cluster."""
    port: Mapping[str, Any] = next((one for one in service["spec"].get("ports") or () if one.get("port") == 80), {})
    if not port:
        return []
    balancers = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    ways = [(str(entry["ip"]), 80) for entry in balancers if entry.get("ip")]
    if port.get("nodePort"):
        ways += [(address, int(port["nodePort"])) for address in nodes]
    return ways


def ask(context: Context, doors: list[tuple[str, int]], route: Route) -> web.Page:
    """Ask for a route's path at the first entrance that speaks at all.

    A NodePort may be silent on nodes without a controller (externalTrafficPolicy: Local), an external IP never.
    """
    timeout = context.site.timeout(5)
    silent = []
    for address, port in doors:
        page = web.get(address, port, route.path, host=route.host, timeout=timeout)
        if page.status:
            return page
        silent.append(f"{host_port(address, port)}: {page.error}")
        if port == 80:
            return page
    return web.Page("every entrance", error="; ".join(silent))


def _controller_log(context: Context) -> list[str]:
    cluster = context.cluster
    namespace = step.NAMESPACES[step.controller(context.site)]
    names = [pod["metadata"]["name"] for pod in cluster.list("Pod", namespace) if pods.ready(pod)]
    return [
        f"{name}: {line}"
        for name in names
        for line in cluster.logs(namespace, name, lines=pods.LOG_LINES).splitlines()
    ]


def _not_for(site: Site) -> str:
    if not site.ingress.enabled:
        return "[ingress] is not enabled"
    return "" if "ingress" in site.workloads.enabled else '[workloads] enabled has no "ingress"'


CHECK = Check("ingress", "Each path of an Ingress leads to its own Deployment; another path is a 404.", run, _not_for)
