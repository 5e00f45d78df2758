"""Objects that do not come from a plan are valid, too: those that checks create, and the token of a join."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import freed, hardening, nodeport, retained, storage
from provisioner.kube import Object
from provisioner.site import Site
from provisioner.steps import workloads
from provisioner.steps.join import token_secret
from tests.unit.checks.contexts import context
from tests.unit.checks.volumes import ClaimingCluster
from tests.unit.fake_cluster import FakeCluster
from tests.unit.kube.schemas import problem
from tests.unit.kube.test_schemas import MINORS, ROOT
from tests.unit.steps.doubles import site_at


def shipped(site: Site, workload: str, kind: str) -> Object:
    return next(item for item in workloads.wanted(site, workload) if item["kind"] == kind)


def nodeports(folder: Path, site: Site) -> list[Object]:
    service = shipped(site, "nodeport", "Service")
    cluster = FakeCluster()
    nodeport._duplicate(context(folder, cluster), service)
    return cluster.applied


def too_large(folder: Path, site: Site) -> list[Object]:
    spec = {"storageClassName": "nfs", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"]}
    free = {"metadata": {"name": "nfs-01"}, "spec": spec, "status": {"phase": "Available"}}
    cluster = ClaimingCluster({"apiVersion": "v1", "kind": "PersistentVolume"} | free)
    storage._too_large(context(folder, cluster))
    return cluster.applied


def freed_addresses(folder: Path, site: Site) -> list[Object]:
    model = shipped(site, "loadbalancer", "Service")
    return [freed.service(model, freed.NAMES[0]), freed.service(model, freed.NAMES[1], "192.0.2.1")]


def retained_data(folder: Path, site: Site) -> list[Object]:
    return retained.objects(site, shipped(site, "shared-volume", "Deployment"))


def hardening_objects(folder: Path, site: Site) -> list[Object]:
    return [hardening.secret("verify-1", "t"), hardening.fresh_namespace("verify-1"), hardening.privileged_pod("a")]


CHECKS: dict[str, Callable[[Path, Site], list[Object]]] = {
    "nodeport": nodeports,
    "storage": too_large,
    "freed": freed_addresses,
    "retained": retained_data,
    "hardening": hardening_objects,
}


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("check", CHECKS)
def test_objects_of_a_check_are_valid(tmp_path: Path, check: str, minor: str) -> None:
    made = CHECKS[check](tmp_path, site_at(tmp_path, f'kubernetes = "{minor}"'))
    assert made
    assert [problem(item, minor) for item in made] == [""] * len(made)


def test_no_other_check_creates_objects() -> None:
    folder = ROOT / "provisioner/checks"
    assert {path.stem for path in folder.glob("*.py") if "cluster.apply(" in path.read_text()} == {*CHECKS}


@pytest.mark.parametrize("minor", MINORS)
def test_the_token_of_a_join_is_valid(minor: str) -> None:
    secret: dict[str, Any] = token_secret("abcdef.0123456789abcdef", 900)
    assert problem(secret, minor) == ""
    assert "is not" in problem(secret | {"stringData": {"expiration": 900}}, minor)
