"""docs/troubleshooting.md shows each mistake as it looks: here each is made, and must look like that."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioner.cli.main import main
from provisioner.engine import runner, summary
from provisioner.errors import HostError
from provisioner.redact import redact
from provisioner.ssh import HostNic
from provisioner.steps import preflight
from tests.unit.steps.doubles import drain, fleet_for, site_at

PAGE = Path(__file__).parents[3] / "docs" / "troubleshooting.md"
SITE = """\
[cluster]
name = "home"
kubernetes = "1.37"

[[hosts]]
name = "nuc1"
address = "192.168.1.11"
roles = ["control-plane"]

[[hosts]]
name = "nuc2"
address = "192.168.1.12"
roles = ["worker"]

[[metallb.pools]]
name = "lab"
addresses = ["192.168.1.200-192.168.1.230"]
"""
# Both hosts are this machine, where nobody listens on the ports 1 and 2.
NOBODY = re.sub(r'192.168.1.1(\d)"\n', r'192.168.1.1\1"\nssh_address = "127.0.0.1"\nssh = { port = \1 }\n', SITE)
BLANK = 'kubernetes = "1.37"'


@dataclass(frozen=True)
class Typed:
    """A command that is typed in a folder. site: hosts.toml, "" for none. files: others."""

    command: str
    site: str = SITE
    files: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Looked:
    """What preflight says of a machine with these facts, as plan prints it."""

    facts: Mapping[str, Any]
    host: str = "worker1"


def edited(old: str, new: str, command: str = "plan") -> Typed:
    assert old in SITE
    return Typed(command, SITE.replace(old, new, 1))


MISTAKES: dict[str, Typed | Looked] = {
    "There is no hosts.toml": Typed("plan", ""),
    "There is one already": Typed("init"),
    "A version without quotes": edited('"1.37"', "1.37"),
    "A string without quotes": edited('"home"', "home"),
    "One bracket for two": Typed("plan", SITE.replace("[[hosts]]", "[hosts]")),
    "A key with a typo": edited("address =", "adress ="),
    "A role that does not exist": edited('"worker"', '"node"'),
    "One address for two hosts": edited("192.168.1.12", "192.168.1.11"),
    "No control plane": edited('"control-plane"', '"worker"'),
    "Several control planes without an address": edited('"worker"', '"control-plane"'),
    "A pool in short": edited("192.168.1.200-192.168.1.230", "192.168.1.200-230"),
    "A pool with a host in it": edited("192.168.1.200-192.168.1.230", "192.168.1.10-192.168.1.40"),
    "A workload with a typo": Typed("plan", f'{SITE}\n[workloads]\nenabled = ["nodeprt"]\n'),
    "A step with a typo": Typed("plan --only kubernets"),
    "A host with a typo": Typed("plan --limit nuc3"),
    "A command with a typo": Typed("l2 chek"),
    "Nobody to ask": Typed("apply"),
    "The machine does not answer": Typed("plan", NOBODY),
    "A machine that is too small": Looked({"cpus": 1, "memory_mib": 960}, "master"),
    "An address that is on no NIC": Looked(
        {"nics": (HostNic("enp1s0", "52:54:00:00:01:02", True, ("10.0.0.5/24",)),)}
    ),
    "A clock that is wrong": Looked({"clock_skew": -3600.0}),
    "A system that is not supported": Looked({"os_id": "fedora", "os_version": "41"}),
    "Machines that are clones": Looked({"machine_id": "machine-id of master"}),
}


def sections() -> dict[str, str]:
    """Return the first block of code of each section of the page."""
    found = re.findall(r"^## (.+?)\n\n```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return dict(found)


def test_the_page_has_the_twenty_likeliest() -> None:
    assert [*sections()] == [*MISTAKES]
    assert len(MISTAKES) >= 20


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_looks_as_the_page_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mistake = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", "")
    found = typed(mistake, tmp_path, monkeypatch, capsys) if isinstance(mistake, Typed) else looked(mistake, tmp_path)
    assert sections()[name] == found


def typed(mistake: Typed, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    for path, text in {"hosts.toml": mistake.site, **(mistake.files or {})}.items():
        if text:
            (folder / path).write_text(text)
    monkeypatch.setattr(sys, "argv", ["provisioner", *mistake.command.split()])
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)  # pytest's own stay
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (1, 2)  # l2: 1 is a fault that was found
    out, err = capsys.readouterr()
    assert out == ""
    return steady(f"$ provisioner {mistake.command}\n{err}", folder)


def looked(mistake: Looked, folder: Path) -> str:
    fleet = fleet_for(preflight.STEP, site_at(folder, BLANK))
    host = fleet[mistake.host]
    facts = {
        key: fleet["master"].facts.machine_id if key == "machine_id" else value for key, value in mistake.facts.items()
    }
    host.know(**facts)
    with pytest.raises(HostError) as raised:
        drain(preflight.STEP, host)
    failure = runner.Failure("preflight", host.name, raised.value)
    lines = summary.failure_lines([failure], None)
    return "$ provisioner plan\n" + "".join(f"{redact(line)}\n" for line in lines)


def steady(text: str, folder: Path) -> str:
    """Return a text without what differs from run to run: the folder, times, the order of hosts at work, the log."""
    text = text.replace(f"{folder}/", "")
    text = re.sub(r"(?<=Usage: )python -m \S+|(?<=Try ')python -m \S+", "provisioner", text)  # as pytest was started
    text = re.sub(r"^== .*\n|^   \w+: FAILED .*\n|^log: .*\n", "", text, flags=re.M)
    return re.sub(r"/\S+/workloads/", ".../workloads/", text)
