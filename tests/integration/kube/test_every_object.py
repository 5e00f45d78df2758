"""Every object that steps apply, against a real API server: 1.20, the oldest supported minor, or another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object, templates
from provisioner.site import Site, load_site
from tests.integration.kube.apiserver import EDITION
from tests.integration.kube.reaching import HOSTS

pytestmark = pytest.mark.integration
FOLDERS = {path.stem: path for path in (Path(__file__).parents[3] / "workloads").glob("*.yaml")}


@pytest.fixture(scope="module", autouse=True)
def namespace(cluster: Cluster) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "course"}})


def workload(site: Site, name: str) -> list[Object]:
    return templates.read(site, f"workloads/{name}.yaml")


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_a_workload_is_accepted_without_loss(cluster: Cluster, site: Site, name: str) -> None:
    """The server drops unknown fields; its answer must contain all that was sent."""
    for item in workload(site, name):
        made = cluster.apply(item, dry_run=True)
        assert lost(item, made) == []


def test_storage_is_accepted_without_loss(cluster: Cluster, site: Site) -> None:
    from provisioner.steps import storage

    for item in storage.wanted(site):
        assert lost(item, cluster.apply(item, dry_run=True)) == []


def _misspelt(item: Object) -> None:
    item["spec"]["template"]["spec"]["containers"][0]["imagePullpolicy"] = "Always"


def _mistyped(item: Object) -> None:
    item["spec"]["replicas"] = "three"


def _mismatched(item: Object) -> None:
    item["spec"]["selector"]["matchLabels"] = {"app": "another"}


@pytest.mark.parametrize("mistake", [_misspelt, _mistyped, _mismatched])
def test_a_wrong_object_is_refused(cluster: Cluster, site: Site, mistake: Callable[[Object], None]) -> None:
    (item,) = (one for one in workload(site, "nodeport") if one["kind"] == "Deployment")
    wrong = copy.deepcopy(item)
    mistake(wrong)
    with pytest.raises(ClusterError, match="refused to apply Deployment course/np-pods"):
        cluster.apply(wrong, dry_run=True)


def test_all_minors_get_the_same_workloads(site: Site, tmp_path: Path) -> None:
    """So testing the oldest and the newest three covers those in between."""
    for minor in ("1.23.1", "1.28.1", "1.34.1", "1.37"):
        path = tmp_path / "hosts.toml"
        path.write_text(
            HOSTS.replace(f'"{EDITION.kubernetes}"', f'"{minor}"').replace(f'version = "{EDITION.metallb}"', "")
        )
        newer = load_site(path)
        for name in FOLDERS:
            assert without_images(workload(newer, name)) == without_images(workload(site, name)), (minor, name)


def without_images(items: list[Object]) -> list[Object]:
    found = copy.deepcopy(items)
    for item in found:
        for container in item.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            del container["image"]
    return found


def lost(sent: Any, made: Any, path: str = "") -> list[str]:
    """Return the paths where the answer differs from what was sent; quantities and ports may be in other notation."""
    if isinstance(sent, dict):
        if not isinstance(made, dict):
            return [path]
        return [one for key, value in sent.items() for one in lost(value, made.get(key), f"{path}.{key}")]
    if isinstance(sent, list):
        if not isinstance(made, list) or len(made) < len(sent):
            return [path]
        return [one for number, value in enumerate(sent) for one in lost(value, made[number], f"{path}[{number}]")]
    return [] if sent == made else [f"{path}: {sent!r} became {made!r}"]
