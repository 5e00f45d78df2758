"""One real control plane for all tests of this folder, and Clusters that reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from provisioner import site as sites
from provisioner.errors import Unreachable
from provisioner.host import Host, Result
from provisioner.kube import Cluster
from provisioner.site import HostSpec, Site

from .apiserver import ControlPlane

HOSTS = """
[cluster]
name = "lab"
kubernetes = "1.20.2"
[[hosts]]
name = "master"
address = "192.0.2.10"
roles = ["control-plane"]
[[hosts]]
name = "worker1"
address = "192.0.2.11"
roles = ["worker"]
labels = { disk = "ssd" }
taints = ["dedicated=storage:NoSchedule"]
[metallb]
version = "0.13.12"
[[metallb.pools]]
name = "lab"
addresses = ["192.0.2.200-192.0.2.230"]
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

    def run(self, command: str, *, secret: bool = False, **options: Any) -> Result:
        assert command.startswith("cat /etc/kubernetes/admin.conf"), command
        assert secret, "admin.conf holds a key: neither it nor its content belongs into a log"
        assert not options
        return Result(self.text, "", 0, 0.0)

    def forward(self, address: str, port: int) -> Any:
        self.tunnels.append((address, port))
        if self.leads_to is None:
            raise Unreachable(self.name, "connection refused")
        return self.leads_to


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    made = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return the site with a tenth of the patience, for tests in which something never comes."""
    path = tmp_path_factory.mktemp("impatient") / "hosts.toml"
    path.write_text(HOSTS.replace("[[hosts]]", "timeout_scale = 0.1\n[[hosts]]", 1))
    return sites.load(path)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("site") / "hosts.toml"
    path.write_text(HOSTS)
    return sites.load(path)


@pytest.fixture(scope="session")
def connect(site: Site) -> Iterator[Callable[..., Cluster]]:
    """Return `connect(admin_conf_text, leads_to=None, at=site)`, which gives a Cluster."""
    made: list[Cluster] = []

    def build(text: str, leads_to: Any = None, at: Site = site) -> Cluster:
        host = AdminConf(at.first, text, leads_to)
        cluster = Cluster(at, {at.first.name: cast(Host, host)})
        made.append(cluster)
        return cluster

    yield build
    for cluster in made:
        cluster.close()


@pytest.fixture(scope="session")
def cluster(control_plane: ControlPlane, connect: Callable[..., Cluster]) -> Cluster:
    return connect(control_plane.kubeconfig())


@pytest.fixture(scope="session")
def course(cluster: Cluster) -> str:
    """Return a namespace of the tests' own."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "course-api"}})
    return "course-api"


@pytest.fixture
def upstream(site: Site) -> Path:
    """Fill the site's cache with the catalogue's manifests, so that nothing is downloaded; skip without them."""
    import hashlib

    from provisioner.errors import ProvisionerError
    from tests.mirror import manifests

    try:
        folder = manifests.folder()
    except ProvisionerError as error:
        pytest.skip(str(error))
    cache = site.state / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for path in folder.rglob("*.y*ml"):
        content = path.read_bytes()
        (cache / hashlib.sha256(content).hexdigest()).write_bytes(content)
    return folder
