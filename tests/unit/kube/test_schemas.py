"""Every object that apply sends is valid for the API servers of the supported minors.

For each of the three current minors this covers our own objects and, if their manifests are available, upstream's as
the steps adapt them. kubernetes-validate has no schemas for the oldest minor, 1.20: a real API server checks those in
tests/integration/kube/test_every_object.py, which is skipped without the mirror's programs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.catalogue import Download, release
from provisioner.engine import Scope
from provisioner.kube import Object, manifests, templates
from provisioner.steps import STEPS, pools
from tests.unit.fake_cluster import FakeCluster
from tests.unit.kube.schemas import METALLB_DEFINITIONS, problem
from tests.unit.steps.doubles import HOSTS, POOL, fleet_for, site_at

ROOT = Path(__file__).parents[3]
MINORS = ("1.35", "1.36", "1.37")
TABLES = {
    "as shipped": "",
    "bridge": "",
    "csi": '[nfs]\nprovisioner = "csi"',
    "haproxy": '[ingress]\ncontroller = "haproxy"',
    "traefik": '[ingress]\ncontroller = "traefik"',
}


def applied(folder: Path, minor: str, table: str) -> list[Object]:
    """Return the objects that apply sends to an empty cluster."""
    lines = f'kubernetes = "{minor}"' + ('\nnetwork = "bridge"' if table == "bridge" else "")
    site = site_at(folder, lines, TABLES[table])
    cluster = FakeCluster()
    cluster.hold(*(_node(host.name) for host in site.hosts))
    for step in STEPS:
        # kubeadm's own objects are rendered by a real kubeadm, which no host has here.
        ours = step.scope is Scope.CLUSTER and not step.reads_only and step.name != "kubeadm-objects"
        if ours and step.enabled(site):
            host = fleet_for(step, site)[site.first.name]
            for change in step.changes(host, cluster, site):  # type: ignore[arg-type]
                if not change.summary.startswith(("wait ", "taint ")):  # nothing runs here; a taint is not an object
                    change.do()
    return cluster.applied


def _node(name: str) -> Object:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}, "status": ready}


def wrong(items: list[Object], minor: str, definitions: list[Object]) -> dict[str, str]:
    """Return what is wrong with each invalid object."""
    said = {f"{item['kind']} {item['metadata']['name']}": problem(item, minor, definitions) for item in items}
    return {name: text for name, text in said.items() if text}


# --- our own ------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every download empty, so that only our own objects remain."""
    monkeypatch.setattr(manifests, "fetch", lambda site, wanted: b"")


@pytest.mark.usefixtures("nothing_released")
@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("table", TABLES)
def test_our_own_objects_are_valid(tmp_path: Path, minor: str, table: str) -> None:
    found = applied(tmp_path, minor, table)
    names = {(item["kind"], item["metadata"]["name"]) for item in found}
    assert names >= {
        ("Secret", "memberlist"),
        ("Secret", "course-tls"),
        ("ConfigMap", "provisioner-workloads"),
        ("IPAddressPool", "lab"),
        ("StatefulSet", "ss-pods"),
    }
    assert wrong(found, minor, METALLB_DEFINITIONS) == {}


@pytest.mark.usefixtures("nothing_released")
def test_the_tables_cover_every_shipped_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[Path] = set()
    find = templates.find

    def noted(*where: Any) -> Path:
        read.add(find(*where))
        return find(*where)

    monkeypatch.setattr(templates, "find", noted)
    for table in TABLES:
        applied(tmp_path, MINORS[-1], table)
    read |= {ROOT / "metallb/config.yaml"}  # below
    assert read == {path for folder in ("workloads", "nfs", "metallb", "ingress") for path in ROOT.glob(f"{folder}/*")}


@pytest.mark.parametrize("minor", MINORS)
def test_the_pools_of_an_old_metallb_are_valid(tmp_path: Path, minor: str) -> None:
    """0.12 needs a Kubernetes before 1.25, but its ConfigMap is valid for every minor."""
    hosts = f'{HOSTS}[metallb]\nversion = "0.12.1"\n{POOL}'
    (config,) = pools.wanted(site_at(tmp_path, 'kubernetes = "1.24"', hosts=hosts))
    assert wrong([config], minor, []) == {}
    assert "is not" in problem(config | {"data": {"config": ["lab"]}}, minor)


# --- upstream's manifests -----------------------------------------------------------------------------------------


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch, published: dict[str, bytes]) -> None:
    """Make the steps download from there."""

    def get(site: Any, wanted: Download) -> bytes:
        return published[wanted.sha256]

    monkeypatch.setattr(manifests, "fetch", get)


@pytest.mark.usefixtures("downloads")
@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("table", TABLES)
def test_all_objects_of_an_apply_are_valid(tmp_path: Path, minor: str, table: str) -> None:
    found = applied(tmp_path, minor, table)
    assert len(found) > 60
    assert wrong(found, minor, [item for item in found if item["kind"] == "CustomResourceDefinition"]) == {}


@pytest.mark.parametrize("version", ["0.13.12", "0.16.1"])
def test_our_pool_definitions_agree_with_metallbs(published: dict[str, bytes], version: str) -> None:
    (download,) = release("metallb", "1.37", version).manifests
    found = {item["metadata"]["name"]: item for item in manifests.load(published[download.sha256].decode())}
    for own in METALLB_DEFINITIONS:
        theirs = found[own["metadata"]["name"]]
        assert own["spec"]["names"]["kind"] == theirs["spec"]["names"]["kind"]
        (mine, their) = (_spec_of(item) for item in (own, theirs))
        assert mine.get("required") == their.get("required")
        for name, schema in mine["properties"].items():
            assert _types(schema) == _types(their["properties"][name]), name


def _spec_of(definition: Object) -> Object:
    (served,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1beta1"]
    spec: Object = served["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def _types(schema: Object) -> tuple[str, str]:
    return schema["type"], schema.get("items", {}).get("type", "")


# --- mistakes ------------------------------------------------------------------------------------------------------


def _misspelled(item: Object) -> None:
    item["spec"]["template"]["spec"]["containers"][0]["imagePullpolicy"] = "Always"


def _mistyped(item: Object) -> None:
    item["spec"]["replicas"] = "3"


def _lacking(item: Object) -> None:
    del item["spec"]["selector"]


def _misplaced(item: Object) -> None:
    item["spec"]["containers"] = item["spec"]["template"]["spec"]["containers"]


MISTAKES: tuple[tuple[Callable[[Object], None], str], ...] = (
    (_misspelled, "imagePullpolicy"),
    (_mistyped, "'3' is not"),
    (_lacking, "'selector' is a required property"),
    (_misplaced, "'containers' was unexpected"),
)


def workload(folder: Path) -> Object:
    (found,) = (
        item for item in templates.read(site_at(folder), "workloads/nodeport.yaml") if item["kind"] == "Deployment"
    )
    return found


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize(("mistake", "words"), MISTAKES)
def test_a_wrong_object_is_found(tmp_path: Path, minor: str, mistake: Callable[[Object], None], words: str) -> None:
    item = copy.deepcopy(workload(tmp_path))
    assert problem(item, minor) == ""
    mistake(item)
    assert words in problem(item, minor)


def test_a_kind_that_a_minor_lacks_is_found(tmp_path: Path) -> None:
    item = workload(tmp_path) | {"apiVersion": "extensions/v1beta1"}
    assert "Couldn't find schema" in problem(item, "1.37")


def test_a_wrong_pool_is_found(tmp_path: Path) -> None:
    pool, _ = pools.wanted(site_at(tmp_path, 'kubernetes = "1.37"'))

    def with_spec(**spec: Any) -> Object:
        return {**pool, "spec": pool["spec"] | spec}

    assert problem(pool, "1.37", METALLB_DEFINITIONS) == ""
    assert "is not of type 'array'" in problem(with_spec(addresses="192.0.2.1"), "1.37", METALLB_DEFINITIONS)
    assert "autoasign" in problem(with_spec(autoasign=True), "1.37", METALLB_DEFINITIONS)


def test_every_minor_has_schemas() -> None:
    """For an unknown version, the schemas of the next lower one would be used."""
    from kubernetes_validate import utils

    assert set(MINORS) <= {utils.major_minor(version) for version in utils.all_versions()}
