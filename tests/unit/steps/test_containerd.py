"""The containerd step: configuration for 1.x and 2.x, registry mirrors, restarts after a kill."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from provisioner.ssh.facts import Package
from provisioner.steps import containerd
from provisioner.steps.containerd import CONFIG, STEP
from tests.unit import signing_key
from tests.unit.signing_key import FINGERPRINT
from tests.unit.steps.doubles import RecordingHost, carry_out, drain, fleet_for, present, running, site_at, summaries

CRI_1 = "io.containerd.grpc.v1.cri"
OLD, NEW = 'kubernetes = "1.20.2"', 'kubernetes = "1.37"'
RESTART = "enable and start containerd.service"


@pytest.fixture(autouse=True)
def _signed_with_the_test_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containerd, "signing_keys", lambda repository: (FINGERPRINT,))


def machine(tmp_path: Path, version: str, rest: str = "") -> RecordingHost:
    host = fleet_for(STEP, site_at(tmp_path, version, rest))["worker1"]
    host.says["/gpg"] = signing_key.KEY
    return host


def converged(tmp_path: Path, version: str, rest: str = "") -> RecordingHost:
    host = machine(tmp_path, version, rest)
    carry_out(STEP, host)
    host.keep(mtime=100.9)
    host.commands.clear()
    names = ("containerd.io",) if version == NEW else ("containerd", "runc")
    if version == NEW:
        host.know(files={"/etc/apt/keyrings/docker.asc": present(signing_key.KEY)})
    host.know(packages={name: Package("1") for name in names}, units={"containerd.service": running(since=100.0)})
    return host


def test_a_blank_host_of_an_old_cluster_gets_debians_containerd(tmp_path: Path) -> None:
    host = machine(tmp_path, OLD)
    assert carry_out(STEP, host) == [
        "install containerd, runc",
        "write /etc/crictl.yaml",
        *(f"write /etc/containerd/certs.d/{name}/hosts.toml" for name in containerd.REGISTRIES),
        "write /etc/containerd/config.toml",
        RESTART,
    ]
    assert host.commands == ["systemctl enable --quiet containerd.service && systemctl restart containerd.service"]


def test_a_blank_host_of_a_current_cluster_gets_dockers_containerd(tmp_path: Path) -> None:
    host = machine(tmp_path, NEW)
    assert carry_out(STEP, host)[:3] == [
        f"fetch the signing key of https://download.docker.com/linux/debian ({FINGERPRINT})",
        "write /etc/apt/sources.list.d/docker.list",
        "install containerd.io",
    ]
    listing, _ = host.files["/etc/apt/sources.list.d/docker.list"]
    assert listing == (
        "deb [signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/debian bookworm stable\n"
    )


@pytest.mark.parametrize(("minor", "docker"), [("1.20", False), ("1.35", False), ("1.36", True), ("1.37", True)])
def test_containerd_by_kubernetes_version(tmp_path: Path, minor: str, docker: bool) -> None:
    """1.35 is the last minor that supports containerd 1.x."""
    assert containerd.needs_docker_packages(site_at(tmp_path, f'kubernetes = "{minor}"')) is docker


@pytest.mark.parametrize(
    ("minor", "pause"), [("1.20", "3.2"), ("1.21", "3.4.1"), ("1.30", "3.9"), ("1.31", "3.10"), ("1.35", "3.10.1")]
)
def test_config_of_1x(tmp_path: Path, minor: str, pause: str) -> None:
    config = tomllib.loads(containerd.config(site_at(tmp_path, f'kubernetes = "{minor}"')))
    assert config["version"] == 2
    cri = config["plugins"][CRI_1]
    assert cri["sandbox_image"] == f"registry.k8s.io/pause:{pause}"
    assert cri["containerd"]["runtimes"]["runc"]["options"] == {"SystemdCgroup": True}
    assert cri["registry"] == {"config_path": "/etc/containerd/certs.d"}
    assert cri["cni"] == {"bin_dir": "/opt/cni/bin", "conf_dir": "/etc/cni/net.d"}


def test_config_of_2x_has_no_tables_of_1x(tmp_path: Path) -> None:
    config = tomllib.loads(containerd.config(site_at(tmp_path, NEW)))
    assert config["version"] == 3
    assert config["plugins"].keys() == {"io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"}
    images, runtime = (
        config["plugins"]["io.containerd.cri.v1.images"],
        config["plugins"]["io.containerd.cri.v1.runtime"],
    )
    assert images["pinned_images"] == {"sandbox": "registry.k8s.io/pause:3.10.2"}
    assert images["registry"] == {"config_path": "/etc/containerd/certs.d"}
    assert runtime["containerd"]["runtimes"]["runc"]["options"] == {"SystemdCgroup": True}


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_converged_host(tmp_path: Path, version: str) -> None:
    assert drain(STEP, converged(tmp_path, version)) == []


STATES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "killed between write and restart": ({"units": {"containerd.service": running(since=99.0)}}, [RESTART]),
    "started in the second of the write": ({"units": {"containerd.service": running(since=100.0)}}, []),
    "stopped": ({"units": {"containerd.service": running().__class__(False, True)}}, [RESTART]),
    "not enabled": ({"units": {"containerd.service": running().__class__(True, False, since=200.0)}}, [RESTART]),
    "somebody's configuration": (
        {"files": {CONFIG: present("version = 2\n", mtime=50.0)}, "units": {"containerd.service": running()}},
        [f"change {CONFIG}", RESTART],
    ),
    "somebody's mirror": (
        {"files": {"/etc/containerd/certs.d/quay.io/hosts.toml": present("x")}},
        ["change /etc/containerd/certs.d/quay.io/hosts.toml"],
    ),
}


@pytest.mark.parametrize(("facts", "expected"), STATES.values(), ids=STATES)
def test_partial_states(tmp_path: Path, facts: dict[str, Any], expected: list[str]) -> None:
    assert summaries(STEP, converged(tmp_path, OLD).know(**facts)) == expected


def test_upstream_registries(tmp_path: Path) -> None:
    site = site_at(tmp_path)
    assert tomllib.loads(containerd.registry_hosts(site, "quay.io")) == {"server": "https://quay.io"}
    assert tomllib.loads(containerd.registry_hosts(site, "docker.io")) == {"server": "https://registry-1.docker.io"}


def test_one_mirror_for_all_registries(tmp_path: Path) -> None:
    site = site_at(tmp_path, rest='[mirror]\nimages = "http://192.168.56.2:5000"')
    assert tomllib.loads(containerd.registry_hosts(site, "docker.io")) == {
        "server": "https://registry-1.docker.io",
        "host": {"http://192.168.56.2:5000": {"capabilities": ["pull", "resolve"]}},
    }


def test_a_mirror_with_a_path_for_each_registry(tmp_path: Path) -> None:
    site = site_at(tmp_path, rest='[mirror]\nimages = "https://nexus.example.org/v2/{registry}"')
    assert tomllib.loads(containerd.registry_hosts(site, "quay.io"))["host"] == {
        "https://nexus.example.org/v2/quay.io": {"capabilities": ["pull", "resolve"], "override_path": True}
    }


def test_a_mirror_of_dockers_packages(tmp_path: Path) -> None:
    host = machine(tmp_path, NEW, '[mirror]\ncontainerd = "http://192.168.56.2/download.docker.com"')
    carry_out(STEP, host)
    assert "http://192.168.56.2/download.docker.com/linux/debian/gpg" in host.commands[0]
    assert "docker.com/linux/debian bookworm stable\n" in host.files["/etc/apt/sources.list.d/docker.list"][0]


def test_a_package_that_is_too_old_is_upgraded(tmp_path: Path) -> None:
    """1.x silently ignores the configuration of 2.x."""
    host = converged(tmp_path, NEW).know(packages={"containerd.io": Package("1.7.27-1")})
    assert carry_out(STEP, host) == ["upgrade containerd.io from 1.7.27-1 to 2.x, which Kubernetes 1.37 needs"]
    assert "install --no-remove --only-upgrade containerd.io ||" in host.works["apt-install"]
    assert summaries(STEP, host.know(packages={"containerd.io": Package("2.1.4-1~debian.12~bookworm")})) == []


NVIDIA = """\
version = 2
root = "/data/containerd"
state = "/run/containerd"
imports = ["/etc/containerd/conf.d/*.toml"]
disabled_plugins = ["cri"]

[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "nvidia"
  snapshotter = "overlayfs"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
    privileged_without_host_devices = false
    runtime_engine = "old"
    runtime_type = "io.containerd.runc.v2"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
      BinaryName = "/usr/bin/nvidia-container-runtime"
      CriuPath = ""

[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["http://192.0.2.1"]
"""


@pytest.mark.parametrize(("version", "plugin"), [(OLD, CRI_1), (NEW, "io.containerd.cri.v1.runtime")])
def test_what_the_operator_configured_is_kept_or_said(tmp_path: Path, version: str, plugin: str) -> None:
    host = converged(tmp_path, version).know(files={CONFIG: present(NVIDIA)})
    assert carry_out(STEP, host) == [
        "change /etc/containerd/config.toml (keeps root, imports, the runtime nvidia; drops its registries (they "
        "belong into /etc/containerd/certs.d))",
        RESTART,
    ]
    new = tomllib.loads(host.files[CONFIG][0])
    assert new["root"] == "/data/containerd"
    assert new["imports"] == ["/etc/containerd/conf.d/*.toml"]
    assert "disabled_plugins" not in new
    table = new["plugins"][plugin]["containerd"]
    assert table["default_runtime_name"] == "nvidia"
    assert table["runtimes"]["nvidia"] == {
        "runtime_type": "io.containerd.runc.v2",
        "options": {"BinaryName": "/usr/bin/nvidia-container-runtime", "SystemdCgroup": True},
    }
    assert table["runtimes"]["runc"]["options"] == {"SystemdCgroup": True}
    host.keep(mtime=100.9)
    assert summaries(STEP, host.know(units={"containerd.service": running(since=101.0)})) == [], "it stays"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('disabled_plugins = ["cri"]\n#root = "/var/lib/containerd"\n', ""),  # Docker's package
        ('version = 2\nroot = "/var/lib/containerd"\nstate = "/run/containerd"\nimports = []\n', ""),
        ("version = [\n", "drops a file that is no TOML"),
        ('[proxy_plugins.stargz]\ntype = "snapshot"\n', "drops proxy_plugins"),
    ],
)
def test_other_files_are_replaced(tmp_path: Path, text: str, words: str) -> None:
    host = converged(tmp_path, NEW).know(files={CONFIG: present(text)})
    change, restart = summaries(STEP, host)
    assert change == f"change {CONFIG}" + (f" ({words})" if words else "")
    assert restart == RESTART
    carry_out(STEP, host)
    assert host.files[CONFIG][0] == containerd.config(host.site)
