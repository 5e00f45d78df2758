"""The mirror's layout is upstream's: addresses of manifests, packages and images."""

import tomllib
from pathlib import Path

import pytest

from provisioner import catalogue
from provisioner.errors import ProvisionerError
from tests.mirror import cache, images, kubernetes, manifests, mirror, packages, requirements, traefik


def test_manifest_lies_at_its_own_address() -> None:
    url = "https://raw.githubusercontent.com/metallb/metallb/v0.13.12/config/manifests/metallb-native.yaml"
    assert manifests.place(url) == url.removeprefix("https://")


def test_every_download_of_the_catalogue_is_found() -> None:
    text = manifests.CATALOGUE.read_text()
    found = list(manifests.pinned(tomllib.loads(text)))
    assert len(found) == text.count("\nurl = ")
    assert all(len(sha256) == 64 and url.startswith("https://") for url, sha256 in found)


def test_control_file_of_kubelet() -> None:
    kubelet = next(package for package in packages.PACKAGES if package.name == "kubelet")
    fields = dict(line.split(": ", 1) for line in packages.control(kubelet, 7).splitlines())
    assert fields["Package"] == "kubelet"
    assert fields["Version"] == "1.20.2-1.1"
    assert fields["Architecture"] == "amd64"
    assert fields["Installed-Size"] == "7"
    assert {"conntrack", "ebtables", "ethtool", "socat", "mount"} <= {
        item.split()[0] for item in fields["Depends"].split(", ")
    }


def test_control_file_leaves_empty_fields_out() -> None:
    kubectl = next(package for package in packages.PACKAGES if package.name == "kubectl")
    assert "Depends" not in packages.control(kubectl, 1)


def every_image() -> dict[str, images.Image]:
    names = ("coredns", "metallb-controller", "metallb-speaker", "metrics-server", "traefik")
    programs = {name: Path(name) for name in names}
    listed = images.images(Path("kube"), programs, Path("etcd"), "3.4.23", Path("pause"))
    return {f"{image.name}:{tag}": image for image in listed for tag in image.tags}


def test_a_small_mirror_leaves_out_what_is_not_there_anyway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert {*mirror._programs(small=False)} - {*mirror._programs(small=True)} == {"metrics-server", "traefik"}
    cache.artefact("traefik", traefik.recipe(), lambda directory: (directory / "traefik").touch())
    assert "traefik" in mirror._programs(small=True)
    assert "metrics-server" not in mirror._programs(small=True)


def test_an_image_without_its_program_is_left_out() -> None:
    programs = {name: Path(name) for name in ("coredns", "metallb-controller", "metallb-speaker")}
    listed = images.images(Path("kube"), programs, Path("etcd"), "3.4.23", Path("pause"))
    left = {image.name for image in every_image().values()} - {image.name for image in listed}
    assert left == {"metrics-server/metrics-server", "library/traefik"}


@pytest.mark.parametrize(
    "reference",
    [
        catalogue.pause_image(kubernetes.VERSION),
        catalogue.agnhost_image(kubernetes.VERSION),
        catalogue.nginx_image(kubernetes.VERSION),
        catalogue.release("traefik", kubernetes.VERSION).image,
    ],
)
def test_images_that_the_product_asks_for_are_there(reference: str) -> None:
    assert reference.partition("/")[2] in every_image()


def test_what_is_not_quite_upstreams_is_named_as_it_is_served() -> None:
    served = {reference.removeprefix("library/") for reference in every_image()}
    served |= {reference.rpartition("/")[2] for reference in served}
    for name in mirror.SUBSTITUTES:
        assert ":" not in name or name in served


def test_traefik_is_built_without_dns_providers(tmp_path: Path) -> None:
    source = tmp_path / "pkg/provider/acme/provider.go"
    source.parent.mkdir(parents=True)
    line = 'import "github.com/go-acme/lego/v4/providers/dns"\n'
    source.write_text(line)
    traefik._without_dns_providers(tmp_path)
    assert source.read_text() == 'import "github.com/traefik/traefik/v2/pkg/nodns"\n'
    assert (tmp_path / "pkg/nodns/dns.go").is_file()
    source.write_text("import nothing\n")
    (tmp_path / "pkg/nodns/dns.go").unlink()
    (tmp_path / "pkg/nodns").rmdir()
    with pytest.raises(ProvisionerError, match=r"does not import .*; adapt this recipe"):
        traefik._without_dns_providers(tmp_path)


def test_etcd_tells_its_true_version() -> None:
    assert every_image()["etcd:3.4.13-0"].version == "3.4.23"


def test_each_missing_package_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "NEEDED", {"/nowhere/a": "one", "/nowhere/b": "one", "sh": "two"})
    assert requirements.missing() == ("one",)
