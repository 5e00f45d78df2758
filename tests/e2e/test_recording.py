"""README's recording: what `make lab` shows from the blank machines on, recorded on a terminal of 100 columns."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import pytest

from tests.e2e import drive
from tests.recording import CAST, EVENTS, FOLDER, SVG
from tests.recording.cast import Cast, record
from tests.recording.film import draw

pytestmark = pytest.mark.e2e
TITLE = "Three blank machines become a verified cluster"


def test_a_whole_run_is_recorded() -> None:
    """Blank machines become a verified cluster; the recording is written to docs/recording."""
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(drive.ROOT)}
    environment.pop("SUDO_UID", None)
    program = shutil.which("provisioner", path=environment["PATH"])
    assert program == f"{scripts}/provisioner"
    lab = drive.LAB.relative_to(drive.ROOT)
    FOLDER.mkdir(exist_ok=True)
    EVENTS.write_text("")
    cast, began = Cast(), time.monotonic()
    for words in (["apply", "-y"], ["verify"]):
        inner = [program, "-f", str(lab / "hosts.toml"), *words]
        typed = ["provisioner", "lab", "exec", "--", "provisioner", *inner[1:]]
        cast.sent.append((time.monotonic() - began, f"$ {shlex.join(typed)}\r\n"))
        wrapped = [sys.executable, str(drive.ROOT / "tests/recording/run.py"), str(EVENTS), *inner]
        argv = [program, "lab", "exec", "--directory", str(lab), "--", *wrapped]
        status = record(cast, began, argv, drive.ROOT, environment)
        assert status == 0, "".join(text for _, text in cast.sent[-20:])
    thin = cast.thinned()
    thin.save(CAST, TITLE)
    SVG.write_text(draw(Cast.load(CAST), TITLE), encoding="utf-8")
    drive.say(f"recorded {cast.seconds:.0f} s")
