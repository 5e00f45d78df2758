"""The ways into an ingress controller from outside: its external addresses, and its ports on the nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provisioner.addresses import host_port
from provisioner.checks import http_client, pods
from provisioner.checks.check import Context
from provisioner.kube import Object
from provisioner.steps import ingress as step
from provisioner.text import join_words


@dataclass(frozen=True)
class Endpoint:
    """One way in. port, tls_port: 0 where there is none. node: whose port it is, "" for an external address."""

    address: str
    port: int
    tls_port: int
    node: str = ""

    def __str__(self) -> str:
        """Return how people name it, as "192.0.2.200" or "192.0.2.11:30080 (NodePort of worker1)"."""
        return f"{host_port(self.address, self.port)} (NodePort of {self.node})" if self.node else self.address

    def ask(self, context: Context, path: str, host: str, *, tls: bool = False) -> http_client.Response:
        """GET a path of a host name through this door."""
        port = self.tls_port if tls else self.port
        return http_client.get(self.address, port, path, host=host, timeout=context.site.timeout(5), tls=tls)


def service(context: Context) -> Object | None:
    """Return the controller's Service."""
    name = context.site.ingress_controller
    return context.cluster.get("Service", step.SERVICES[name], step.NAMESPACES[name])


def endpoints(context: Context, found: Object | None) -> list[Endpoint]:
    """Return the doors that a Service opens, external addresses first.

    With externalTrafficPolicy Local only the nodes that run the controller answer on their ports; the others drop
    what comes, so that nobody's address has to be rewritten on the way.
    """
    if found is None:
        return []
    return [*external(found), *_node_ports(found, _answering(context, found))]


def external(found: Object) -> list[Endpoint]:
    """Return the doors at a Service's external addresses."""
    numbers = {int(port["port"]) for port in found["spec"].get("ports") or ()}
    entries = found.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    if 80 not in numbers:
        return []
    return [Endpoint(str(entry["ip"]), 80, 443 if 443 in numbers else 0) for entry in entries if entry.get("ip")]


def node_port(found: Object, number: int = 80) -> int:
    """Return the port that leads to a Service's port on every node, 0 where there is none."""
    given = {int(port["port"]): int(port.get("nodePort") or 0) for port in found["spec"].get("ports") or ()}
    return given.get(number, 0)


def local(found: Object) -> bool:
    """Tell whether only the nodes that run the controller take its connections."""
    return str(found["spec"].get("externalTrafficPolicy", "Cluster")) == "Local"


def named(some: Sequence[Endpoint]) -> str:
    """Return doors as people list them."""
    return join_words(some)


def controller_pods(context: Context, found: Object) -> list[Object]:
    """Return the ready pods behind the controller's Service."""
    everyone = context.cluster.list("Pod", found["metadata"]["namespace"])
    return [pod for pod in pods.matching(everyone, found["spec"].get("selector") or {}) if pods.ready(pod)]


def _node_ports(found: Object, nodes: Mapping[str, str]) -> list[Endpoint]:
    if not node_port(found):
        return []
    return [Endpoint(address, node_port(found), node_port(found, 443), name) for name, address in nodes.items()]


def _answering(context: Context, found: Object) -> dict[str, str]:
    hosts = {host.name: host.address for host in context.site.hosts}
    if not local(found):
        return hosts
    running = {pod["spec"].get("nodeName") for pod in controller_pods(context, found)}
    return {name: address for name, address in hosts.items() if name in running}
