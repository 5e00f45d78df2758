"""The kubernetes step: repository, pinned packages, hold; the version of a running node never changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from provisioner import catalogue
from provisioner.errors import HostError, Unreachable
from provisioner.kube.kubeadm_state import KUBELET_CONF
from provisioner.ssh.facts import Package, Unit
from provisioner.steps import kubernetes
from provisioner.steps.kubernetes import PACKAGES, STEP, repository
from tests.unit import signing_key
from tests.unit.signing_key import FINGERPRINT
from tests.unit.steps.doubles import RecordingHost, carry_out, drain, fleet_for, present, site_at, summaries

KEY, LIST = "/etc/apt/keyrings/kubernetes.asc", "/etc/apt/sources.list.d/kubernetes.list"
INSTALL, HOLD = "install kubelet, kubeadm, kubectl 1.20.2", "hold kubelet, kubeadm, kubectl"
ENABLE = "enable kubelet.service"
FETCH = f"fetch the signing key of http://192.168.56.2/pkgs.k8s.io/core:/stable:/v1.20/deb/ ({FINGERPRINT})"
MIRROR = '[mirror]\npackages = "http://192.168.56.2/pkgs.k8s.io"'


@pytest.fixture(autouse=True)
def _signed_with_the_test_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "signing_keys", lambda repository: (FINGERPRINT,))


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    host = fleet_for(STEP, site_at(tmp_path, 'kubernetes = "1.20.2"', MIRROR))["worker1"]
    host.says["Release.key"] = signing_key.KEY
    return host


@pytest.fixture
def converged(host: RecordingHost) -> RecordingHost:
    carry_out(STEP, host)
    host.keep()
    host.commands.clear()
    host.works.clear()
    return host.know(
        files={KEY: present(signing_key.KEY)},
        packages={name: Package("1.20.2-1.1", held=True) for name in PACKAGES},
        units={"kubelet.service": Unit(active=False, enabled=True)},
    )


def test_a_blank_host(host: RecordingHost) -> None:
    url = "http://192.168.56.2/pkgs.k8s.io/core:/stable:/v1.20/deb/"
    assert carry_out(STEP, host) == [
        f"fetch the signing key of {url} ({FINGERPRINT})",
        f"write {LIST}",
        INSTALL,
        HOLD,
        ENABLE,
    ]
    assert host.files[LIST] == (f"deb [signed-by={KEY}] {url} /\n", 0o644)
    fetch, hold, enable = host.commands
    assert f"{url}Release.key" in fetch
    assert host.files[KEY] == (signing_key.KEY, 0o644)
    assert hold == "apt-mark hold kubelet kubeadm kubectl"
    assert enable == "systemctl enable --quiet kubelet.service"
    command = host.works["apt-install"]
    assert "'kubelet=1.20.2-*' 'kubeadm=1.20.2-*' 'kubectl=1.20.2-*'" in command
    assert "--allow-change-held-packages" in command


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<html>", "it is not an ASCII-armored key"),
        (signing_key.KEY.replace("\n\n", "\n\nm"), "it is not an ASCII-armored key"),
        (None, f"its fingerprint is {FINGERPRINT}, not {'A' * 40}"),
    ],
)
def test_a_key_that_is_not_pinned_is_refused(
    host: RecordingHost, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    if text is None:
        monkeypatch.setattr(kubernetes, "signing_keys", lambda repository: ("A" * 40,))
    host.says["Release.key"] = text or signing_key.KEY
    with pytest.raises(HostError, match=re.escape(said)) as caught:
        carry_out(STEP, host)
    assert "packages_key under [mirror]" in caught.value.remedy
    assert KEY not in host.files


def test_another_key_on_the_host_is_replaced(converged: RecordingHost) -> None:
    """Also one beside the right one: apt trusts every key of the file."""
    other = signing_key.KEY.replace("PUBLIC KEY BLOCK-----", "PUBLIC KEY BLOCK-----\nComment: x", 1)
    assert summaries(STEP, converged.know(files={KEY: present(other)})) == []
    assert summaries(STEP, converged.know(files={KEY: present("another")})) == [
        f"fetch the signing key of http://192.168.56.2/pkgs.k8s.io/core:/stable:/v1.20/deb/ ({FINGERPRINT})"
    ]


def test_upstreams_keys_are_those_of_the_catalogue(tmp_path: Path) -> None:
    assert catalogue.signing_keys("kubernetes") == ("DE15B14486CD377B9E876E1A234654DA9A296436",)
    own = site_at(tmp_path, rest='[mirror]\npackages_key = ["e47e d122 5f5c a1c5 1f47  fc84 b3d9 dfff d669 965c"]')
    assert repository(own).fingerprints == ("E47ED1225F5CA1C51F47FC84B3D9DFFFD669965C",)


def test_a_key_is_never_fetched_over_http_if_it_began_as_https(tmp_path: Path) -> None:
    host = fleet_for(STEP, site_at(tmp_path, 'kubernetes = "1.37"'))["worker1"]
    host.says["Release.key"] = signing_key.KEY
    carry_out(STEP, host)
    assert "--proto =https --proto-redir =https" in host.commands[0]


def test_a_converged_host_before_it_is_a_node(converged: RecordingHost) -> None:
    assert drain(STEP, converged) == []


def test_a_converged_node(converged: RecordingHost) -> None:
    assert drain(STEP, converged.know(files={KUBELET_CONF: present()})) == []


OTHER = {name: Package("1.19.7-00", held=True) for name in PACKAGES}
STATES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "killed before the hold": (
        {"packages": {name: Package("1.20.2-1.1") for name in PACKAGES}},
        [HOLD],
    ),
    "one of them held": ({"packages": {"kubectl": Package("1.20.2-1.1")}}, [HOLD]),
    "another version, no node yet": ({"packages": OTHER}, [INSTALL, HOLD]),
    "dpkg was killed": ({"dpkg_interrupted": True}, ["finish an interrupted dpkg run"]),
    "killed between key and list": (
        {"files": {LIST: present().__class__(exists=False)}},
        [FETCH, f"write {LIST}"],
    ),
    "another repository, whose key may be another": (
        {"files": {LIST: present("deb https://pkgs.k8s.io/core:/stable:/v1.20/deb/ /\n")}},
        [FETCH, f"change {LIST}"],
    ),
    "not enabled": ({"units": {"kubelet.service": Unit(active=True, enabled=False)}}, [ENABLE]),
}


@pytest.mark.parametrize(("facts", "expected"), STATES.values(), ids=STATES)
def test_partial_states(converged: RecordingHost, facts: dict[str, Any], expected: list[str]) -> None:
    assert summaries(STEP, converged.know(**facts)) == expected


def test_a_missing_package_installs_all_three(converged: RecordingHost) -> None:
    del converged.facts.packages["kubectl"]  # type: ignore[attr-defined]
    assert summaries(STEP, converged) == [INSTALL, HOLD]


def installed(version: str, *names: str) -> dict[str, Any]:
    return {"packages": {name: Package(f"{version}-1.1", held=True) for name in names or PACKAGES}}


# (hosts.toml's version, what the first control plane has, what the worker has, the whole error)
REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "the cluster runs an older patch than the program knows now": (
        "1.31",
        installed("1.31.2"),
        installed("1.31.2"),
        'is a node with kubelet 1.31.2, kubeadm 1.31.2, kubectl 1.31.2, but "1.31" in hosts.toml means 1.31.14; '
        "apply does not change the version of a running node: "
        'write kubernetes = "1.31.2" under [cluster] in hosts.toml',
    ),
    "hosts.toml was changed": (
        "1.31.3",
        installed("1.31.2"),
        installed("1.31.2"),
        "is a node with kubelet 1.31.2, kubeadm 1.31.2, kubectl 1.31.2, but hosts.toml has 1.31.3; "
        "apply does not change the version of a running node: "
        'write kubernetes = "1.31.2" under [cluster] in hosts.toml',
    ),
    "this node alone stayed behind": (
        "1.31.3",
        installed("1.31.3"),
        installed("1.31.2"),
        "is a node with kubelet 1.31.2, kubeadm 1.31.2, kubectl 1.31.2, but hosts.toml has 1.31.3; "
        "provisioner node remove worker1, then provisioner apply, which joins it again",
    ),
    "a tool of another version beside the right kubelet": (
        "1.31.3",
        installed("1.31.3"),
        installed("1.31.3") | {"packages": installed("1.31.3")["packages"] | {"kubectl": Package("1.31.9-1.1")}},
        "is a node with kubectl 1.31.9, but hosts.toml has 1.31.3; "
        "provisioner ssh worker1 -- sudo apt-get install --allow-change-held-packages --allow-downgrades "
        "kubectl=1.31.3-\\*",
    ),
}


@pytest.mark.parametrize(("version", "first", "own", "words"), REFUSED.values(), ids=REFUSED)
def test_a_running_node_keeps_its_version_and_the_remedy_matches_the_cluster(
    tmp_path: Path, version: str, first: dict[str, Any], own: dict[str, Any], words: str
) -> None:
    fleet = fleet_for(STEP, site_at(tmp_path, f'kubernetes = "{version}"'))
    fleet["master"].know(files={KUBELET_CONF: present()}, **first)
    host = fleet["worker1"].know(files={KUBELET_CONF: present()}, **own)
    with pytest.raises(HostError) as raised:
        drain(STEP, host)
    assert str(raised.value) == f"worker1: {words}"


def test_without_the_first_control_plane_the_nodes_own_version_counts(tmp_path: Path) -> None:
    fleet = fleet_for(STEP, site_at(tmp_path, 'kubernetes = "1.31"'))
    fleet["master"].silent = True
    host = fleet["worker1"].know(files={KUBELET_CONF: present()}, **installed("1.31.2"))
    with pytest.raises(HostError, match=r'write kubernetes = "1\.31\.2"'):
        drain(STEP, host)


@pytest.mark.parametrize(
    ("version", "url"),
    [
        ("1.37", "https://pkgs.k8s.io/core:/stable:/v1.37/deb/"),
        ("1.31.5", "https://pkgs.k8s.io/core:/stable:/v1.31/deb/"),
    ],
)
def test_each_minor_has_its_own_repository(tmp_path: Path, version: str, url: str) -> None:
    found = repository(site_at(tmp_path, f'kubernetes = "{version}"'))
    assert (found.url, found.key_url) == (url, f"{url}Release.key")


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            HostError("master", "`mkdir` failed with exit status 22", tail="curl: (22) 404"),
            "fetching a package repository's key from",
        ),
        (Unreachable("master", "the connection was lost", "run it again"), "the connection was lost"),
    ],
)
def test_a_key_that_cannot_be_fetched_is_an_error_with_its_url_and_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: HostError, said: str
) -> None:
    host = fleet_for(STEP, site_at(tmp_path, 'kubernetes = "1.20.2"'))["master"]

    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(host, "run", fail)
    with pytest.raises(HostError, match=said) as told:
        drain(STEP, host)[0].do()
    if raised.tail:
        assert "pkgs.k8s.io/core:/stable:/v1.20" in told.value.message
        assert "below 1.24" in told.value.remedy
        assert told.value.tail == "curl: (22) 404"
