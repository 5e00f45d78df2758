"""The log and the events of a run."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.report import Event, Log, Report

TOKEN = "abcdef.0123456789abcdef"


def test_the_log_is_complete_private_and_redacted(tmp_path: Path) -> None:
    log = Log(tmp_path / "logs" / "x.log")
    report = Report(log=log)
    assert not log.path.exists()
    report.emit("change", "write /etc/x", host="one", step="s", diff=f"+ token {TOKEN}\n+ rest\n")
    report.command("one", "kubeadm token list", status=0, seconds=1.2, stdout=f"{TOKEN}\n", stderr="warning\n")
    log.close()
    text = log.path.read_text()
    assert TOKEN not in text
    for part in ("write /etc/x", "+ rest", "kubeadm token list", "exit 0 after 1.2 s", "warning"):
        assert part in text
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.path.parent.stat().st_mode) == 0o700


def test_events_are_redacted_before_they_are_shown() -> None:
    seen: list[Event] = []
    Report(seen.append).emit("output", f"join --token {TOKEN}", diff=TOKEN, nested={"a": [TOKEN]})
    assert TOKEN not in seen[0].text + json.dumps(dict(seen[0].data))


def test_nothing_is_shown_after_close() -> None:
    seen: list[Event] = []
    report = Report(seen.append)
    report.close()
    report.emit("failed", "too late")
    assert not seen


class TestALogThatCannotBeWritten:
    def test_a_full_disk_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "log").symlink_to("/dev/full")
        log = Log(tmp_path / "log")
        log.write("lost")
        log.write("also lost")
        with pytest.raises(
            ProvisionerError, match=r"cannot write the log .*: No space left on device; free disk space"
        ):
            log.check()
        log.close()

    def test_a_folder_of_somebody_else(self, tmp_path: Path) -> None:
        (tmp_path / "logs").write_text("not a folder")
        log = Log(tmp_path / "logs/x/log")
        log.write("lost")
        with pytest.raises(ProvisionerError, match="cannot write the log"):
            log.check()

    def test_a_log_that_works_is_silent(self, tmp_path: Path) -> None:
        log = Log(tmp_path / "log")
        log.write("kept")
        log.check()
        log.close()


def test_a_closed_terminal_ends_the_events_and_is_remembered(tmp_path: Path) -> None:
    def closed(event: Event) -> None:
        raise OSError(5, "Input/output error")

    log = Log(tmp_path / "log")
    report = Report(closed, log=log)
    report.emit("note", "one")
    report.emit("note", "two")
    assert report.broken == "cannot show its progress: Input/output error"
    log.close()
    text = (tmp_path / "log").read_text()
    assert "one" in text
    assert "two" in text
