"""The command report: where its page goes, what it takes, and its exit status."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from provisioner.cli.main import cli
from provisioner.page.document import from_json, to_json
from tests.unit.page import sample


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with a site and the output of earlier commands."""
    sample.site(tmp_path)
    sample.files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> tuple[int, str, str]:
    ended = CliRunner().invoke(cli, ["report", *words])
    message = "" if ended.exception is None or isinstance(ended.exception, SystemExit) else str(ended.exception)
    return ended.exit_code, ended.stdout, ended.stderr + message


def test_offline_it_draws_what_earlier_commands_said(folder: Path) -> None:
    status, stdout, stderr = run("--offline", "--from", "verify.json", "--from", "scan.json")
    assert (status, stdout) == (0, "")
    page = folder / "report.html"
    assert stderr == f"report.html: 3 faults ({len(page.read_bytes()) // 1024 + 1} kB)\n"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert "POOL_ADDRESS_IN_USE" in page.read_text()
    assert not (folder / ".provisioner").exists()
    assert os.listdir(folder).count("report.html") == 1


def test_a_page_on_stdout_is_nothing_but_the_page(folder: Path) -> None:
    status, stdout, stderr = run("--offline", "-O", "-")
    assert (status, stderr) == (0, "")
    assert stdout.startswith("<!DOCTYPE html>\n")
    assert stdout.endswith("</html>\n")
    assert not (folder / "report.html").exists()


def test_json_is_the_same_report(folder: Path) -> None:
    status, stdout, stderr = run("--offline", "-o", "json", "--from", "drift.json")
    assert (status, stderr) == (0, "")
    assert json.loads(stdout)["schema"] == "report/v1"
    assert from_json(stdout).drift.source.file == "drift.json"
    assert not (folder / "report.html").exists()
    (folder / "report.json").write_text(stdout)
    assert run("--from", "report.json", "-O", "again.html")[0] == 0
    assert "maxPods" in (folder / "again.html").read_text()


def test_missing_parts_are_named_and_have_their_own_status(folder: Path) -> None:
    (folder / "down.json").write_text(to_json(sample.broken(folder)))
    status, _, stderr = run("--from", "down.json")
    assert status == 2
    assert stderr.startswith("report.html: 1 fault and 5 parts missing (")
    assert "note: without segment: no interface here is on the segment of 192.0.2.200\n" in stderr
    assert stderr.count("note: ") == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--skip", "chekcs"], "--skip 'chekcs' is no part that can be left out; did you mean checks?"),
        (["--skip", "x"], "--skip 'x' is no part that can be left out; these can be: segment, checks and drift"),
        (["-O", "nowhere/x.html"], "no such folder: nowhere; create it, or choose another with -O"),
        (["-O", "."], ". is a folder; name a file: -O report.html"),
        (["--since", "week"], "'week' is not a period; write 90m, 24h or 7d"),
        (["--from", "hosts.toml"], "hosts.toml: is not JSON; "),
        (["--from", "gone.json"], "gone.json: cannot be read: No such file or directory"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked(folder: Path, words: list[str], said: str) -> None:
    status, stdout, stderr = run("--offline", *words)
    assert (status, stdout) == (1, "")
    assert said in stderr
    assert not (folder / "report.html").exists()


def test_a_report_takes_no_other_file(folder: Path) -> None:
    (folder / "r.json").write_text(to_json(sample.document(folder)))
    status, _, stderr = run("--from", "r.json", "--from", "verify.json")
    assert status == 1
    assert "a report is whole and takes no other file" in stderr
