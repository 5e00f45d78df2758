"""What tests against a real control plane share: a site, Clusters that reach it with no SSH between, an object."""

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
    """A Host as far as Cluster uses one: it holds admin.conf, and leads a tunnel somewhere.

    The real Host is exercised over a real sshd elsewhere; here the API server is what has to be real.
    """

    spec: HostSpec
    text: str
    leads_to: Any = None  # what `forward` gives: something with address and port; None: out of reach
    tunnels: list[tuple[str, int]] = field(default_factory=list)
    fleet: dict[str, Any] = field(default_factory=dict)
    facts: Any = None

    @property
    def name(self) -> str:
        return self.spec.name

    def run(self, command: str, *, secret: bool = False, **options: Any) -> CommandResult:
        assert command.startswith("cat /etc/kubernetes/admin.conf"), command
        assert secret, "admin.conf holds a key: neither it nor its content belongs into a log"
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
    """Return the site with a tenth of the patience, for tests in which something never comes."""
    return hosts_toml.load(folder, HOSTS.replace("[[hosts]]", "timeout_scale = 0.1\n[[hosts]]", 1))


@contextmanager
def running(folder: Path) -> Iterator[ControlPlane]:
    """Give a control plane that runs; folder: for its files."""
    made = ControlPlane(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@contextmanager
def connecting(site: Site) -> Iterator[Connect]:
    """Give `connect(admin_conf_text, leads_to=None, at=site)`, which gives a Cluster; close them all at the end."""
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
            cluster.close()


def config_map(name: str, namespace: str, data: dict[str, str], labels: dict[str, str] | None = None) -> Object:
    """Return a ConfigMap."""
    metadata: Object = {"name": name, "namespace": namespace}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
