"""The vip check: one holder, its MAC on the segment, a ready API, and others that could take over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import CHECKS, vip
from provisioner.checks.check import Finding
from provisioner.errors import Unreachable
from provisioner.ssh.command import CommandResult
from tests import hosts_toml
from tests.unit.checks.contexts import context, findings
from tests.unit.fake_cluster import FakeCluster

TEXT = '[cluster]\nvip = "192.0.2.9"\ntimeout_scale = 0.001\n' + "".join(
    hosts_toml.host(name, f"192.0.2.{number}", role)
    for number, (name, role) in enumerate((("a", "control-plane"), ("b", "control-plane"), ("w", "worker")), 10)
)
MAC, OTHER = "02:00:00:00:00:0a", "02:00:00:00:00:ff"


@dataclass
class Machine:
    """A host that answers the check's three questions; silent: the login fails."""

    name: str
    mac: str = ""  # of the NIC with the vip
    active: str = "active"
    ready: str = "200"
    answer: str = f"192.0.2.9 lladdr {MAC} REACHABLE\nready=200"
    silent: bool = False

    def run(self, command: str, **_: Any) -> CommandResult:
        if self.silent:
            raise Unreachable(self.name, "does not answer", "check that the machine is up")
        if "echo active=" in command:
            text = f"{self.mac}\nactive={self.active}\nready={self.ready}\n"
        elif "journalctl" in command:
            text = "(api) Entering MASTER STATE\n"
        elif "scan" in command:
            text = self.answer
        else:
            text = "2: eth1    inet 192.0.2.12/24 scope global eth1\n"
        return CommandResult(text, "", 0, 0.0)


def found(folder: Path, a: Machine, b: Machine, w: Machine | None = None) -> dict[str, list[Finding]]:
    hosts = {"a": a, "b": b, "w": w or Machine("w")}
    return findings(vip.CHECK, context(folder, FakeCluster(), TEXT, hosts))


def test_a_sound_vip(tmp_path: Path) -> None:
    seen = found(tmp_path, Machine("a", MAC), Machine("b"))
    assert {code: [one.detail for one in each] for code, each in seen.items()} == {
        "VIP_HELD": ["is on a"],
        "VIP_ANSWERS": [f"answers b from {MAC}, and the API is ready there"],
        "VIP_STANDBY": ["could move to b"],
    }
    assert all(one.ok for each in seen.values() for one in each)


@pytest.mark.parametrize(
    ("a", "b", "code", "said"),
    [
        pytest.param(Machine("a"), Machine("b"), "VIP_NO_HOLDER", "is on none of the control planes", id="nobody"),
        pytest.param(
            Machine("a", MAC), Machine("b", OTHER), "VIP_TWO_HOLDERS", "is on a and b at the same time", id="both"
        ),
        pytest.param(
            Machine("a", MAC),
            Machine("b", answer=f"192.0.2.9 lladdr {OTHER} REACHABLE\nready=200"),
            "VIP_WRONG_MAC",
            f"is on a ({MAC}), but b got the answer from {OTHER}",
            id="stranger",
        ),
        pytest.param(
            Machine("a", MAC),
            Machine("b", answer="192.0.2.9 FAILED\nready=000"),
            "VIP_WRONG_MAC",
            f"is on a ({MAC}), but b got no answer",
            id="silent",
        ),
        pytest.param(
            Machine("a", MAC),
            Machine("b", answer=f"192.0.2.9 lladdr {MAC} REACHABLE\nready=500"),
            "VIP_API_NOT_READY",
            "answers from a, but https://192.0.2.9:6443/readyz returns 500",
            id="not ready",
        ),
        pytest.param(
            Machine("a", MAC),
            Machine("b", answer=f"192.0.2.9 lladdr {MAC} REACHABLE\nready=000"),
            "VIP_API_NOT_READY",
            "answers from a, but https://192.0.2.9:6443/readyz does not accept connections",
            id="no server",
        ),
        pytest.param(
            Machine("a", MAC),
            Machine("b", active="inactive"),
            "VIP_NO_STANDBY",
            "does not run keepalived.service, so it would not take 192.0.2.9",
            id="no keepalived",
        ),
        pytest.param(
            Machine("a", MAC),
            Machine("b", ready="500"),
            "VIP_NO_STANDBY",
            "has an API server that is not ready (/readyz: 500), so it would not take 192.0.2.9",
            id="standby not ready",
        ),
        pytest.param(
            Machine("a", MAC),
            Machine("b", silent=True),
            "VIP_NO_STANDBY",
            "could not be asked: does not answer, so it would not take 192.0.2.9",
            id="standby off",
        ),
    ],
)
def test_faults(tmp_path: Path, a: Machine, b: Machine, code: str, said: str) -> None:
    (one,) = found(tmp_path, a, b)[code]
    assert not one.ok
    assert one.detail.startswith(said)
    assert one.remedy


def test_another_host_is_asked_where_the_first_is_off(tmp_path: Path) -> None:
    seen = found(tmp_path, Machine("a", MAC), Machine("b", silent=True))
    assert seen["VIP_ANSWERS"][0].detail.startswith("answers w from")


def test_a_site_without_a_vip_skips_it(tmp_path: Path) -> None:
    assert vip.CHECK in CHECKS
    assert vip.CHECK.skip_reason(context(tmp_path, FakeCluster()).site)
