"""The systemd unit of examples/ runs a command that exists, with CAP_NET_RAW and nothing more."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

from provisioner.cli.l2_guard import guard

UNIT = Path(__file__).parents[2] / "examples" / "provisioner-l2-guard.service"


def test_the_unit_runs_the_guard_with_options_that_exist() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text())
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert (Path(program).name, words[:2]) == ("provisioner", ["l2", "guard"])
    options = {name for one in guard.commands["run"].params for name in one.opts}
    assert {word for word in words if word.startswith("--")} <= options
    assert unit["Service"]["AmbientCapabilities"] == unit["Service"]["CapabilityBoundingSet"] == "CAP_NET_RAW"
    assert unit["Service"]["StateDirectory"] in unit["Service"]["WorkingDirectory"]
