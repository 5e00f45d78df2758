"""Whether an ingress controller has the endpoints that the site should have, for the ingress check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from provisioner.checks import pods
from provisioner.checks.check import Context, Finding, failed, wait_for
from provisioner.checks.ingress_endpoints import Endpoint, endpoints, external, node_port, service
from provisioner.kube import Object
from provisioner.kube.objects import object_name
from provisioner.steps import ingress as step


def wait_exposed(context: Context) -> tuple[Object | None, list[Endpoint]]:
    """Return the controller's Service and endpoints once none is pending, or those that exist when time is up."""

    def read() -> tuple[Object | None, list[Endpoint]]:
        found = service(context)
        return found, endpoints(context, found)

    return wait_for(
        context,
        "the endpoints of the ingress controller",
        read,
        lambda state: not _pending(context, *state),
        timeout=60,
    )


def _pending(context: Context, found: Object | None, existing: Sequence[Endpoint]) -> bool:
    """Tell whether an endpoint may still appear: an address, or a ready pod if only its node accepts connections."""
    if found is None:
        return True
    if context.site.metallb.enabled and found["spec"].get("type") == "LoadBalancer" and not external(found):
        return True
    return not _on_nodes(existing) and bool(node_port(found))


def missing(context: Context, found: Object | None, existing: Sequence[Endpoint]) -> Iterator[Finding]:
    """Yield a finding for each kind of endpoint that is missing.

    Every site should have a NodePort, and an address if MetalLB, which assigns it, is enabled.
    """
    if found is None or not (node_port(found) or external(found)):
        yield _none(context, found)
        return
    if not _on_nodes(existing):
        yield _no_node_port(context, found)
    if context.site.metallb.enabled and not external(found):
        yield _no_address(context, found)


def explain(context: Context, namespace: str, found: Object | None) -> list[str]:
    """Return the last log lines of the controller's ready pods, and what explains those that are not ready.

    Without a Service to select them: of all pods in its namespace.
    """
    every = context.cluster.list("Pod", namespace)
    own = pods.matching(every, found["spec"].get("selector") or {}) if found else every
    unhealthy = [pod for pod in own if not pods.healthy(pod) and not pods.terminating(pod)]
    logs = [
        f"{name}: {line}"
        for name in [pod["metadata"]["name"] for pod in own if pods.ready(pod)]
        for line in context.cluster.logs(namespace, name, lines=pods.LOG_LINES).splitlines()
    ]
    return [*logs, *pods.explain_named(context.cluster, unhealthy, [pod["metadata"]["name"] for pod in unhealthy])]


def _on_nodes(existing: Sequence[Endpoint]) -> bool:
    return any(endpoint.node for endpoint in existing)


def _none(context: Context, found: Object | None) -> Finding:
    name = context.site.ingress_controller
    namespace, service_name = step.NAMESPACES[name], step.SERVICES[name]
    why = "does not expose port 80" if found else "does not exist"
    return failed(
        "INGRESS_NO_ENTRANCE",
        "ingress controller",
        f"cannot be reached from outside: its Service {namespace}/{service_name} {why}",
        f"provisioner apply; kubectl -n {namespace} get services,pods",
        *_evidence(context, namespace, service_name, found),
    )


def _no_node_port(context: Context, found: Object) -> Finding:
    namespace, name = found["metadata"]["namespace"], found["metadata"]["name"]
    port = node_port(found)
    if port:
        detail = (
            f"has nodePort {port} but no endpoint: externalTrafficPolicy is Local, and no node in hosts.toml runs a "
            "ready pod of the controller"
        )
        remedy = f"kubectl -n {namespace} get pods -o wide"
    else:
        detail = "has no nodePort for its port 80"
        if found["spec"].get("allocateLoadBalancerNodePorts") is False:
            detail += ": allocateLoadBalancerNodePorts is false"
        patch = '{"spec": {"allocateLoadBalancerNodePorts": true}}'
        remedy = f"kubectl -n {namespace} patch service {name} -p '{patch}'"
    evidence = _evidence(context, namespace, name, found)
    return failed("INGRESS_NO_NODEPORT", object_name(found), detail, remedy, *evidence)


def _no_address(context: Context, found: Object) -> Finding:
    namespace, name = found["metadata"]["namespace"], found["metadata"]["name"]
    kind = found["spec"].get("type")
    if kind == "LoadBalancer":
        detail = "is of type LoadBalancer and has no address"
        remedy = f"kubectl -n {namespace} describe service {name}"
    else:
        detail = f"has no address because it is of type {kind}; with [metallb] in hosts.toml it should be LoadBalancer"
        remedy = "provisioner apply"
    evidence = _evidence(context, namespace, name, found)
    return failed("INGRESS_NO_ADDRESS", object_name(found), detail, remedy, *evidence)


def _evidence(context: Context, namespace: str, name: str, found: Object | None) -> list[str]:
    return [*context.cluster.events(namespace, name)[-pods.EVENTS :], *explain(context, namespace, found)]
