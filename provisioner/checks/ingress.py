"""Each path of an Ingress leads to its own Deployment and no other path anywhere, through every way in; HTTPS
presents the site's certificate; the client's address arrives, or it is said why not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from provisioner.checks import ingress_client, ingress_exposure, ingress_routes, ingress_tls, pods
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, wait_for
from provisioner.checks.ingress_endpoints import Endpoint, named
from provisioner.checks.ingress_routes import WORKLOAD, Pages, Route, paths, routes
from provisioner.kube import Object
from provisioner.site import Site


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for each path and for one that no Ingress has, then for HTTPS and the client's address.

    What is demanded says the workload's file; the cluster is asked only whether it has those Ingresses. What those of
    others answer is not for us to say.
    """
    live = {
        one["metadata"]["name"]: one
        for one in context.cluster.list("Ingress", NAMESPACE, api_version="networking.k8s.io/v1")
    }
    every = ingress_routes.wanted(context)
    wanted = [one for one in every if one["metadata"]["name"] in live]
    if not every:
        yield failed("INGRESS_NONE", f"workloads/{WORKLOAD}.yaml", f"has no Ingress in {NAMESPACE}", "give it one")
    for name in sorted({one["metadata"]["name"] for one in every} - live.keys()):
        yield failed("INGRESS_NONE", f"Ingress {NAMESPACE}/{name}", "does not exist", "provisioner apply")
    if not wanted:
        return
    found, ways = ingress_exposure.wait_exposed(context)
    yield from ingress_exposure.missing(context, found, ways)
    if found is None or not ways:
        return
    seen = wait_for(
        context,
        "every path of the Ingress",
        lambda: {route: _through(context, ways, route) for route in routes(context, wanted)},
        lambda pages: not any(route.wrong(each) for route, each in pages.items()),
        timeout=60,
    )
    namespace = found["metadata"]["namespace"]
    ill = any(route.wrong(each) for route, each in seen.items())
    log = ingress_exposure.explain(context, namespace, found) if ill else []
    for route, each in seen.items():
        yield _judge(route, each, live[route.ingress], log)

    def explained(route: Route | None, one: Finding) -> Finding:
        if one.ok or route is None:
            return one
        events = context.cluster.events(NAMESPACE, route.ingress)[-pods.EVENTS :]
        said = log or ingress_exposure.explain(context, namespace, found)
        return replace(one, evidence=(*one.evidence, *events, *said))

    for ingress in wanted:
        known = [route for route in seen if route.ingress == ingress["metadata"]["name"]]
        for asked, one in ingress_tls.judge(context, ingress, live[ingress["metadata"]["name"]], ways, known):
            yield explained(asked, one)
    for route, each in seen.items():
        for one in ingress_client.judge(context, found, str(route), each):
            yield explained(route, one)


def _through(context: Context, ways: Sequence[Endpoint], route: Route) -> Pages:
    return {door: door.ask(context, route.path, route.host) for door in ways}


def _judge(route: Route, each: Pages, live: Object, log: Sequence[str]) -> Finding:
    wrong = route.wrong(each)
    if not wrong:
        through = named(list(each))
        if not route.service:
            said = f"leads nowhere (404), as no Ingress names it ({through})"
            return passed("INGRESS_UNKNOWN_404", str(route), said)
        answered = ", ".join(sorted({route.who(page) for page in each.values()}))
        return passed("INGRESS_ROUTES", str(route), f"leads to {answered} of {route.service} through {through}")
    wanted = f"a pod of {route.service}" if route.service else "a 404"
    first, *others = wrong.values()
    lost = route.service and (route.host, route.path, route.service) not in paths(live)
    return failed(
        "INGRESS_WRONG" if any(page.status for page in wrong.values()) else "INGRESS_SILENT",
        str(route),
        f"should give {wanted} and gave: {first}",
        "provisioner apply" if lost else f"kubectl -n {NAMESPACE} describe ingress {route.ingress}",
        f"Ingress {NAMESPACE}/{route.ingress} in the cluster does not lead it there" if lost else "",
        f"pods of {route.service}: {', '.join(sorted(route.pods)) or 'none is ready'}" if route.service else "",
        *map(str, others),
        *log,
    )


def _skip_reason(site: Site) -> str:
    if not site.ingress.enabled:
        return "[ingress] is not enabled"
    return "" if WORKLOAD in site.workloads.enabled else f'[workloads] enabled has no "{WORKLOAD}"'


CHECK = Check(
    "ingress",
    "Each path of an Ingress leads to its own Deployment through every way in, another path is a 404; HTTPS presents "
    "the site's certificate; the client's address arrives.",
    run,
    _skip_reason,
    reads_only=True,
)
