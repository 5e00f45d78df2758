"""Complete runs of the command line: plan, apply, kills, interrupts, output."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.site import Site
from tests.integration.ssh.conftest import ROOT, MakeSite, command_line, provisioner, slow_started
from tests.integration.ssh.nodes import SUDO_PASSWORD, Machine, wait_for


def test_a_second_plan_and_apply_change_nothing(site: Site, machines: dict[str, Machine]) -> None:
    first = provisioner(site, "plan", "--diff")
    assert first.returncode == 2, first.stderr
    assert first.stdout.splitlines() == [
        "files",
        "  write /etc/demo.conf  [master, one]",
        "      + lab",
        "slow",
        "  take a long time  [master]",
        "last",
        "  write /etc/demo.last  [master, one]",
    ]
    assert "5 changes on 2 hosts\n" in first.stderr
    assert machines["master"].sh("ls /etc | grep demo[.]; ls -A /var/lib/provisioner 2>/dev/null; true") == ""

    applied = provisioner(site, "apply", "-y")
    assert applied.returncode == 0, applied.stderr
    assert re.search(r"2 changed, 0 unchanged, 0 failed in \d", applied.stderr)
    assert "verify" in applied.stderr.splitlines()[-1]
    assert machines["one"].sh("cat /etc/demo.conf /etc/demo.last") == "lab\ndemo\n"
    assert machines["master"].sh("ls -A /var/lib/provisioner") == "lock.guard\n"

    before = {name: machine.sessions() for name, machine in machines.items()}
    repeated = provisioner(site, "plan")
    assert (repeated.returncode, repeated.stdout) == (0, ""), repeated.stderr
    assert "nothing to do on 2 hosts" in repeated.stderr
    # A plan of an unchanged host costs one round trip.
    assert {name: machine.sessions() - before[name] for name, machine in machines.items()} == {
        "master": 1,
        "one": 1,
        "gate": 0,
    }
    second = provisioner(site, "apply", "-y")
    assert second.returncode == 0
    assert "0 changed, 2 unchanged, 0 failed" in second.stderr
    assert provisioner(site, "apply", "--dry-run").returncode == 0


def test_a_plan_with_a_sudo_password_is_two_round_trips(
    make_site: MakeSite, machines: dict[str, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_PW", SUDO_PASSWORD)
    own = make_site(user="careful", sudo_password="env:SUDO_PW")
    before = machines["one"].sessions()
    assert provisioner(own, "plan").returncode in (0, 2)
    assert machines["one"].sessions() - before == 2


def test_json_events(site: Site) -> None:
    applied = provisioner(site, "-o", "json", "apply", "-y")
    events = [json.loads(line) for line in applied.stdout.splitlines()]
    assert [event["step"] for event in events if event["kind"] == "step"] == [
        "connect", "preflight", "files", "slow", "last"
    ]  # fmt: skip
    assert {event["text"] for event in events if event["kind"] == "output"} == {"started"}
    last = next(event for event in events if event["kind"] == "summary")
    assert (last["changed"], last["failed"], last["changes"]) == (["master", "one"], [], 5)


def test_apply_without_y_and_terminal_is_refused_before_connecting(site: Site, machines: dict[str, Machine]) -> None:
    before = machines["master"].sessions()
    done = provisioner(site, "apply")
    assert done.returncode == 1
    assert "stdin is not a terminal" in done.stderr
    assert machines["master"].sessions() == before


@pytest.mark.parametrize(("answer", "status", "applied"), [("y\n", 0, True), ("n\n", 1, False)])
def test_apply_on_a_terminal_shows_the_plan_and_asks(
    site: Site, machines: dict[str, Machine], answer: str, status: int, applied: bool
) -> None:
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        command_line(site, "apply"),
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = b""
    try:
        while b"Proceed?" not in screen:
            screen += os.read(ours, 4096)
        assert b"write /etc/demo.conf  [master, one]" in screen
        assert "demo.conf" not in machines["one"].sh("ls /etc")
        os.write(ours, answer.encode())
        while True:
            try:
                screen += os.read(ours, 4096)
            except OSError:  # EIO: the other end is closed
                break
        assert child.wait(30) == status, screen.decode()
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    assert ("demo.conf" in machines["one"].sh("ls /etc")) is applied
    ended = re.search(r"✔ \d/4 files ", screen.decode().split("Proceed?")[1])
    assert (ended is not None) is applied


def test_a_failure_shows_host_cause_log_and_retry_commands(site: Site, machines: dict[str, Machine]) -> None:
    machines["one"].sh("touch /etc/demo.bad")
    done = provisioner(site, "apply", "-y")
    assert done.returncode == 1
    assert "one: preflight failed\n  cause: is bad\n  try: rm /etc/demo.bad on it\n" in done.stderr
    log = re.search(r"^log: (.+)$", done.stderr, re.MULTILINE)
    assert log
    assert "one: is bad" in Path(log[1]).read_text()
    assert f"retry: provisioner -f {site.path} apply\n" in done.stderr
    assert f"provisioner -f {site.path} apply --limit one\n" in done.stderr
    assert "1 failed" in done.stderr
    assert "demo.conf" not in machines["master"].sh("ls /etc")


def test_every_unreachable_host_is_reported_and_nothing_changes(
    make_site: MakeSite, site: Site, machines: dict[str, Machine]
) -> None:
    del site
    own = make_site(hosts=("master", "one", "gate"), connect_timeout=1.0)
    for name in ("one", "gate"):
        machines[name].link("down")
    try:
        done = provisioner(own, "apply", "-y")
    finally:
        for name in ("one", "gate"):
            machines[name].link("up")
    assert done.returncode == 1
    assert "one: connect failed" in done.stderr
    assert "gate: connect failed" in done.stderr
    assert "demo.conf" not in machines["master"].sh("ls /etc")


def test_a_run_after_a_kill_waits_for_the_job(
    site: Site, machines: dict[str, Machine], started: Callable[..., subprocess.Popen[str]]
) -> None:
    master = machines["master"]
    master.sh("rm /run/go")
    first = started("apply", "-y")
    wait_for(slow_started(master), "the slow command")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert '"id"' in master.sh("cat /var/lib/provisioner/lock")
    planned = provisioner(site, "plan")
    assert planned.returncode == 2
    assert "master: slow, started by an earlier run, is still running; apply waits for it" in planned.stderr
    second = started("-v", "apply", "-y")
    assert second.stderr is not None
    seen = ""
    while "waiting for slow" not in seen:
        line = second.stderr.readline()
        assert line, seen
        seen += line
    master.sh("touch /run/go")
    rest = second.communicate(timeout=30)[1]
    assert second.returncode == 0, seen + rest
    assert master.sh("cat /etc/demo.count") == "run\n"
    assert "demo.last" in machines["one"].sh("ls /etc")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_reports_its_jobs_and_releases_the_lock(
    site: Site,
    machines: dict[str, Machine],
    started: Callable[..., subprocess.Popen[str]],
    number: signal.Signals,
) -> None:
    master = machines["master"]
    master.sh("rm /run/go")
    child = started("apply", "-y")
    wait_for(slow_started(master), "the slow command")
    child.send_signal(number)
    stderr = child.communicate(timeout=20)[1]
    assert child.returncode == 130, stderr
    assert "master: slow is still running there" in stderr
    assert f"to resume: provisioner -f {site.path} apply" in stderr
    assert "Traceback" not in stderr
    assert master.sh("ls -A /var/lib/provisioner") == "lock.guard\n"
    master.sh("touch /run/go")
    assert provisioner(site, "apply", "-y").returncode == 0
    assert master.sh("cat /etc/demo.count") == "run\n"


def test_a_limited_apply_lists_the_steps_not_run(site: Site) -> None:
    part = provisioner(site, "apply", "-y", "--limit", "one")
    assert part.returncode == 0, part.stderr
    skipped, following = part.stderr.splitlines()[-2:]
    assert skipped == "steps not run: slow"
    assert re.fullmatch(rf"next: \S*provisioner -f {site.path} apply", following)
    whole = provisioner(site, "apply", "-y")
    assert "not run" not in whole.stderr
    assert whole.stderr.splitlines()[-1].endswith("verify")


def test_exec_runs_on_every_host_as_root(site: Site) -> None:
    done = provisioner(site, "exec", "--", "id", "-un")
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, ["master: root", "one: root"])
    failed = provisioner(site, "exec", "--limit", "one", "--", "echo here; exit 3")
    assert (failed.returncode, failed.stdout) == (1, "one: here\none: exit status 3\n")
