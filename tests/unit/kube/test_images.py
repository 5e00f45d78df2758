"""Images are applied as upstream wrote them, with their tag or digest."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from provisioner import catalogue
from provisioner.catalogue import Download
from provisioner.kube import Object, manifests
from provisioner.kube.objects import containers
from provisioner.steps import flannel, ingress, metallb, metrics_server, storage, workloads
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import drain, fleet_for, site_at

ROOT = Path(__file__).parents[3]
DIGEST = f"registry.example/a/b:v1@sha256:{'0123456789abcdef' * 4}"
RELEASED: tuple[tuple[ModuleType, str, str], ...] = (
    (flannel, "", ""),
    (metallb, "", ""),
    (metrics_server, "", ""),
    (metrics_server, "timeout_scale = 8.0", ""),
    (storage, "", '[nfs]\nprovisioner = "csi"'),
    (ingress, "", '[ingress]\ncontroller = "nginx"'),
)
MIRROR = '\n[mirror]\nimages = "http://192.168.56.2:5000"'


def deployment(image: str) -> Object:
    container = {"name": "kube-flannel", "image": image, "args": ["--one"]}
    pod = {"initContainers": [container | {"name": "first"}], "containers": [container]}
    metadata = {"name": "thing", "namespace": "kube-system"}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": pod}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def images(folder: Path, module: ModuleType, cluster: str, tables: str) -> list[str]:
    """Return the images that a step applies to an empty cluster, including those of init containers."""
    host = fleet_for(module.STEP, site_at(folder, f'kubernetes = "1.37"\n{cluster}', tables))["master"]
    api = FakeCluster()
    for change in drain(module.STEP, host, api):
        if change.summary.startswith("apply "):
            change.do()
    return [container["image"] for item in api.applied for container in containers(item)]


@pytest.mark.parametrize("mirror", ["", MIRROR], ids=["upstream", "mirror"])
@pytest.mark.parametrize(("module", "cluster", "tables"), RELEASED)
def test_a_released_digest_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, cluster: str, tables: str, mirror: str
) -> None:
    texts = [yaml.safe_dump(deployment(DIGEST)).encode()]
    monkeypatch.setattr(manifests, "fetch", lambda site, download: texts.pop() if texts else b"")
    assert images(tmp_path, module, cluster, f"{tables}{mirror}") == [DIGEST, DIGEST]


@pytest.mark.parametrize("mirror", ["", MIRROR], ids=["upstream", "mirror"])
def test_an_operators_digest_is_applied(tmp_path: Path, mirror: str) -> None:
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads/mine.yaml").write_text(yaml.safe_dump(deployment(DIGEST)))
    assert images(tmp_path, workloads, "", f'[workloads]\nenabled = ["mine"]{mirror}') == [DIGEST, DIGEST]


def test_upstreams_images_are_applied_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: dict[str, bytes]
) -> None:
    """All manifests of the newest Kubernetes, except for one image without a tag."""
    fetched: list[bytes] = []

    def fetch(site: Any, wanted: Download) -> bytes:
        fetched.append(published[wanted.sha256])
        return fetched[-1]

    monkeypatch.setattr(manifests, "fetch", fetch)
    haproxy = (ingress, "", '[ingress]\ncontroller = "haproxy"')
    applied = {image for case in (*RELEASED, haproxy) for image in images(tmp_path, *case)}
    written = {
        container["image"]
        for content in fetched
        for item in manifests.load(content.decode())
        for container in containers(item)
    }
    bare = {image for image in written if not re.search(r"[:@][^/]+$", image)}
    assert bare == {"haproxytech/kubernetes-ingress"}
    assert applied == written - bare | {catalogue.release("haproxy", "1.37").image}


def test_our_images_have_a_version() -> None:
    ours = [catalogue.agnhost_image("1.37"), catalogue.nginx_image("1.37"), catalogue.pause_image("1.37")]
    ours += [catalogue.release(name, minor).image for name in ("haproxy", "traefik") for minor in ("1.20", "1.37")]
    assert all(re.search(r":v?\d+(\.\d+)+$", image) for image in ours), ours
    text = "".join(path.read_text() for folder in ("workloads", "ingress") for path in ROOT.glob(f"{folder}/*.yaml"))
    named = re.findall(r"\bimage: *(\S+)", text)
    assert {*named} == {"${agnhost}", "${nginx}", "${traefik}"}, "the catalogue has these"
