"""The endpoints of an ingress controller, for the ingress check: its external addresses and its ports on the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from provisioner.addresses import host_port
from provisioner.checks import http_client, pods
from provisioner.checks.check import Context
from provisioner.kube import Object
from provisioner.steps import ingress as step


@dataclass(frozen=True)
class Endpoint:
    """An address that clients connect to. port, tls_port: 0 for none. node: for a NodePort, else ""."""

    address: str
    port: int
    tls_port: int
    node: str = ""

    def __str__(self) -> str:
        """Return it as "192.0.2.200" or "192.0.2.11:30080 (NodePort of worker1)"."""
        return f"{host_port(self.address, self.port)} (NodePort of {self.node})" if self.node else self.address

    def get(self, context: Context, path: str, host: str, *, tls: bool = False) -> http_client.Response:
        """GET a path of a host name through this endpoint."""
        port = self.tls_port if tls else self.port
        return http_client.get(self.address, port, path, host=host, timeout=context.site.timeout(5), tls=tls)


def service(context: Context) -> Object | None:
    """Return the controller's Service, None without one."""
    name = context.site.ingress_controller
    return context.cluster.get("Service", step.SERVICES[name], step.NAMESPACES[name])


def endpoints(context: Context, service: Object | None) -> list[Endpoint]:
    """Return the endpoints of a Service, external addresses first.

    With externalTrafficPolicy Local only the nodes that run the controller accept connections, since no other node may
    replace the client's address.
    """
    if service is None:
        return []
    return [*external(service), *_node_ports(service, _serving_nodes(context, service))]


def external(service: Object) -> list[Endpoint]:
    """Return the endpoints at a Service's external addresses."""
    ports = {int(port["port"]) for port in service["spec"].get("ports") or ()}
    entries = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    if 80 not in ports:
        return []
    return [Endpoint(str(entry["ip"]), 80, 443 if 443 in ports else 0) for entry in entries if entry.get("ip")]


def node_port(service: Object, port: int = 80) -> int:
    """Return the nodePort of a Service's port, 0 without one."""
    node_ports = {int(one["port"]): int(one.get("nodePort") or 0) for one in service["spec"].get("ports") or ()}
    return node_ports.get(port, 0)


def local(service: Object) -> bool:
    """Tell whether only the nodes that run the controller accept connections."""
    return str(service["spec"].get("externalTrafficPolicy", "Cluster")) == "Local"


def controller_pods(context: Context, service: Object) -> list[Object]:
    """Return the ready pods behind the controller's Service."""
    every = context.cluster.list("Pod", service["metadata"]["namespace"])
    return [pod for pod in pods.matching(every, service["spec"].get("selector") or {}) if pods.ready(pod)]


def _node_ports(service: Object, nodes: Mapping[str, str]) -> list[Endpoint]:
    if not node_port(service):
        return []
    return [Endpoint(address, node_port(service), node_port(service, 443), name) for name, address in nodes.items()]


def _serving_nodes(context: Context, service: Object) -> dict[str, str]:
    hosts = {host.name: host.address for host in context.site.hosts}
    if not local(service):
        return hosts
    running = {pod["spec"].get("nodeName") for pod in controller_pods(context, service)}
    return {name: address for name, address in hosts.items() if name in running}
