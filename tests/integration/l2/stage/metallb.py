"""Real MetalLB speakers, one in each node's namespace, against a real API server with their objects.

Several MetalLBs share the API server, each with its own configuration namespace. That separates them like clusters,
since a speaker announces only addresses of its own pools.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import manifests
from tests.integration.kube.apiserver import ControlPlane, programs
from tests.integration.l2.stage.network import SERVED, StageNetwork, until

VERSION = "0.13.12"
LABELS = {"app": "metallb", "component": "speaker"}


def speaker() -> str:
    """Return the path of the real speaker, built by the mirror; skip without it."""
    return str(programs() / "metallb-speaker")


def definitions() -> list[dict[str, Any]]:
    """Return MetalLB's CRDs, from its manifest; skip without it."""
    try:
        folder = manifests.folder()
    except ProvisionerError as error:
        pytest.skip(str(error))
    (manifest,) = (
        path
        for path in folder.rglob("*.yaml")
        if "metallb" in path.name and f"controller:v{VERSION}" in path.read_text()
    )
    documents = yaml.safe_load_all(manifest.read_text())
    return [document for document in documents if document and document["kind"] == "CustomResourceDefinition"]


def leader(ip: str, candidates: Sequence[str]) -> str:
    """Return the winner of an address's election, computed independently of the product."""
    return min(candidates, key=lambda node: hashlib.sha256(f"{node}#{ip}".encode()).digest())


@dataclass
class Api:
    """The API server, bypassing the product: objects are created as by kubectl and controllers."""

    plane: ControlPlane

    def create(self, path: str, body: dict[str, Any], status: dict[str, Any] | None = None) -> None:
        """Create an object in the collection at `path`, and set its status."""
        answered, text = self.plane.ask("POST", path, body)
        assert answered == 201, text
        if status is not None:
            self.patch(f"{path}/{body['metadata']['name']}/status", {"status": status})

    def patch(self, path: str, body: dict[str, Any]) -> None:
        """Patch an object."""
        answered, text = self.plane.ask("PATCH", path, body, content="application/merge-patch+json")
        assert answered == 200, text

    def get(self, path: str) -> Any:
        """Return an object or a list."""
        answered, found = self.plane.ask("GET", path)
        assert answered == 200, found
        return found

    def define(self) -> None:
        """Create MetalLB's CRDs."""
        for document in definitions():
            self.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document)
        until(self._served, "MetalLB's resources to be served")

    def _served(self) -> bool:
        kinds = ("ipaddresspools", "l2advertisements")
        return all(self.plane.ask("GET", f"/apis/metallb.io/v1beta1/{kind}")[0] == 200 for kind in kinds)


@dataclass
class MetalLB:
    """One MetalLB: its namespace, nodes and speakers."""

    api: Api
    network: StageNetwork
    namespace: str
    memberlist: bool = True
    course: str = "default"  # the namespace of its Services
    version: str = VERSION
    nodes: dict[str, str] = field(default_factory=dict)  # name -> address
    logs: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api.create("/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        # The controller manager would create it, and pod admission requires it.
        self.api.create(f"/api/v1/namespaces/{self.namespace}/serviceaccounts", {"metadata": {"name": "default"}})
        if self.course != "default":
            self.api.create("/api/v1/namespaces", {"metadata": {"name": self.course}})

    def node(self, name: str, address: str, labels: dict[str, str] | None = None, *, ready: bool = True) -> None:
        """Register a node and its speaker's pod."""
        self.nodes[name] = address
        marks = {"kubernetes.io/hostname": name, **(labels or {})}
        conditions = [{"type": "Ready", "status": "True" if ready else "Unknown"}]
        addresses = [{"type": "InternalIP", "address": address}]
        self.api.create(
            "/api/v1/nodes",
            {"metadata": {"name": name, "labels": marks}},
            {"conditions": conditions, "addresses": addresses},
        )
        env = [{"name": name, "value": value} for name, value in self._memberlist(name).items()]
        self.api.create(
            f"/api/v1/namespaces/{self.namespace}/pods",
            {
                "metadata": {"name": f"speaker-{name}", "labels": LABELS},
                "spec": {
                    "nodeName": name,
                    "automountServiceAccountToken": False,
                    "containers": [
                        {"name": "speaker", "image": f"quay.io/metallb/speaker:v{self.version}", "env": env}
                    ],
                },
            },
        )
        self.set_pod_ready(name, ready=ready)

    def set_pod_ready(self, name: str, *, ready: bool) -> None:
        """Set the pod's status as its kubelet would."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/speaker-{name}/status"
        state: dict[str, Any] = {"running": {}} if ready else {"waiting": {"reason": "CrashLoopBackOff"}}
        conditions = [{"type": kind, "status": str(ready)} for kind in ("Ready", "ContainersReady")]
        container = {"name": "speaker", "ready": ready, "restartCount": 0, "image": "", "imageID": "", "state": state}
        ips = {"hostIP": self.nodes[name], "podIP": self.nodes[name], "podIPs": [{"ip": self.nodes[name]}]}
        status = {"phase": "Running", "conditions": conditions, "containerStatuses": [container], **ips}
        self.api.patch(path, {"status": status})

    def pool(self, name: str, *addresses: str, **spec: Any) -> None:
        """Create an IPAddressPool."""
        self._resource("ipaddresspools", "IPAddressPool", name, {"addresses": [*addresses], **spec})

    def advertise(self, name: str, **spec: Any) -> None:
        """Create an L2Advertisement."""
        self._resource("l2advertisements", "L2Advertisement", name, spec)

    def service(
        self,
        name: str,
        *ips: str,
        on: Sequence[str] = (),
        port: int = 80,
        notes: dict[str, str] | None = None,
        **spec: Any,
    ) -> None:
        """Create a LoadBalancer Service with addresses and a ready endpoint on each node of `on`."""
        place = f"/api/v1/namespaces/{self.course}"
        ports = [{"name": "http", "port": port, "protocol": "TCP"}]
        self.api.create(
            f"{place}/services",
            {
                "metadata": {"name": name, "annotations": notes or {}},
                "spec": {"type": "LoadBalancer", "ports": ports, **spec},
            },
            {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}},
        )
        self.endpoints(name, on)

    def endpoints(self, name: str, on: Sequence[str]) -> None:
        """Create a Service's endpoints, a ready one on each node of `on`."""
        pods = [{"ip": f"10.244.{number}.2", "nodeName": node} for number, node in enumerate(on, start=1)]
        subsets = [{"addresses": pods, "ports": [{"name": "http", "port": SERVED, "protocol": "TCP"}]}] if pods else []
        place = f"/api/v1/namespaces/{self.course}"
        self.api.create(f"{place}/endpoints", {"metadata": {"name": name}, "subsets": subsets})

    def _resource(self, plural: str, kind: str, name: str, spec: dict[str, Any]) -> None:
        body = {"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.api.create(f"/apis/metallb.io/v1beta1/namespaces/{self.namespace}/{plural}", body)

    def start(self, name: str) -> None:
        """Start a node's speaker; its announcements follow."""
        kubeconfig = self.network.folder / "kubeconfig"
        if not kubeconfig.exists():
            kubeconfig.write_text(self.api.plane.kubeconfig())
        env = {"GOMAXPROCS": "1", **self._memberlist(name)}
        self.network.relay(name, self.api.plane.ports["api"])
        self.logs[name] = self.network.spawn(
            f"speaker-{name}",
            name,
            speaker(),
            f"--kubeconfig={kubeconfig}",
            f"--node-name={name}",
            f"--namespace={self.namespace}",
            "--log-level=info",
            env=env,
        )

    def _memberlist(self, name: str) -> dict[str, str]:
        """Return a speaker's environment for memberlist, empty if it is off."""
        labels = ",".join(f"{key}={value}" for key, value in LABELS.items())
        return {"METALLB_ML_BIND_ADDR": self.nodes[name], "METALLB_ML_LABELS": labels} if self.memberlist else {}

    def log_lines(self, name: str, *words: str) -> int:
        """Count the lines of a speaker's log with all these words."""
        lines = self.logs[name].read_text(errors="replace").splitlines()
        return sum(all(word in line for word in words) for line in lines)

    def wait_for(self, name: str, word: str, times: int = 1) -> None:
        """Wait until a speaker has logged a word this many times."""
        until(lambda: self.log_lines(name, word) >= times, f"the speaker of {name} to log {word}")

    def announcers(self, ip: str) -> set[str]:
        """Return the nodes whose speakers, by their logs, are announcing an address."""
        return {name for name in self.logs if self._last_event(name, ip) == "serviceAnnounced"}

    def _last_event(self, name: str, ip: str) -> str:
        word = ""
        for line in self.logs[name].read_text(errors="replace").splitlines():
            if f'"{ip}"' in line and '"event":"service' in line:
                word = json.loads(line)["event"]
        return word

    def hang(self, name: str) -> None:
        """Suspend a speaker: the process exists, but does nothing."""
        self.network.programs[f"speaker-{name}"].send_signal(signal.SIGSTOP)

    def metrics(self, name: str) -> dict[str, dict[str, int]]:
        """Scrape a speaker's counters: ip -> requests_received, responses_sent, gratuitous_sent."""
        found: dict[str, dict[str, int]] = {}
        for line in self._scrape(name).splitlines():
            if line.startswith("metallb_layer2_"):
                key, _, value = line.removeprefix("metallb_layer2_").rpartition(" ")
                counter, _, label = key.partition("{")
                ip = label.split('"')[1]
                found.setdefault(ip, {})[counter] = int(float(value))
        return found

    def _scrape(self, name: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", 7472, timeout=10)
        connection.sock = self.network.socket_in(name, lambda: socket.create_connection(("127.0.0.1", 7472), 10))
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
