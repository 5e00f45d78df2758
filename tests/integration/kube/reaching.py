"""Shared by tests against a real control plane: a site, Clusters that connect without SSH, an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from provisioner.errors import Unreachable
from provisioner.kube import Cluster, Object
from provisioner.site import HostSpec, Site
from provisioner.ssh import Host
from provisioner.ssh.command import CommandResult
from tests import hosts_toml
from tests.integration.kube.apiserver import EDITION, ControlPlane

Connect = Callable[..., Cluster]

TAINTS = ["dedicated=storage:NoSchedule"]
HOSTS = f"""
[cluster]
name = "lab"
kubernetes = "{EDITION.kubernetes}"
{hosts_toml.host("master", "192.0.2.10", "control-plane")}
{hosts_toml.host("worker1", "192.0.2.11", "worker", labels={"disk": "ssd"}, taints=TAINTS)}
[metallb]
version = "{EDITION.metallb}"
{hosts_toml.pool("lab", "192.0.2.200-192.0.2.230")}
[ingress]
controller = "haproxy"
[workloads]
enabled = [
    "nodeport", "loadbalancer", "ingress", "hpa", "daemonset", "configmap", "statefulset", "shared-volume",
]
"""


@dataclass
class AdminConf:
    """The parts of Host that Cluster uses: admin.conf and a tunnel. Tests over a real sshd use the real Host."""

    spec: HostSpec
    text: str
    leads_to: Any = None  # what `forward` returns, with address and port; None: unreachable
    tunnels: list[tuple[str, int]] = field(default_factory=list)
    fleet: dict[str, Any] = field(default_factory=dict)
    facts: Any = None

    @property
    def name(self) -> str:
        return self.spec.name

    def run(self, command: str, *, secret: bool = False, **options: Any) -> CommandResult:
        assert command.startswith("cat /etc/kubernetes/admin.conf"), command
        assert secret, "admin.conf contains a key and must not be logged"
        assert not options
        return CommandResult(self.text, "", 0, 0.0)

    def forward(self, address: str, port: int) -> Any:
        self.tunnels.append((address, port))
        if self.leads_to is None:
            raise Unreachable(self.name, "connection refused")
        return self.leads_to


def load(folder: Path) -> Site:
    """Return the site."""
    return hosts_toml.load(folder, HOSTS)


def load_impatient(folder: Path) -> Site:
    """Return the site with a tenth of the timeouts, for tests that time out."""
    return hosts_toml.load(folder, HOSTS.replace("[[hosts]]", "timeout_scale = 0.1\n[[hosts]]", 1))


@contextmanager
def running(folder: Path) -> Iterator[ControlPlane]:
    """Yield a running control plane; folder: for its files."""
    made = ControlPlane(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@contextmanager
def connecting(site: Site) -> Iterator[Connect]:
    """Yield `connect(admin_conf_text, leads_to=None, at=site) -> Cluster`; disconnect them all at the end."""
    made: list[Cluster] = []

    def build(text: str, leads_to: Any = None, at: Site = site) -> Cluster:
        host = AdminConf(at.first, text, leads_to)
        cluster = Cluster(at, {at.first.name: cast(Host, host)})
        made.append(cluster)
        return cluster

    try:
        yield build
    finally:
        for cluster in made:
            cluster.disconnect()


def config_map(name: str, namespace: str, data: dict[str, str], labels: dict[str, str] | None = None) -> Object:
    """Return a ConfigMap."""
    metadata: Object = {"name": name, "namespace": namespace}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
