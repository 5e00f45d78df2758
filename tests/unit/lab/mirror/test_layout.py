"""The mirror has upstream's layout: addresses of manifests, packages and images."""

import tomllib
from pathlib import Path

import pytest

from provisioner import catalogue
from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import (
    assembly,
    cache,
    debs,
    docker,
    flannel,
    images,
    manifests,
    packages,
    parts,
    requirements,
    traefik,
)
from provisioner.lab.mirror.editions import CURRENT, EDITIONS, PATCH, PREVIOUS, SOURCE, Edition, edition
from provisioner.version import Version


def test_a_manifest_is_served_at_its_own_address() -> None:
    url = "https://raw.githubusercontent.com/metallb/metallb/v0.13.12/config/manifests/metallb-native.yaml"
    assert manifests.served_path(url) == url.removeprefix("https://")


def test_every_download_of_the_catalogue_is_found() -> None:
    text = manifests.catalogue()
    found = list(manifests.pinned(tomllib.loads(text)))
    assert len(found) == text.count("\nurl = ")
    assert all(len(sha256) == 64 and url.startswith("https://") for url, sha256 in found)


def package(of: Edition, name: str) -> debs.Package:
    return next(each for each in packages.contents(of) if each.name == name)


@pytest.mark.parametrize(("of", "version"), [(SOURCE, "1.20.2-1.1"), (CURRENT, "1.37.2-1.1")])
def test_control_file_of_kubelet(of: Edition, version: str) -> None:
    fields = dict(line.split(": ", 1) for line in debs.control(package(of, "kubelet"), 7).splitlines())
    assert fields["Package"] == "kubelet"
    assert fields["Version"] == version
    assert fields["Architecture"] == "amd64"
    assert fields["Installed-Size"] == "7"
    assert {"conntrack", "ebtables", "ethtool", "socat", "mount"} <= {
        item.split()[0] for item in fields["Depends"].split(", ")
    }


def test_a_control_file_has_no_empty_fields() -> None:
    text = debs.control(package(SOURCE, "kubectl"), 1)
    assert "Depends" not in text
    assert "Conflicts" not in text


def test_the_version_of_a_stand_in_says_so() -> None:
    assert package(SOURCE, "cri-tools").version.endswith("standin")
    assert package(CURRENT, "cri-tools").version == "1.37.0-1.1"


def test_containerd_is_packaged_like_dockers() -> None:
    """It includes runc, and its CRI plugin is disabled until the step containerd writes a configuration."""
    made = docker.package(CURRENT)
    fields = dict(line.split(": ", 1) for line in debs.control(made, 1).splitlines())
    assert fields["Version"].startswith("2.4.2-")
    assert fields["Conflicts"] == "containerd, runc"
    assert dict(made.files)["etc/containerd/config.toml"] == 'disabled_plugins = ["cri"]\n'


def every_image(of: Edition) -> dict[str, images.Image]:
    programs = {name: Path(name) for name in parts.programs(of)}
    listed = images.images(of, Path("kube"), programs, "3.4.23", Path("pause"))
    return {f"{image.name}:{tag}": image for image in listed for tag in image.tags}


@pytest.mark.parametrize("of", EDITIONS)
def test_a_small_mirror_omits_optional_programs_that_are_not_cached(
    of: Edition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole, small = assembly.programs_of(of, small=False), assembly.programs_of(of, small=True)
    assert {*whole} - {*small} == {"metrics-server", "traefik"}
    cache.artifact("traefik", traefik.recipe(of.traefik), lambda directory: (directory / "traefik").touch())
    assert "traefik" in assembly.programs_of(of, small=True)
    assert "metrics-server" not in assembly.programs_of(of, small=True)


def test_an_image_without_its_program_is_omitted() -> None:
    programs = {name: Path(name) for name in parts.programs(SOURCE) if name not in assembly.OPTIONAL}
    listed = images.images(SOURCE, Path("kube"), programs, "3.4.23", Path("pause"))
    omitted = {image.name for image in every_image(SOURCE).values()} - {image.name for image in listed}
    assert omitted == {"metrics-server/metrics-server", "library/traefik"}


@pytest.mark.parametrize("of", EDITIONS)
def test_the_mirror_has_the_images_that_the_product_pulls(of: Edition) -> None:
    for reference in (
        catalogue.pause_image(of.kubernetes),
        catalogue.agnhost_image(of.kubernetes),
        catalogue.nginx_image(of.kubernetes),
        catalogue.release("traefik", of.kubernetes).image,
    ):
        assert reference.partition("/")[2] in every_image(of)


@pytest.mark.parametrize("of", EDITIONS)
def test_an_edition_has_the_versions_of_the_catalogue(of: Edition) -> None:
    """Exactly those that a site of that Kubernetes gets; only metrics-server of 1.20 differs."""
    assert edition(of.minor).kubernetes == catalogue.newest_patches()[of.minor]
    assert of.metallb == catalogue.release("metallb", of.kubernetes).version
    assert of.traefik == catalogue.release("traefik", of.kubernetes).version
    assert of.flannel in ("", catalogue.release("flannel", of.kubernetes).version)
    assert bool(of.containerd) == Version.parse(of.kubernetes).at_least(1, 36)


@pytest.mark.parametrize("of", EDITIONS)
def test_substitutes_are_listed_under_the_names_that_are_served(of: Edition) -> None:
    served = {reference.removeprefix("library/") for reference in every_image(of)}
    served |= {reference.rpartition("/")[2] for reference in served}
    for name in of.substitutions():
        assert ":" not in name or name in served


def test_an_edition_is_selected_by_its_version_or_its_minor_version() -> None:
    assert edition("1.37") is edition("1.37.2") is CURRENT
    assert edition("1.37.1") is PATCH
    assert edition("1.36") is PREVIOUS
    with pytest.raises(
        ProvisionerError,
        match=r"1\.30 cannot be built from package registries.*1\.20, 1\.36, 1\.37.*1\.37\.1, 1\.37\.2",
    ):
        edition("1.30")


def test_editions_share_what_they_have_in_common() -> None:
    """Only Kubernetes and what each version of it wants in a version of its own are built for each."""
    current, patch, previous = (
        {name: part.directory for name, part in parts.programs(of).items()} for of in (CURRENT, PATCH, PREVIOUS)
    )
    assert patch == current
    own = {name for name in current if current[name] != previous[name]}
    assert own == {"etcd", "etcdctl", "etcdutl", "coredns", "crictl"}
    assert parts.kubernetes(PATCH).directory != parts.kubernetes(CURRENT).directory


def test_two_patches_of_one_minor_are_in_one_repository() -> None:
    files = [{package.file for package in packages.contents(of)} for of in (PATCH, CURRENT)]
    assert files[0] & files[1] == {"cri-tools_1.37.0-1.1_amd64.deb", "kubernetes-cni_1.1.1-1.1_amd64.deb"}
    assert {"kubelet_1.37.1-1.1_amd64.deb", "kubelet_1.37.2-1.1_amd64.deb"} <= files[0] | files[1]
    assert packages.path(PATCH.minor) == packages.path(CURRENT.minor) != packages.path(PREVIOUS.minor)


def test_the_registries_of_two_editions_are_joined(tmp_path: Path) -> None:
    """Blobs of both are there, on the disk once; of a tag that both have, the first one's counts."""
    for name, tag in (("first", "a"), ("second", "b")):
        root = tmp_path / name
        for path in (f"blobs/{name}", "blobs/common", "tags/2.53/link", f"tags/{tag}/link"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(name)
    assembly.join_registries([tmp_path / "first", tmp_path / "second"], tmp_path / "both")
    joined = {str(path.relative_to(tmp_path / "both")) for path in (tmp_path / "both").rglob("*") if path.is_file()}
    assert joined == {
        "blobs/first", "blobs/second", "blobs/common", "tags/2.53/link", "tags/a/link", "tags/b/link",
    }  # fmt: skip
    assert (tmp_path / "both/tags/2.53/link").read_text() == "first"
    assert (tmp_path / "both/blobs/second").samefile(tmp_path / "second/blobs/second")


@pytest.mark.parametrize(("version", "lego"), [("2.11.2", "v4"), ("3.7.13", "v5")])
def test_traefik_is_built_remove_dns_providers(version: str, lego: str, tmp_path: Path) -> None:
    source = tmp_path / "pkg/provider/acme/provider.go"
    source.parent.mkdir(parents=True)
    source.write_text(f'import "github.com/go-acme/lego/{lego}/providers/dns"\n')
    traefik._remove_dns_providers(tmp_path, version)
    assert source.read_text() == f'import "github.com/traefik/traefik/v{version[0]}/pkg/nodns"\n'
    assert f"lego/{lego}/challenge" in (tmp_path / "pkg/nodns/dns.go").read_text()


def test_traefik_is_not_built_if_its_source_has_changed(tmp_path: Path) -> None:
    source = tmp_path / "pkg/provider/acme/provider.go"
    source.parent.mkdir(parents=True)
    source.write_text("import nothing\n")
    with pytest.raises(ProvisionerError, match=r"does not import .*; adapt "):
        traefik._remove_dns_providers(tmp_path, "9.0.0")


def test_flannel_is_built_without_one_backend(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text('\t_ "github.com/flannel-io/flannel/pkg/backend/tencentvpc"\n\t_ "other"\n')
    flannel.remove_backend(tmp_path, "0.28.9")
    assert (tmp_path / "main.go").read_text() == '\t_ "other"\n'
    with pytest.raises(ProvisionerError, match=r"does not import .*; adapt "):
        flannel.remove_backend(tmp_path, "0.28.9")


def test_the_label_of_an_image_has_the_programs_version() -> None:
    assert every_image(SOURCE)["etcd:3.4.13-0"].version == "3.4.23"


def test_each_missing_package_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "NEEDED", {"/nowhere/a": "one", "/nowhere/b": "one", "sh": "two"})
    assert requirements.missing() == ("one",)
