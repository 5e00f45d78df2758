"""The catalogue: every pin matches what upstream publishes, and every supported minor has its releases."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

from provisioner import catalogue
from provisioner.errors import ProvisionerError
from provisioner.kube.manifests import load
from provisioner.version import Version

ROOT = Path(__file__).parents[2]
UPSTREAM = ROOT.parent / "shared/upstream"
DATA: dict[str, Any] = tomllib.loads((ROOT / "provisioner/catalogue.toml").read_text())
PROGRAMS = [name for name, value in DATA.items() if isinstance(value, list)]
PINNED = [
    pytest.param(name, entry["version"], item["url"], item["sha256"], id=Path(item["url"]).name)
    for name in PROGRAMS
    for entry in DATA[name]
    for item in entry.get("manifests", ())
]
FOLDERS = {
    "metrics_server": "metrics-server",
    "haproxy": "haproxy-ingress",
    "nginx": "nginx-ingress",
    "csi_driver_nfs": "csi-driver-nfs",
}


@pytest.mark.parametrize(("program", "version", "url", "sha256"), PINNED)
def test_a_pin_matches_what_upstream_publishes(program: str, version: str, url: str, sha256: str) -> None:
    path = UPSTREAM / FOLDERS.get(program, program) / f"v{version}" / Path(url).name
    if not path.is_file():
        pytest.skip(f"there is no {path.relative_to(ROOT.parent)} beside the checkout")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    assert load(path, None), "contains no Kubernetes objects"


@pytest.mark.parametrize(("program", "version", "url", "sha256"), PINNED)
def test_a_url_contains_its_version(program: str, version: str, url: str, sha256: str) -> None:
    del program
    assert url.startswith("https://")
    assert f"/v{version}/" in url
    assert len(bytes.fromhex(sha256)) == 32


def test_every_file_is_pinned_once() -> None:
    urls = [param.values[2] for param in PINNED]
    assert len(urls) == len(set(urls)) > 10


@pytest.mark.parametrize("minor", catalogue.newest_patches())
@pytest.mark.parametrize("program", ["metallb", "flannel", "metrics_server", "haproxy"])
def test_every_minor_has_a_release(program: str, minor: str) -> None:
    chosen = catalogue.release(program, minor)
    assert chosen.manifests
    (entry,) = [entry for entry in DATA[program] if entry["version"] == chosen.version]
    assert Version.parse(entry["kubernetes"]) <= Version.parse(minor)


@pytest.mark.parametrize(
    ("program", "kubernetes", "version", "expected"),
    [
        ("metallb", "1.20.2", "", "0.13.12"),
        ("metallb", "1.24.17", "", "0.13.12"),
        ("metallb", "1.25.0", "", "0.16.1"),
        ("metallb", "1.37.2", "", "0.16.1"),
        ("metallb", "1.37.2", "0.13.12", "0.13.12"),
        ("flannel", "1.20.2", "", "0.22.3"),
        ("flannel", "1.37.2", "", "0.28.9"),
        ("metrics_server", "1.30.14", "", "0.6.4"),
        ("metrics_server", "1.31.0", "", "0.9.0"),
        ("nginx", "1.28.0", "", "5.5.4"),
        ("haproxy", "1.20.2", "", "1.9.15"),
        ("traefik", "1.20.2", "", "2.11.2"),
        ("traefik", "1.37.2", "", "3.7.13"),
    ],
)
def test_release(program: str, kubernetes: str, version: str, expected: str) -> None:
    chosen = catalogue.release(program, kubernetes, version)
    assert (chosen.program, chosen.version) == (program, expected)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ProvisionerError) as raised:
        catalogue.release("metallb", "1.37", "0.99.0")
    assert str(raised.value) == (
        "metallb 0.99.0 is not in the catalogue; "
        "use one of 0.12.1, 0.13.12, 0.16.1, or add it to provisioner/catalogue.toml with its SHA-256"
    )


def test_a_kubernetes_without_a_release_is_refused() -> None:
    with pytest.raises(ProvisionerError) as raised:
        catalogue.release("nginx", "1.27.16")
    assert str(raised.value) == (
        "no nginx in the catalogue supports Kubernetes 1.27.16; the oldest that one of them supports is 1.28"
    )


def test_manifests_are_listed_in_the_order_they_are_applied() -> None:
    chosen = catalogue.release("nginx", "1.37")
    names = [Path(item.url).name for item in chosen.manifests]
    assert names[0] == "ns-and-sa.yaml", "the namespace must come first"
    assert names[-2:] == ["nginx-ingress.yaml", "loadbalancer.yaml"]


@pytest.mark.parametrize(
    ("kubernetes", "pause"),
    [
        ("1.20.2", "3.2"), ("1.21.14", "3.4.1"), ("1.22.0", "3.5"), ("1.23.0", "3.6"), ("1.24.0", "3.7"),
        ("1.25.0", "3.8"), ("1.26.0", "3.9"), ("1.30.14", "3.9"), ("1.31.0", "3.10"), ("1.33.0", "3.10"),
        ("1.34.0", "3.10.1"), ("1.35.9", "3.10.1"), ("1.36.0", "3.10.2"), ("1.37.2", "3.10.2"),
    ],
)  # fmt: skip
def test_sandbox_images(kubernetes: str, pause: str) -> None:
    assert catalogue.pause_image(kubernetes) == f"registry.k8s.io/pause:{pause}"


@pytest.mark.parametrize(("kubernetes", "agnhost"), [("1.20.2", "2.21"), ("1.23.17", "2.21"), ("1.24.0", "2.53")])
def test_test_images(kubernetes: str, agnhost: str) -> None:
    assert catalogue.agnhost_image(kubernetes) == f"registry.k8s.io/e2e-test-images/agnhost:{agnhost}"


@pytest.mark.parametrize(("kubernetes", "nginx"), [("1.20.2", "1.22.1"), ("1.37.2", "1.28.0")])
def test_web_servers(kubernetes: str, nginx: str) -> None:
    assert catalogue.nginx_image(kubernetes) == f"docker.io/library/nginx:{nginx}"


@pytest.mark.parametrize("minor", catalogue.newest_patches())
def test_a_program_without_manifests_has_an_image_of_its_version(minor: str) -> None:
    chosen = catalogue.release("traefik", minor)
    assert not chosen.manifests
    assert chosen.image == f"docker.io/library/traefik:v{chosen.version}"


def test_patches_belong_to_their_minors_and_the_default_has_one() -> None:
    patches = catalogue.newest_patches()
    assert catalogue.default_minor() in patches
    for minor, patch in patches.items():
        assert Version.parse(patch).minor_text == minor


def test_callers_get_a_copy() -> None:
    catalogue.newest_patches()["1.37"] = "1.37.99"
    assert catalogue.newest_patches()["1.37"] != "1.37.99"
