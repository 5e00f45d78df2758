"""Each path of an Ingress leads to its own Deployment through every endpoint, with the site's certificate over HTTPS.

Other paths return 404, and the workload sees the client's address, or the finding says why not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from provisioner.checks import ingress_client, ingress_exposure, ingress_routes, ingress_tls, pods
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, wait_for
from provisioner.checks.ingress_endpoints import Endpoint
from provisioner.checks.ingress_routes import WORKLOAD, Responses, Route, paths, routes
from provisioner.kube import Object
from provisioner.site import Site
from provisioner.text import join_words


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for each path and for one that no Ingress has, then on HTTPS and the client's address.

    The workload's manifest says what to expect; the cluster only has to have its Ingresses. Those of others are not
    checked.
    """
    live = {
        one["metadata"]["name"]: one
        for one in context.cluster.list("Ingress", NAMESPACE, api_version="networking.k8s.io/v1")
    }
    every = ingress_routes.wanted(context)
    wanted = [one for one in every if one["metadata"]["name"] in live]
    if not every:
        yield failed("INGRESS_NONE", f"workloads/{WORKLOAD}.yaml", f"has no Ingress in {NAMESPACE}", "add one")
    for name in sorted({one["metadata"]["name"] for one in every} - live.keys()):
        yield failed("INGRESS_NONE", f"Ingress {NAMESPACE}/{name}", "does not exist", "provisioner apply")
    if not wanted:
        return
    service, endpoints = ingress_exposure.wait_exposed(context)
    yield from ingress_exposure.missing(context, service, endpoints)
    if service is None or not endpoints:
        return
    by_route = wait_for(
        context,
        "every path of the Ingress",
        lambda: {route: _request(context, endpoints, route) for route in routes(context, wanted)},
        lambda by_route: not any(route.wrong(responses) for route, responses in by_route.items()),
        timeout=60,
    )
    namespace = service["metadata"]["namespace"]
    failing = any(route.wrong(responses) for route, responses in by_route.items())
    log = ingress_exposure.explain(context, namespace, service) if failing else []
    for route, responses in by_route.items():
        yield _judge(route, responses, live[route.ingress], log)

    def explained(route: Route | None, finding: Finding) -> Finding:
        if finding.ok or route is None:
            return finding
        events = context.cluster.events(NAMESPACE, route.ingress)[-pods.EVENTS :]
        explanation = log or ingress_exposure.explain(context, namespace, service)
        return replace(finding, evidence=(*finding.evidence, *events, *explanation))

    for ingress in wanted:
        name = ingress["metadata"]["name"]
        own = [route for route in by_route if route.ingress == name]
        for requested, finding in ingress_tls.judge(context, ingress, live[name], endpoints, own):
            yield explained(requested, finding)
    for route, responses in by_route.items():
        for finding in ingress_client.judge(context, service, str(route), responses):
            yield explained(route, finding)


def _request(context: Context, endpoints: Sequence[Endpoint], route: Route) -> Responses:
    return {endpoint: endpoint.get(context, route.path, route.host) for endpoint in endpoints}


def _judge(route: Route, responses: Responses, live: Object, log: Sequence[str]) -> Finding:
    wrong = route.wrong(responses)
    if not wrong:
        through = join_words(responses)
        if not route.service:
            detail = f"returns 404, as no Ingress has it ({through})"
            return passed("INGRESS_UNKNOWN_404", str(route), detail)
        answered = ", ".join(sorted({route.answering_pod(response) for response in responses.values()}))
        return passed("INGRESS_ROUTES", str(route), f"leads to {answered} of {route.service} through {through}")
    expected = f"lead to a pod of {route.service}" if route.service else "return 404"
    first, *others = wrong.values()
    lost = route.service and (route.host, route.path, route.service) not in paths(live)
    return failed(
        "INGRESS_WRONG" if any(response.status for response in wrong.values()) else "INGRESS_SILENT",
        str(route),
        f"should {expected}, but: {first}",
        "provisioner apply" if lost else f"kubectl -n {NAMESPACE} describe ingress {route.ingress}",
        f"Ingress {NAMESPACE}/{route.ingress} in the cluster does not have this path" if lost else "",
        f"ready pods of {route.service}: {', '.join(sorted(route.pods)) or 'none'}" if route.service else "",
        *map(str, others),
        *log,
    )


def _skip_reason(site: Site) -> str:
    if not site.ingress.enabled:
        return "[ingress] is not enabled"
    return "" if WORKLOAD in site.workloads.enabled else f'[workloads] enabled has no "{WORKLOAD}"'


CHECK = Check(
    "ingress",
    "Each path of an Ingress leads to its own Deployment through every endpoint, also over HTTPS; others return 404.",
    run,
    _skip_reason,
    reads_only=True,
)
