"""The versions and downloads pinned in catalogue.toml, and which of them fit a Kubernetes version."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.version import Version


@dataclass(frozen=True)
class Download:
    """A pinned file: upstream's URL and the SHA-256 (hex) of what is published there."""

    url: str
    sha256: str


@dataclass(frozen=True)
class Release:
    """A version of a program: its manifests in the order they are applied, and its image if these name none."""

    program: str
    version: str
    manifests: tuple[Download, ...]
    image: str = ""


def default_minor() -> str:
    """Return the Kubernetes minor of a new site, such as "1.37"."""
    return str(_data()["kubernetes"]["default"])


def newest_patches() -> dict[str, str]:
    """Return the newest known patch release by minor: {"1.37": "1.37.2", …}."""
    return dict(_data()["kubernetes"]["patches"])


def kubernetes_version(text: str) -> Version:
    """Return the version that cluster.kubernetes means: "1.20.2" itself, for "1.20" the newest known patch.

    Raise ValueError, naming the supported versions, if it cannot be installed.
    """
    patches = newest_patches()
    known = sorted(Version.parse(patch) for patch in patches.values())
    oldest, newest = known[0], known[-1]
    supported = f"{oldest.minor_text} to {newest.minor_text} are supported"
    try:
        version = Version.parse(text)
    except ValueError as error:
        raise ValueError(f"is not a Kubernetes version; {supported}") from error
    if not (version.at_least(oldest.major, oldest.minor) and newest.at_least(version.major, version.minor)):
        raise ValueError(f"is not a supported Kubernetes version; {supported}")
    if text.count(".") == 2:
        return version
    if version.minor_text not in patches:
        minors = ", ".join(version.minor_text for version in known)
        raise ValueError(
            f'has no known patch release; write all three numbers, as in "{version}", or use one of {minors}'
        )
    return Version.parse(patches[version.minor_text])


def pause_image(kubernetes: str) -> str:
    """Return the sandbox image that kubeadm of this Kubernetes version expects (its `PauseVersion` constant)."""
    return f"registry.k8s.io/pause:{_newest_fitting(_data()['kubernetes']['pause'], kubernetes)}"


def agnhost_image(kubernetes: str) -> str:
    """Return the agnhost image, Kubernetes' test image, which the shipped workloads run."""
    return f"registry.k8s.io/e2e-test-images/agnhost:{_newest_fitting(_data()['agnhost'], kubernetes)}"


def nginx_image(kubernetes: str) -> str:
    """Return the nginx image, which the Ingress workload runs as its web server."""
    return f"docker.io/library/nginx:{_newest_fitting(_data()['nginx_image'], kubernetes)}"


def signing_keys(repository: str) -> tuple[str, ...]:
    """Return the fingerprints of the keys that sign a package repository of upstream, "kubernetes" or "docker"."""
    return tuple(_data()["signing_keys"][repository])


def release(program: str, kubernetes: str, version: str = "") -> Release:
    """Return a release of a program: `version`, or the newest that supports `kubernetes`.

    Raise ProvisionerError, naming the known versions, if there is none.
    """
    entries = _data()[program]
    known = {entry["version"]: entry for entry in entries}
    if version:
        if version not in known:
            raise ProvisionerError(
                f"{program} {version} is not in the catalogue",
                f"use one of {', '.join(known)}, or add it to provisioner/catalogue.toml with its SHA-256",
            )
        return _release(program, known[version])
    fitting = [entry for entry in entries if Version.parse(entry["kubernetes"]) <= Version.parse(kubernetes)]
    if not fitting:
        raise ProvisionerError(
            f"no {program} in the catalogue supports Kubernetes {kubernetes}",
            f"the oldest that one of them supports is {min((e['kubernetes'] for e in entries), key=Version.parse)}",
        )
    return _release(program, max(fitting, key=lambda entry: Version.parse(entry["kubernetes"])))


def _release(program: str, entry: dict[str, Any]) -> Release:
    manifests = tuple(Download(item["url"], item["sha256"]) for item in entry.get("manifests", ()))
    return Release(program, entry["version"], manifests, entry.get("image", ""))


def _newest_fitting(by_minor: dict[str, str], kubernetes: str) -> str:
    fitting = [minor for minor in by_minor if Version.parse(minor) <= Version.parse(kubernetes)]
    return by_minor[max(fitting, key=Version.parse)]


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(files("provisioner").joinpath("catalogue.toml").read_text(encoding="utf-8"))
