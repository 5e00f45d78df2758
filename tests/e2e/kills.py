"""Kill apply during `kubeadm init`, a join, the NFS step and the MetalLB step, as an operator or a power cut would."""

from __future__ import annotations

from pathlib import Path

from tests.e2e import drive, secrets
from tests.e2e.drive import changing


def at_every_point(site: Path) -> None:
    """Start without a control plane; each apply continues where the last one was killed."""
    drive.killed_during(
        changing("control-plane", "kubeadm init"), lambda: _runs("master", "kubeadm"), "kubeadm init", site=site
    )
    # As after a power cut: the kubeadm that was left running does not finish.
    assert drive.ssh("master", "pkill -9 -x kubeadm").status == 0
    started = drive.killed_during(
        changing("join", "kubeadm join"), lambda: _runs("worker1", "kubeadm"), "a join", site=site
    )
    assert any(text.startswith("clean up after an interrupted kubeadm init") for text in started), started
    # The one moment at which a token is in use.
    secrets.none_in_arguments("worker1")
    assert drive.ssh("worker1", "pkill -9 -x kubeadm || true").status == 0
    # The file is written, but exportfs has not run.
    drive.killed_during(changing("nfs", "export "), lambda: True, "the NFS step", site=site)
    drive.killed_during(changing("metallb"), lambda: True, "the MetalLB step", site=site)


def _runs(host: str, process: str) -> bool:
    return drive.ssh(host, f"pgrep -x {process} >/dev/null").status == 0
