"""Kill apply during `kubeadm init`, a join, the NFS step and the MetalLB step, as a power cut or an operator would."""

from __future__ import annotations

from pathlib import Path

from tests.e2e import drive, secrets
from tests.e2e.drive import changing


def at_every_crossing(site: Path) -> None:
    """Begin at machines without a control plane; each apply goes on where the one before was killed."""
    drive.killed_during(
        changing("control-plane", "kubeadm init"), lambda: _runs("master", "kubeadm"), "kubeadm init", site=site
    )
    # The machine itself may die as well: the init that was left behind ends half-way.
    assert drive.ssh("master", "pkill -9 -x kubeadm").status == 0
    begun = drive.killed_during(
        changing("join", "kubeadm join"), lambda: _runs("worker1", "kubeadm"), "a join", site=site
    )
    assert any(text.startswith("clean up a kubeadm init") for text in begun), begun
    # Nobody looks at argument lists more closely than while a token is in use.
    secrets.none_in_arguments("worker1")
    assert drive.ssh("worker1", "pkill -9 -x kubeadm || true").status == 0
    # The file is written and the kernel has not been told.
    drive.killed_during(changing("nfs", "export "), lambda: True, "the NFS step", site=site)
    drive.killed_during(changing("metallb"), lambda: True, "the MetalLB step", site=site)


def _runs(host: str, process: str) -> bool:
    return drive.ssh(host, f"pgrep -x {process} >/dev/null").status == 0
