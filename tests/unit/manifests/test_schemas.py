"""Every object that is ever applied is one that the API servers of the supported minors take.

What the steps would apply, with the real manifests of others where these are at hand, for each of the three current
minors. The oldest minor, 1.20, is a real API server's to judge: tests/integration/kube/test_every_object.py.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner import manifests
from provisioner.catalogue import Download
from provisioner.errors import ProvisionerError
from provisioner.objects import Object
from provisioner.step import Scope
from provisioner.steps import STEPS
from tests.mirror import manifests as upstream
from tests.unit.steps.doubles import RecordingCluster, fleet_for, site_at

from .schemas import problem

MINORS = ("1.35", "1.36", "1.37")
TABLES = {
    "as shipped": "",
    "bridge": "",
    "csi": '[nfs]\nprovisioner = "csi"',
    "haproxy": '[ingress]\ncontroller = "haproxy"',
    "traefik": '[ingress]\ncontroller = "traefik"',
}


def applied(folder: Path, minor: str, table: str) -> list[Object]:
    """Return what an apply from blank would send to the API: each step drained, its applies carried out."""
    lines = f'kubernetes = "{minor}"' + ('\nnetwork = "bridge"' if table == "bridge" else "")
    site = site_at(folder, lines, TABLES[table])
    cluster = RecordingCluster()
    cluster.hold(*(_node(host.name) for host in site.hosts))
    for step in STEPS:
        if step.scope is Scope.CLUSTER and step.enabled(site):
            host = fleet_for(step, site)[site.first.name]
            for change in step.changes(host, cluster, site):  # type: ignore[arg-type]
                if change.summary.startswith("apply "):
                    change.do()
    return cluster.applied


def _node(name: str) -> Object:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}, "status": ready}


@pytest.fixture(scope="module")
def published() -> dict[str, bytes]:
    """Return the manifests of others by SHA-256; skip without them."""
    try:
        folder = upstream.folder()
    except ProvisionerError as error:
        pytest.skip(str(error))
    found = (path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return {hashlib.sha256(content).hexdigest(): content for content in found}


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch, published: dict[str, bytes]) -> None:
    """Have the steps' downloads come from there."""

    def get(site: Any, wanted: Download) -> bytes:
        return published[wanted.sha256]

    monkeypatch.setattr(manifests, "fetch", get)


@pytest.mark.usefixtures("downloads")
@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("table", TABLES)
def test_all_that_an_apply_sends(tmp_path: Path, minor: str, table: str) -> None:
    found = applied(tmp_path, minor, table)
    assert len(found) > 60
    definitions = [item for item in found if item["kind"] == "CustomResourceDefinition"]
    wrong = {f"{item['kind']} {item['metadata']['name']}": problem(item, minor, definitions) for item in found}
    assert {name: said for name, said in wrong.items() if said} == {}


def _misspelt(item: Object) -> None:
    item["spec"]["template"]["spec"]["containers"][0]["imagePullpolicy"] = "Always"


def _mistyped(item: Object) -> None:
    item["spec"]["replicas"] = "3"


def _lacking(item: Object) -> None:
    del item["spec"]["selector"]


def _misplaced(item: Object) -> None:
    item["spec"]["containers"] = item["spec"]["template"]["spec"]["containers"]


MISTAKES: tuple[tuple[Callable[[Object], None], str], ...] = (
    (_misspelt, "imagePullpolicy"),
    (_mistyped, "'3' is not"),
    (_lacking, "'selector' is a required property"),
    (_misplaced, "'containers' was unexpected"),
)


def workload(folder: Path) -> Object:
    from provisioner import site_manifests

    (found,) = (
        item
        for item in site_manifests.read(site_at(folder), "workloads/nodeport.yaml")
        if item["kind"] == "Deployment"
    )
    return found


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize(("mistake", "words"), MISTAKES)
def test_a_wrong_object_is_found(tmp_path: Path, minor: str, mistake: Callable[[Object], None], words: str) -> None:
    item = copy.deepcopy(workload(tmp_path))
    assert problem(item, minor) == ""
    mistake(item)
    assert words in problem(item, minor)


def test_a_kind_that_a_minor_does_not_have_is_found(tmp_path: Path) -> None:
    item = workload(tmp_path) | {"apiVersion": "extensions/v1beta1"}
    assert "Couldn't find schema" in problem(item, "1.37")


@pytest.mark.usefixtures("downloads")
def test_a_wrong_pool_is_found(tmp_path: Path) -> None:
    found = applied(tmp_path, "1.37", "as shipped")
    definitions = [item for item in found if item["kind"] == "CustomResourceDefinition"]
    (pool,) = [item for item in found if item["kind"] == "IPAddressPool"]

    def with_spec(**spec: Any) -> Object:
        return {**pool, "spec": pool["spec"] | spec}

    assert problem(pool, "1.37", definitions) == ""
    assert "is not of type 'array'" in problem(with_spec(addresses="192.0.2.1"), "1.37", definitions)
    assert "autoasign" in problem(with_spec(autoasign=True), "1.37", definitions)


def test_every_minor_has_schemas_of_its_own() -> None:
    """A version that the schemas do not have would be judged by the next lower one."""
    from kubernetes_validate import utils

    assert set(MINORS) <= {utils.major_minor(version) for version in utils.all_versions()}
