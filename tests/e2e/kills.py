"""Kill apply at the start, in the middle and at the end of every step, as an operator or a power cut would."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provisioner.site import load_site
from provisioner.steps import STEPS
from tests.e2e import drive, secrets

# Seconds between the report of a change and the kill, in turn: before the host has begun, and while it is at it.
DELAYS = (0.0, 0.3, 1.0)
# Steps whose change is one kubeadm that outlives apply: the summary's first words, and a host that runs it.
KUBEADM = {"control-plane": ("kubeadm init", "master"), "join": ("kubeadm join", "worker1")}
At = Callable[[dict[str, Any]], bool]


def at_every_step(site: Path) -> int:
    """Start with blank machines; each apply continues where the last one was killed. Return the number of kills."""
    delays = itertools.cycle(DELAYS)
    kills, described = 0, load_site(site)
    for step in (step.name for step in STEPS if step.enabled(described)):
        _kill(drive.begins(step), f"the start of {step}", site)
        kills += 1 + _in_the_middle(step, site, next(delays))
        _kill(drive.ends(step), f"the end of {step}", site)
        kills += 1
    return kills


def _kill(at: At, what: str, site: Path, running: Callable[[], bool] = lambda: True) -> None:
    """Kill apply, and unlock as somebody does who knows that it is gone; else the next one waits for the expiry."""
    drive.killed_during(at, running, what, site=site)
    unlocked = drive.operator("unlock", "-y", site=site, quiet=True)
    assert unlocked.status == 0, unlocked.text


def _in_the_middle(step: str, site: Path, delay: float) -> int:
    """Kill apply while a step makes its first change; return 0 if it makes none.

    It makes none if the run that was killed before had just begun them: a kubeadm on a host does not end with it.
    """
    changed = False

    def middle(event: dict[str, Any]) -> bool:
        nonlocal changed
        changed = changed or drive.changing(step, KUBEADM.get(step, ("", ""))[0])(event)
        return changed or drive.ends(step)(event)

    if step not in KUBEADM:
        _kill(middle, f"the middle of {step}", site, _after(delay))
        return int(changed)
    what, host = KUBEADM[step]
    _kill(middle, what, site, lambda: not changed or _has_begun(host))
    if changed:
        # The one moment at which a token is in use.
        secrets.none_in_arguments(host)
        # As after a power cut: the kubeadm that was left running does not finish.
        assert drive.ssh(host, "pkill -9 -x kubeadm || true").status == 0
    return int(changed)


def _after(delay: float) -> Callable[[], bool]:
    def wait() -> bool:
        time.sleep(delay)
        return True

    return wait


def _has_begun(host: str) -> bool:
    """Return whether kubeadm runs on a host, or has finished already."""
    return drive.ssh(host, "pgrep -x kubeadm >/dev/null || test -e /etc/kubernetes/kubelet.conf").status == 0
