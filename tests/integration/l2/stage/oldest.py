"""A real MetalLB before 0.13, controller and speakers, run as its released ServiceAccounts with its released roles.

Its pools are in the ConfigMap that the product's step writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from provisioner.kube import Cluster, Object
from provisioner.kube.load_balancers import assigned_ips
from provisioner.kube.manifests import load
from provisioner.l2.collect import collector
from provisioner.lab.mirror import manifests
from provisioner.site import Site
from tests.integration.kube.apiserver import programs
from tests.integration.l2.stage import collected
from tests.integration.l2.stage.metallb import MetalLB

RELEASED = {"Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
CONTROLLER = "controller"


def program(name: str) -> str:
    """Return the path of MetalLB 0.12's `metallb` (the speaker) or `controller`; skip without it."""
    return str(programs() / f"{name}-oldest")


def define(cluster: Cluster) -> None:
    """Apply the released manifests, without the workloads that only a kubelet could run."""
    for name in ("namespace.yaml", "metallb.yaml"):
        for item in load(manifests.folder() / "metallb" / "v0.12.1" / name):
            if item["kind"] in RELEASED:
                cluster.apply(item)


@dataclass
class Oldest(MetalLB):
    """Controller and speakers of 0.12.1. site: the product's configuration."""

    cluster: Cluster = field(kw_only=True)
    site: Site = field(kw_only=True)
    version: str = "0.12.1"

    def __post_init__(self) -> None:
        """Leave the namespace to the released manifest."""
        place = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        self.api.create(place, {"metadata": {"name": "default"}})

    def start(self, name: str) -> None:
        """Start a node's speaker."""
        self.network.relay(name, self.api.plane.ports["api"])
        words = (f"--kubeconfig={self._kubeconfig('speaker')}", f"--node-name={name}", *self._common())
        env = self._memberlist(name)
        self.logs[name] = self.network.spawn(f"speaker-{name}", name, program("metallb"), *words, env=env)

    def start_controller(self, name: str) -> None:
        """Start or restart the controller, on a node with a speaker."""
        if CONTROLLER in self.network.programs:
            self.network.kill(CONTROLLER)
        words = (f"--kubeconfig={self._kubeconfig('controller')}", "--port=7473", *self._common())
        self.network.spawn(CONTROLLER, name, program("controller"), *words)

    def _common(self) -> tuple[str, ...]:
        # No controller here creates EndpointSlices from the Endpoints.
        return f"--namespace={self.namespace}", "--disable-epslices"

    def _kubeconfig(self, name: str) -> Path:
        """Return the path of a kubeconfig with a ServiceAccount's token."""
        config: Any = yaml.safe_load(self.api.plane.kubeconfig())
        config["users"][0]["user"] = {"token": self.cluster.token(self.namespace, name, 3600)}
        path = self.network.folder / f"kubeconfig-{name}"
        path.write_text(yaml.safe_dump(config))
        return path

    def pending_service(self, name: str, on: Sequence[str], **annotations: str) -> None:
        """Create a LoadBalancer Service that the controller has to assign an address."""
        place = f"/api/v1/namespaces/{self.course}"
        notes = {f"metallb.universe.tf/{key.replace('_', '-')}": value for key, value in annotations.items()}
        ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
        self.api.create(
            f"{place}/services",
            {"metadata": {"name": name, "annotations": notes}, "spec": {"type": "LoadBalancer", "ports": ports}},
        )
        self.endpoints(name, on)

    def address(self, name: str) -> str:
        """Return a Service's address, "" before it has one."""
        service: Object = self.api.get(f"/api/v1/namespaces/{self.course}/services/{name}")
        return next(iter(assigned_ips(service)), "")

    def collected(self) -> dict[str, Any]:
        """Return the facts as collected by the product, except that the nodes' NICs are read without SSH."""
        found = collector.from_cluster(self.cluster, {}, self.site, metrics=False).model_dump(
            mode="json", by_alias=True
        )
        for node in found["nodes"]:
            node["nics"] = collected.nics(self, node["name"])
        return found
