"""`l2 check` with nothing but a kubeconfig judges the lab's addresses as it does with hosts.toml and SSH."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import drive

pytestmark = pytest.mark.drill


@pytest.fixture
def no_ssh() -> Iterator[None]:
    """Let no machine be reached on port 22."""
    for host in drive.hosts():
        ran = drive.lab("link", host, "--block", "tcp/22")
        assert ran.status == 0, ran.text
    try:
        yield
    finally:
        for host in drive.hosts():
            drive.lab("link", host)


def judged(text: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the verdict of each address or Service in a report, with the nodes that own it."""
    return {
        result["ip"] or result["service"]: (result["verdict"], tuple(owner["node"] for owner in result["owners"]))
        for result in json.loads(text)["results"]
    }


def operator(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of provisioner on the operator machine, in a folder."""
    inside = [*drive.CLI, "lab", "exec", "--directory", str(drive.LAB), "--"]
    known = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    return subprocess.run(
        [*inside, *drive.CLI, *words], check=False, capture_output=True, text=True, cwd=folder, env=known
    )


def test_the_verdicts_are_those_of_hosts_toml(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The folder has no hosts.toml, and port 22 of every machine is closed."""
    kubeconfig = operator(drive.LAB, "kubeconfig")
    assert kubeconfig.returncode == 0, kubeconfig.stderr
    (tmp_path / "lab.conf").write_text(kubeconfig.stdout)
    known = operator(drive.LAB, "-o", "json", "l2", "check")
    assert known.returncode == 0, known.stdout + known.stderr
    request.getfixturevalue("no_ssh")
    asked = operator(tmp_path, "-o", "json", "l2", "check", "--kubeconfig", "lab.conf")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert judged(asked.stdout) == judged(known.stdout)
    assert len(judged(asked.stdout)) > 1
    drive.say(f"judged with a kubeconfig alone: {judged(asked.stdout)}")
