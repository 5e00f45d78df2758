"""One real control plane for all tests of this directory, and Clusters that connect to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.kube import Cluster
from provisioner.site import Site
from tests.integration.kube import reaching
from tests.integration.kube.apiserver import ControlPlane
from tests.integration.kube.reaching import Connect

_number = itertools.count()


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with reaching.running(tmp_path_factory.mktemp("control-plane")) as made:
        yield made


@pytest.fixture(autouse=True)
def _whole(request: pytest.FixtureRequest) -> None:
    """Fail at once, with its last log lines, if a program of the control plane has exited."""
    if "control_plane" in request.fixturenames:
        request.getfixturevalue("control_plane").check()


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return reaching.load_impatient(tmp_path_factory.mktemp("impatient"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return reaching.load(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def connect(site: Site) -> Iterator[Connect]:
    """Return `connect(admin_conf_text, leads_to=None, at=site)`, which returns a Cluster."""
    with reaching.connecting(site) as build:
        yield build


@pytest.fixture(scope="session")
def cluster(control_plane: ControlPlane, connect: Connect) -> Cluster:
    return connect(control_plane.kubeconfig())


@pytest.fixture(scope="session")
def course(cluster: Cluster) -> str:
    """Return a namespace for tests."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "course-api"}})
    return "course-api"


@pytest.fixture
def name() -> str:
    """Return a unique name."""
    return f"thing-{next(_number)}"


@pytest.fixture
def upstream(site: Site) -> Path:
    """Fill the site's cache with upstream's manifests, so that nothing is downloaded; skip without them."""
    import hashlib

    from provisioner.errors import ProvisionerError
    from provisioner.lab.mirror import manifests

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
