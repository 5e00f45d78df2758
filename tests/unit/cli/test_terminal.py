"""Live lines on a terminal."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from provisioner.cli.terminal import Terminal
from provisioner.report import Report

CHANGE = "write /etc/apt/keyrings/kubernetes.asc and /etc/apt/sources.list.d/kubernetes.list"
HOSTS = ("master", "worker1", "worker2")


class Screen:
    """A terminal of some size, and what was printed on it."""

    def __init__(self, width: int = 80, height: int = 25) -> None:
        self.out = io.StringIO()
        console = Console(file=self.out, force_terminal=True, width=width, height=height, color_system=None)
        self.view = Terminal(console)
        self.report = Report(self.view)
        self.width = width

    def live(self) -> list[str]:
        """Return the live lines as they are now."""
        assert self.view._live is not None
        console = Console(file=io.StringIO(), width=self.width, height=self.view._console.height, color_system=None)
        with console.capture() as captured:
            console.print(self.view)
        return [line.rstrip() for line in captured.get().splitlines()]

    def step(self, hosts: tuple[str, ...] = HOSTS, **data: Any) -> None:
        """Begin a step on these hosts."""
        self.report.emit("step", "packages, held", step="kubernetes", hosts=hosts, **data)
        for host in hosts:
            self.report.emit("host", host=host, step="kubernetes")


def test_a_step_ends_in_one_line_with_its_changes_below() -> None:
    screen = Screen()
    screen.step(("one", "two"), number=5, of=18)
    for host in ("one", "two"):
        screen.report.emit("change", "install curl [and more]", host=host, step="kubernetes")
    screen.report.emit("output", "Unpacking curl", host="one", step="kubernetes")
    assert any("Unpacking curl" in line for line in screen.live())
    screen.report.emit("done", host="one", step="kubernetes", changes=1, seconds=75.0)
    screen.report.emit("failed", "two: did not", host="two", step="kubernetes", seconds=2.0)
    screen.report.emit("step-done", step="kubernetes", seconds=75.1)
    assert screen.view._live is None
    text = screen.out.getvalue()
    assert re.search(r"✘  5/18 kubernetes +failed on two +1 min 15 s\n", text)
    assert text.endswith("\n    install curl [and more]  [one, two]\n")


def test_the_live_lines_say_which_step_and_how_long_it_takes() -> None:
    screen = Screen()
    screen.step(number=5, of=18, expected=21.0, left=160.0)
    first, *rows, last = screen.live()
    assert first.startswith("Step 5 of 18  kubernetes: packages, held")
    assert first.endswith("0 s of about 20 s")
    assert [row.split()[1] for row in rows] == list(HOSTS)
    assert last == "  0 s since the start, about 3 min left"
    screen.report.emit("expected", step="kubernetes", expected=45.0)
    assert screen.live()[0].endswith("0 s of about 45 s")
    screen.view.close()


def test_nothing_is_expected_without_figures() -> None:
    screen = Screen()
    screen.step(number=1, of=18)
    assert "about" not in "".join(screen.live())
    screen.view.close()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_too_long_and_no_word_is_broken(width: int) -> None:
    screen = Screen(width)
    screen.step(number=5, of=18, expected=21.0, left=160.0)
    screen.report.emit("note", f"worker1: {CHANGE} is not what it was, which may or may not be what you want of it")
    for host in HOSTS:
        screen.report.emit("change", CHANGE, host=host, step="kubernetes")
    lines = screen.live()
    for host in HOSTS:
        screen.report.emit("done", host=host, step="kubernetes", changes=1, seconds=75.0)
    screen.report.emit("step-done", step="kubernetes", seconds=75.1)
    lines += screen.out.getvalue().replace("\x1b", "\n").splitlines()[-8:]
    words = {*re.split(r"[\s/]", CHANGE), *HOSTS, "kubernetes"}
    assert all(len(line) <= width for line in lines)
    for line in lines:
        for word in re.findall(r"kube[a-z.]*|sour[a-z.]*|key[a-z]*|work[a-z0-9]*", line):
            assert word.removesuffix("…") in words, line


def test_of_more_hosts_than_lines_those_that_run_are_shown() -> None:
    screen = Screen(60, 12)
    names = tuple(f"node{number}" for number in range(60))
    screen.report.emit("step", "packages", step="kubernetes", hosts=names, number=5, of=18)
    for host in names[:10]:
        screen.report.emit("host", host=host, step="kubernetes")
    for host in names[:7]:
        screen.report.emit("done", host=host, step="kubernetes", changes=0, seconds=1.0)
    screen.report.emit("failed", "no", host=names[7], step="kubernetes", seconds=1.0)
    lines = screen.live()
    assert len(lines) <= 12
    assert [line.split()[1] for line in lines[1:3]] == ["node8", "node9"]
    assert "7 done, 1 failed, 50 waiting" in lines[3]
    screen.view.close()


def test_what_an_interrupted_step_has_changed_is_printed() -> None:
    screen = Screen()
    screen.step(number=5, of=18)
    screen.report.emit("change", "install curl", host="master", step="kubernetes")
    screen.report.emit("idle")
    lines = screen.out.getvalue().splitlines()
    assert lines[-1] == "    install curl  [master]"
    assert "5/18 kubernetes" in lines[-2]
    assert "interrupted" in lines[-2]
    screen.view.close()
    assert screen.out.getvalue().splitlines() == lines


def test_a_command_to_go_on_with_stays_on_one_line_to_be_copied() -> None:
    screen = Screen(60)
    command = f"then: provisioner lab ssh master sudo kubectl --kubeconfig {CHANGE}"
    screen.report.emit("note", command, follow_up=True)
    assert command in screen.out.getvalue()


def test_what_was_made_is_aligned() -> None:
    screen = Screen(60)
    parts = {"API": "https://192.168.56.10:6443", "external IPs": ["192.168.56.200 port 80", "192.168.56.201 port 80"]}
    screen.report.emit("made", title="cluster lab is up", parts=parts)
    assert screen.out.getvalue().splitlines() == [
        "cluster lab is up:",
        "  API           https://192.168.56.10:6443",
        "  external IPs  192.168.56.200 port 80",
        "                192.168.56.201 port 80",
    ]


def test_a_check_goes_on_after_a_finding_was_printed() -> None:
    screen = Screen()
    screen.report.emit("check", "nodes are Ready", step="nodes", number=1, of=16, expected=3.0, left=60.0)
    assert screen.live()[0].startswith("Check 1 of 16  nodes: nodes are Ready")
    screen.report.emit("idle")
    assert screen.view._live is None
    screen.report.emit("output", "waiting for a pod", host="cluster", step="verify")
    lines = screen.live()
    assert lines[0].startswith("Check 1 of 16  nodes: nodes are Ready")
    assert "waiting for a pod" in lines[1]
    screen.view.close()


def test_of_many_changes_the_first_are_printed_with_hosts_in_their_order() -> None:
    screen = Screen()
    screen.step(number=5, of=18)
    for number in range(33):
        for host in reversed(HOSTS):
            screen.report.emit("change", f"apply object{number}", host=host, step="kubernetes")
    for host in HOSTS:
        screen.report.emit("done", host=host, step="kubernetes", changes=33, seconds=75.0)
    screen.report.emit("step-done", step="kubernetes", seconds=75.1)
    lines = screen.out.getvalue().splitlines()
    assert lines[-10] == "    apply object0  [master, worker1, worker2]"
    assert lines[-1] == "    and 24 more, which the log has"
