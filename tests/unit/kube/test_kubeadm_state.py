"""A half-made control plane is not wiped while etcd counts it: the shell that sees to it."""

import os
import subprocess
from pathlib import Path
from typing import cast

import pytest

from provisioner.kube import kubeadm_state
from provisioner.ssh import Host, jobs

MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
# As kubeadm 1.20 and 1.37 say it (cmd/phases/reset/removeetcdmember.go), and etcd.
NO_QUORUM = "W1 removeetcdmember.go:61] [reset] failed to remove etcd member: etcdserver: re-configuration failed"
NEWER = "W1 removeetcdmember.go:79] [reset] Failed to remove etcd member: context deadline exceeded, please manually"
GONE = "W1 removeetcdmember.go:61] [reset] failed to remove etcd member: etcdserver: member not found"
NO_API = 'W1 reset.go:99] [reset] Unable to fetch the kubeadm-config ConfigMap from cluster: nodes "b" not found'


def script(marker: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what `reset` runs on the host."""
    scripts: list[str] = []

    def record(host: Host, name: str, command: str, *, timeout: float) -> None:
        del host, name, timeout
        scripts.append(command)

    monkeypatch.setattr(jobs, "run", record)
    kubeadm_state.reset(cast(Host, None), marker)
    return scripts[0]


@pytest.mark.parametrize(
    ("said", "status", "listens", "wiped"),
    [
        ("", 0, True, True),
        (GONE, 0, True, True),
        (NO_QUORUM, 0, True, False),
        (NEWER, 0, True, False),
        (NO_API, 0, True, False),
        ("panic", 2, True, False),
        (NO_QUORUM, 0, False, True),  # an etcd that is out of its cluster has exited
    ],
)
def test_a_control_plane_is_reset_once_etcd_has_let_it_go(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    status: int,
    listens: bool,
    wiped: bool,
) -> None:
    manifest = tmp_path / "etcd.yaml"
    manifest.touch()
    text = script(kubeadm_state.JOIN_STARTED, monkeypatch).replace(MANIFEST, str(manifest))
    guard = text.partition(kubeadm_state.RESET)[0]
    programs = {
        "kubeadm": f"cat <<'END'\n{said}\nEND\nexit {status}",
        "ss": "echo LISTEN" if listens else "true",
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["sh", "-eu", "-c", f"{guard}\necho wiping"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("wiping" in done.stdout) is wiped, done.stdout + done.stderr
    assert (done.returncode == 0) is wiped
    if not wiped:
        assert "still a member of etcd" in done.stdout
        assert said in done.stdout


def test_the_first_control_plane_has_nobody_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "remove-etcd-member" not in script(kubeadm_state.INIT_STARTED, monkeypatch)
    assert "remove-etcd-member" in script(kubeadm_state.JOIN_STARTED, monkeypatch)
