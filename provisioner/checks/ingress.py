"""Each path of an Ingress leads to its own Deployment and no other path anywhere, through every way in; HTTPS
presents the site's certificate; the client's address arrives, or it is said why not.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provisioner import certificates
from provisioner.checks import ingress_client, pods, shipped, web
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, bad, good, settle
from provisioner.checks.ingress_doors import Door, controller_pods, doors, external, named, service
from provisioner.steps import ingress as step

if TYPE_CHECKING:
    from provisioner.objects import Object
    from provisioner.site import Site

WORKLOAD = "ingress"
Pages = dict[Door, web.Page]


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
        return bool(self.who(page)) if self.service else page.status == 404

    def who(self, page: web.Page) -> str:
        """Return the pod that says it is the one who answered, "" when none of the route's does."""
        answered = self.pods.intersection(page.body.split()) if page.status == 200 else ()
        return next(iter(answered), "")


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for each path and for one that no Ingress has, then for HTTPS and the client's address.

    Of the shipped Ingress only: what those of others answer is not for us to say.
    """
    live = context.cluster.list("Ingress", NAMESPACE, api_version="networking.k8s.io/v1")
    wanted = {one["metadata"]["name"] for one in shipped.objects(context.site, "Ingress", WORKLOAD)}
    ingresses = [one for one in live if one["metadata"]["name"] in wanted]
    for name in sorted(wanted - {one["metadata"]["name"] for one in ingresses}):
        yield bad("INGRESS_NONE", f"Ingress {NAMESPACE}/{name}", "does not exist", "provisioner apply")
    if not ingresses:
        return
    found = settle(context, "the ingress controller's address", lambda: service(context), _given, timeout=60)
    ways = doors(context, found)
    namespace = step.NAMESPACES[step.controller(context.site)]
    if found is None or not ways:
        yield bad(
            "INGRESS_NO_ENTRANCE",
            "ingress controller",
            "has no Service that leads to its port 80 from outside",
            f"kubectl -n {namespace} get services,pods",
        )
        return
    if found["spec"].get("type") == "LoadBalancer" and not external(found):
        yield bad(
            "INGRESS_NO_ADDRESS",
            pods.name_of(found),
            "is of type LoadBalancer and has no address",
            f"kubectl -n {namespace} describe service {found['metadata']['name']}",
            *context.cluster.events(namespace, found["metadata"]["name"]),
        )
    seen = settle(
        context,
        "every path of the Ingress",
        lambda: {route: _through(context, ways, route) for route in routes(context, ingresses)},
        lambda pages: all(route.right(page) for route, each in pages.items() for page in each.values()),
        timeout=60,
    )
    log = _log(context, found) if any(_wrong(route, each) for route, each in seen.items()) else []
    for route, each in seen.items():
        yield _judge(route, each, log)
    yield from _https(context, found, ingresses, ways, list(seen))
    for route, each in seen.items():
        yield from ingress_client.judge(context, found, f"{route.host}{route.path}", each)


def _given(found: Object | None) -> bool:
    return found is not None and (found["spec"].get("type") != "LoadBalancer" or bool(external(found)))


def _through(context: Context, ways: list[Door], route: Route) -> Pages:
    return {door: door.ask(context, route.path, route.host) for door in ways}


def _wrong(route: Route, each: Pages) -> Pages:
    return {door: page for door, page in each.items() if not route.right(page)}


def _judge(route: Route, each: Pages, log: list[str]) -> Finding:
    subject = f"{route.host}{route.path}"
    wrong = _wrong(route, each)
    if not wrong:
        through = named(list(each))
        if not route.service:
            return good("INGRESS_UNKNOWN_404", subject, f"leads nowhere (404), as no Ingress names it ({through})")
        answered = ", ".join(sorted({route.who(page) for page in each.values()}))
        return good("INGRESS_ROUTES", subject, f"leads to {answered} of {route.service} through {through}")
    wanted = f"a pod of {route.service}" if route.service else "a 404"
    first = next(iter(wrong.values()))
    return bad(
        "INGRESS_WRONG" if any(page.status for page in wrong.values()) else "INGRESS_SILENT",
        subject,
        f"should give {wanted} and gave: {first}",
        f"kubectl -n {NAMESPACE} describe ingress {route.ingress}",
        f"pods of {route.service}: {', '.join(sorted(route.pods)) or 'none is ready'}" if route.service else "",
        *(str(page) for page in list(wrong.values())[1:]),
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
            for path in (rule.get("http") or {}).get("paths") or ():
                backend = path["backend"].get("service", {}).get("name", "")
                if not backend:  # an object of the controller's own kind (`resource`): nobody here knows what answers
                    continue
                selector = services.get(backend, {}).get("spec", {}).get("selector") or {}
                names = frozenset(pod["metadata"]["name"] for pod in pods.selected(own, selector))
                found.append(Route(name, rule.get("host", ""), path.get("path", "/"), backend, names))
        host = next((rule.get("host", "") for rule in rules), "")
        found.append(Route(name, host, f"/nobody-{secrets.token_hex(4)}", "", frozenset()))
    return found


def _https(
    context: Context, found: Object, ingresses: list[Object], ways: list[Door], known: list[Route]
) -> Iterator[Finding]:
    """Yield what HTTPS presents for each host name that an Ingress has a certificate for."""
    for ingress in ingresses:
        for entry in ingress["spec"].get("tls") or ():
            for host in entry.get("hosts") or ():
                route = next((one for one in known if one.host == host and one.service), None)
                if route:
                    one = _presented(context, str(entry.get("secretName", "")), ways, route)
                    yield one if one.ok else replace(one, evidence=(*one.evidence, *_explained(context, found, route)))


def _explained(context: Context, found: Object, route: Route) -> list[str]:
    """Return the last events about a route's Ingress, and what the controller logs."""
    return [*context.cluster.events(NAMESPACE, route.ingress)[-pods.EVENTS :], *_log(context, found)]


def _presented(context: Context, name: str, ways: list[Door], route: Route) -> Finding:
    secret = context.cluster.get("Secret", name, NAMESPACE)
    pem = base64.b64decode(((secret or {}).get("data") or {}).get("tls.crt", ""))
    ours, subject = certificates.der(pem), f"https://{route.host}"
    if not ours:
        why = f"has no certificate: Secret {NAMESPACE}/{name} is missing or holds none"
        return bad("INGRESS_TLS_NO_CERTIFICATE", subject, why, "provisioner apply")
    open_ = [door for door in ways if door.tls_port]
    if not open_:
        return bad("INGRESS_TLS_CLOSED", subject, "has no way in: the controller's Service has no port 443", "")

    def look() -> Pages:
        return {door: door.ask(context, route.path, route.host, tls=True) for door in open_}

    def fine(page: web.Page) -> bool:
        return page.certificate == ours and route.right(page)

    each = settle(
        context, f"{subject} to present its certificate", look, lambda seen: all(map(fine, seen.values())), timeout=60
    )
    wrong = {door: page for door, page in each.items() if not fine(page)}
    if not wrong:
        places = named([Door(door.address, door.tls_port, 0, door.node) for door in open_])
        said = f"presents the site's certificate ({certificates.described(ours)}) through {places}"
        return good("INGRESS_TLS", subject, said)
    door, page = next(iter(wrong.items()))
    if not page.certificate:
        said = f"has no TLS through {door}: {page}"
    elif page.certificate != ours:
        said = f"presents another certificate through {door}: one {certificates.described(page.certificate)}"
    else:
        said = f"presents the site's certificate through {door} and then gives: {page}"
    return bad(
        "INGRESS_TLS_WRONG",
        subject,
        said,
        f"kubectl -n {NAMESPACE} describe ingress {route.ingress}",
        f"Secret {NAMESPACE}/{name} holds one {certificates.described(ours)}",
    )


def _log(context: Context, found: Object) -> list[str]:
    namespace = found["metadata"]["namespace"]
    names = [pod["metadata"]["name"] for pod in controller_pods(context, found)]
    return [
        f"{name}: {line}"
        for name in names
        for line in context.cluster.logs(namespace, name, lines=pods.LOG_LINES).splitlines()
    ]


def _not_for(site: Site) -> str:
    if not site.ingress.enabled:
        return "[ingress] is not enabled"
    return "" if WORKLOAD in site.workloads.enabled else f'[workloads] enabled has no "{WORKLOAD}"'


CHECK = Check(
    "ingress",
    "Each path of an Ingress leads to its own Deployment through every way in, another path is a 404; HTTPS presents "
    "the site's certificate; the client's address arrives.",
    run,
    _not_for,
    looks_only=True,
)
