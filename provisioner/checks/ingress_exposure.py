"""Whether an ingress controller has the ways in that a site should have, and what explains it where it has not."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.checks import pods
from provisioner.checks.check import Context, Finding, failed, wait_for
from provisioner.checks.ingress_endpoints import Endpoint, endpoints, external, node_port, service
from provisioner.kube import Object
from provisioner.kube.objects import object_name
from provisioner.steps import ingress as step


def wait_exposed(context: Context) -> tuple[Object | None, list[Endpoint]]:
    """Return the controller's Service and its doors, once all that can still come are there, or what is by then."""

    def look() -> tuple[Object | None, list[Endpoint]]:
        found = service(context)
        return found, endpoints(context, found)

    return wait_for(
        context, "the ways into the ingress controller", look, lambda seen: _there(context, *seen), timeout=60
    )


def _there(context: Context, found: Object | None, ways: list[Endpoint]) -> bool:
    """Tell whether nothing may still come by itself: an address, or a ready pod where only its node answers."""
    if found is None:
        return False
    if context.site.metallb.enabled and found["spec"].get("type") == "LoadBalancer" and not external(found):
        return False
    return _on_nodes(ways) or not node_port(found)


def missing(context: Context, found: Object | None, ways: list[Endpoint]) -> Iterator[Finding]:
    """Yield a finding for each kind of door that should be there and is not.

    A port on the nodes there is always; an address where MetalLB, which gives it, is enabled.
    """
    if found is None or not (node_port(found) or external(found)):
        yield _none(context, found)
        return
    if not _on_nodes(ways):
        yield _no_node_port(context, found)
    if context.site.metallb.enabled and not external(found):
        yield _no_address(context, found)


def explain(context: Context, namespace: str, found: Object | None) -> list[str]:
    """Return the last log lines of the controller's ready pods, and what explains those that are not ready.

    Without a Service to say which pods these are: all of its namespace.
    """
    everyone = context.cluster.list("Pod", namespace)
    own = pods.matching(everyone, found["spec"].get("selector") or {}) if found else everyone
    ill = [pod for pod in own if not pods.healthy(pod) and not pods.terminating(pod)]
    logs = [
        f"{name}: {line}"
        for name in [pod["metadata"]["name"] for pod in own if pods.ready(pod)]
        for line in context.cluster.logs(namespace, name, lines=pods.LOG_LINES).splitlines()
    ]
    return [*logs, *pods.explain_named(context.cluster, ill, [pod["metadata"]["name"] for pod in ill])]


def _on_nodes(ways: list[Endpoint]) -> bool:
    return any(door.node for door in ways)


def _none(context: Context, found: Object | None) -> Finding:
    name = context.site.ingress_controller
    namespace, service_name = step.NAMESPACES[name], step.SERVICES[name]
    said = "has no port 80 that can be reached from outside" if found else "does not exist"
    return failed(
        "INGRESS_NO_ENTRANCE",
        "ingress controller",
        f"has no way in from outside: its Service {namespace}/{service_name} {said}",
        f"provisioner apply; kubectl -n {namespace} get services,pods",
        *_about(context, namespace, service_name, found),
    )


def _no_node_port(context: Context, found: Object) -> Finding:
    namespace, name = found["metadata"]["namespace"], found["metadata"]["name"]
    port = node_port(found)
    if port:
        said = (
            f"has port {port} on the nodes and nobody behind it: externalTrafficPolicy is Local, and no node of "
            "hosts.toml runs a ready pod of the controller"
        )
        remedy = f"kubectl -n {namespace} get pods -o wide"
    else:
        said = "has no port on the nodes for its port 80"
        if found["spec"].get("allocateLoadBalancerNodePorts") is False:
            said += ": allocateLoadBalancerNodePorts is false"
        patch = '{"spec": {"allocateLoadBalancerNodePorts": true}}'
        remedy = f"kubectl -n {namespace} patch service {name} -p '{patch}'"
    return failed("INGRESS_NO_NODEPORT", _subject(found), said, remedy, *_about(context, namespace, name, found))


def _no_address(context: Context, found: Object) -> Finding:
    namespace, name = found["metadata"]["namespace"], found["metadata"]["name"]
    kind = found["spec"].get("type")
    if kind == "LoadBalancer":
        said, remedy = "is of type LoadBalancer and has no address", f"kubectl -n {namespace} describe service {name}"
    else:
        said = f"is of type {kind} and has no address, though hosts.toml enables [metallb]: type LoadBalancer has one"
        remedy = "provisioner apply"
    return failed("INGRESS_NO_ADDRESS", _subject(found), said, remedy, *_about(context, namespace, name, found))


def _subject(found: Object) -> str:
    return object_name(found)


def _about(context: Context, namespace: str, name: str, found: Object | None) -> list[str]:
    return [*context.cluster.events(namespace, name)[-pods.EVENTS :], *explain(context, namespace, found)]
