"""`l2 explain`: a page, the list, what is close, and what a shell completes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from provisioner.cli.l2 import l2
from provisioner.cli.main import cli
from provisioner.cli.options import Options
from provisioner.l2 import explanations

ROOT = Path(__file__).parents[3]


def run(*words: str, output: str = "text") -> tuple[int, str, str]:
    ended = CliRunner().invoke(l2, ["explain", *words], obj=Options(output=output))
    return ended.exit_code, ended.stdout, ended.stderr


def test_a_page_is_printed_as_it_is_without_a_terminal() -> None:
    assert run("split-brain") == (0, explanations.page("SPLIT_BRAIN"), "")


def test_without_a_word_everything_is_listed_within_100_columns() -> None:
    status, text, _ = run()
    assert status == 0
    assert re.findall(r"^  ([A-Z_]+[A-Z0-9_]*)  ", text, re.MULTILINE) == list(explanations.codes())
    assert max(map(len, text.splitlines())) <= 100


def test_an_unknown_word_is_status_2_with_what_is_close() -> None:
    status, text, error = run("splitbrain")
    assert (status, text) == (2, "")
    assert error == "no verdict or warning is called 'splitbrain'; did you mean SPLIT_BRAIN?\n"


def test_json() -> None:
    listed = json.loads(run(output="json")[1])
    assert [entry["code"] for entry in listed] == list(explanations.codes())
    one = json.loads(run("icmp silent", output="json")[1])
    assert (one["kind"], one["page"]) == ("warning", explanations.page("ICMP_SILENT"))


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("SPL", ["SPLIT_BRAIN"]), ("no-add", ["NO_ADDRESS"]), ("config", ["CONFIG_INVALID", "CONFIG_STALE"]), ("x", [])],
)
def test_a_shell_completes_codes(typed: str, completed: list[str]) -> None:
    shell = ShellComplete(cli, {}, "provisioner", "_PROVISIONER_COMPLETE")
    assert [item.value for item in shell.get_completions(["l2", "explain"], typed)] == completed


@pytest.mark.parametrize("columns", ["60", "120"])
def test_on_a_terminal_prose_is_wrapped_and_frames_are_not(columns: str) -> None:
    program = (
        f"import os, sys; os.environ['COLUMNS'] = {columns!r}; sys.argv[1:] = ['l2', 'explain', 'BROADCAST_BLIND']\n"
    )
    program += "sys.stdout.isatty = lambda: True\nfrom provisioner.cli.main import main\nmain()"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"},
    )
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in ended.stdout.splitlines()]
    assert lines[0] == "BROADCAST_BLIND"
    frames = [line for line in lines if line.startswith("    52:54:")]
    assert [line.strip() for line in frames] == re.findall(r"^52:54:.+$", explanations.page("BROADCAST_BLIND"), re.M)
    assert max(len(line) for line in lines if line not in frames) <= min(int(columns), 100)
    assert not any("```" in line or "**" in line or "](" in line for line in lines)
