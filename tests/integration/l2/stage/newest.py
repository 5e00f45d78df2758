"""A real MetalLB of a current release, run as its released ServiceAccount with its released roles.

Its speaker needs EndpointSlices of discovery.k8s.io/v1, which this API server (before 1.21) lacks; they are custom
resources here. Everything else is real.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import yaml

from provisioner.kube import Cluster, Object
from provisioner.l2.collect import collector
from provisioner.ssh import Host
from tests.integration.kube.apiserver import programs
from tests.integration.l2.collect.cluster import plain, released
from tests.integration.l2.stage.metallb import MetalLB
from tests.integration.l2.stage.network import SERVED, StageNetwork, pump

OLD_SLICES = "discovery.k8s.io/v1beta1"  # served by this API server; the group must be free for the custom resource
RELEASED = {
    *("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"),
    "CustomResourceDefinition",
}
SLICES: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "endpointslices.discovery.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, experimental-only"},
    },
    "spec": {
        "group": "discovery.k8s.io",
        "scope": "Namespaced",
        "names": {"kind": "EndpointSlice", "listKind": "EndpointSliceList", "plural": "endpointslices"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def speaker() -> str:
    """Return the path of the real speaker; skip without it."""
    return str(programs() / "metallb-newest")


def define(cluster: Cluster) -> None:
    """Apply the released manifest's objects for speakers, and wait until all kinds are served."""
    wanted = {"endpointslices"}
    for item in released("v0.16.1"):
        if item["kind"] in RELEASED:
            cluster.apply(plain(item))
        if item["kind"] == "CustomResourceDefinition":
            wanted.add(item["spec"]["names"]["plural"])
    cluster.apply(SLICES)
    cluster.wait("MetalLB's kinds and EndpointSlices to be served", lambda: _served(cluster) >= wanted, 60)


def _served(cluster: Cluster) -> set[str]:
    versions = [
        version["groupVersion"]
        for group in cluster.raw("/apis")["groups"]
        for version in group["versions"]
        if group["name"] in ("metallb.io", "discovery.k8s.io")
    ]
    return {kind["name"] for version in versions for kind in cluster.raw(f"/apis/{version}")["resources"]}


@dataclass
class Newest(MetalLB):
    """Speakers of 0.16.1, without memberlist, each with its pod."""

    memberlist: bool = False
    version: str = "0.16.1"
    directory: Path = field(default_factory=Path)  # of their kubeconfig

    def start(self, name: str) -> None:
        """Start a node's speaker."""
        self.network.relay(name, self.api.plane.ports["api"])
        self.logs[name] = self.network.spawn(
            f"speaker-{name}",
            name,
            speaker(),
            f"--kubeconfig={self.directory / 'kubeconfig'}",
            f"--node-name={name}",
            f"--pod-name=speaker-{name}",
            f"--namespace={self.namespace}",
            env={"GOMAXPROCS": "1"},
        )

    def authenticate(self, token: str | None) -> None:
        """Write the kubeconfig for the speakers' ServiceAccount."""
        assert token, "no ServiceAccount for the speakers"
        config = yaml.safe_load(self.api.plane.kubeconfig())
        config["users"][0]["user"] = {"token": token}
        (self.directory / "kubeconfig").write_text(yaml.safe_dump(config))

    def endpoints(self, name: str, on: Sequence[str]) -> None:
        """Create a Service's endpoints, and an EndpointSlice with the same."""
        super().endpoints(name, on)
        slices = [
            {"addresses": [f"10.244.{number}.2"], "nodeName": node, "conditions": {"ready": True, "serving": True}}
            for number, node in enumerate(on, start=1)
        ]
        self.api.create(
            f"/apis/discovery.k8s.io/v1/namespaces/{self.course}/endpointslices",
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": SERVED, "protocol": "TCP"}],
                "endpoints": slices,
            },
        )

    def hosts(self) -> dict[str, Host]:
        """Return hosts whose tunnels lead into the nodes' namespaces; SSH itself is tested elsewhere."""
        return {name: cast(Host, _FakeHost(self.network, name, address)) for name, address in self.nodes.items()}

    def counters(self, cluster: Cluster, notes: list[str]) -> dict[str, Any] | None:
        """Return the speakers' counters as read by the product, in the form of a facts file."""
        found = collector.metrics(cluster, self.hosts(), notes.append)
        if found is None:
            return None
        return {node: {ip: one.model_dump() for ip, one in own.items()} for node, own in found.items()}


class _FakeHost:
    def __init__(self, network: StageNetwork, name: str, address: str) -> None:
        self.network, self.name, self.spec = network, name, SimpleNamespace(address=address)

    @contextmanager
    def tunnel(self, address: str, port: int) -> Iterator[SimpleNamespace]:
        with closing(socket.create_server(("127.0.0.1", 0))) as listening:
            threading.Thread(target=self._carry, args=(listening, address, port), daemon=True).start()
            yield SimpleNamespace(address="127.0.0.1", port=listening.getsockname()[1])

    def _carry(self, listening: socket.socket, address: str, port: int) -> None:
        here, _ = listening.accept()
        there = self.network.socket_in(self.name, lambda: socket.create_connection((address, port), 10))
        for one, other in ((here, there), (there, here)):
            threading.Thread(target=pump, args=(one, other), daemon=True).start()
