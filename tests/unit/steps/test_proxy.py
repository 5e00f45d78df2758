"""The proxy of hosts.toml reaches apt, curl, containerd and kubeadm."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from provisioner.engine import apt_source
from provisioner.engine.apt_source import AptSource
from provisioner.kube import kubeadm_state
from provisioner.ssh import Host
from provisioner.ssh.facts import File, Package
from provisioner.steps import containerd, prepare
from tests.unit import signing_key
from tests.unit.steps.doubles import RecordingHost, carry_out, fleet_for, present, running, site_at, summaries

PROXY = '[proxy]\nhttp = "http://192.0.2.99:3128"\nhttps = "http://192.0.2.99:3128"\n'
URL = "http://192.0.2.99:3128"


def host_for(step: object, tmp_path: Path, rest: str = PROXY) -> RecordingHost:
    return fleet_for(step.STEP, site_at(tmp_path, 'kubernetes = "1.31"', rest))["worker1"]  # type: ignore[attr-defined]


def test_apt(tmp_path: Path) -> None:
    host = host_for(prepare, tmp_path)
    done = carry_out(prepare.STEP, host)
    written = done.index(f"write {prepare.APT_PROXY}")
    assert any(each.startswith("install ") for each in done[written:]), "before anything is installed"
    assert f'Acquire::http::Proxy "{URL}";' in host.files[prepare.APT_PROXY][0]
    without = host_for(prepare, tmp_path, "").know(files={prepare.APT_PROXY: present("x")})
    assert f"remove {prepare.APT_PROXY}" in summaries(prepare.STEP, without)


def test_containerd(tmp_path: Path) -> None:
    host = host_for(containerd, tmp_path)
    assert f"write {containerd.DROP_IN}" in carry_out(containerd.STEP, host)
    assert f'Environment="HTTP_PROXY={URL}"' in host.files[containerd.DROP_IN][0]
    host.keep(mtime=100.9)
    host.know(packages={name: Package("1.7.1") for name in ("containerd", "runc")})
    host.know(units={"containerd.service": running(since=100.0)})
    assert summaries(containerd.STEP, host) == []
    host.know(units={"containerd.service": running(since=99.0)})
    assert summaries(containerd.STEP, host) == ["enable and start containerd.service"], "killed before the restart"
    off = host_for(containerd, tmp_path, "").know(files={containerd.DROP_IN: present("x")})
    assert f"remove {containerd.DROP_IN}" in carry_out(containerd.STEP, off)
    assert any(f"rm {containerd.DROP_IN}" in command for command in off.commands)


def test_kubeadm_and_curl(tmp_path: Path) -> None:
    host = host_for(containerd, tmp_path)
    kubeadm_state.run_marked(cast(Host, host), "kubeadm-init", "/m", "kubeadm init", timeout=10)
    (work,) = host.works.values()
    assert f"export http_proxy={URL} " in work.split("kubeadm init")[0]
    host.says["/gpg"] = signing_key.KEY
    source = AptSource("docker", "https://x.example/", "https://x.example/gpg", "/", (signing_key.FINGERPRINT,), "k")
    host.facts.files.asked += AptSource.paths("docker")  # type: ignore[attr-defined]
    host.know(files={path: File(exists=False) for path in AptSource.paths("docker")})
    next(iter(apt_source.add_repository(cast(Host, host), source))).do()
    (curl,) = host.commands
    assert curl.startswith(f"export http_proxy={URL} ")
    assert "no_proxy=localhost,127.0.0.1,::1,master," in curl
