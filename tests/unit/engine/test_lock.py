"""Which locks can be taken over, with real processes for "is the holder alive"."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from provisioner.engine import lock
from provisioner.engine.lock import HeldLock, Holder

ME = Holder(
    user="ann",
    hostname="desk",
    machine="m1",
    boot="b1",
    pids="p1",
    pid=100,
    started="7",
    id="mine",
    command="apply",
    since=0,
    ttl=60,
)


@pytest.mark.parametrize(
    ("other", "start", "dead"),
    [
        pytest.param(replace(ME, hostname="shed", machine="m2"), None, False, id="another machine"),
        pytest.param(replace(ME, pid=5), "7", False, id="same machine, process running"),
        pytest.param(replace(ME, pid=5), None, True, id="same machine, process gone"),
        pytest.param(replace(ME, pid=5), "9", True, id="same machine, PID reused"),
        pytest.param(replace(ME, boot="b0", pid=5), "7", True, id="same machine, rebooted"),
        pytest.param(replace(ME, pids="p2", pid=5), None, False, id="another container on this machine"),
        pytest.param(replace(ME, hostname="clone", pid=5), None, False, id="a clone with our machine ID"),
        pytest.param(None, None, False, id="unreadable"),
    ],
)
def test_whose_lock_is_worth_waiting_for(other: Holder | None, start: str | None, dead: bool) -> None:
    assert lock.seems_dead(other, ME, lambda pid: start) is dead


@pytest.mark.parametrize(
    ("holder", "age", "expired"),
    [(ME, 59, False), (ME, 60, True), (replace(ME, ttl=480), 70, False), (None, 10, False), (None, 61, True)],
)
def test_a_lock_expires_by_its_age_alone(holder: Holder | None, age: float, expired: bool) -> None:
    assert (HeldLock(holder, "", age).expires_in <= 0) is expired


def test_only_a_running_process_has_a_start_time() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = lock.process_start(child.pid)
    assert started
    assert started == lock.process_start(child.pid)
    child.communicate(b"\n")
    assert lock.process_start(child.pid) is None


def test_a_process_name_may_contain_parentheses() -> None:
    with_name = "import ctypes,sys; ctypes.CDLL(None).prctl(15, b'a) b (c'); print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", with_name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    started = lock.process_start(child.pid)
    child.communicate(b"\n")
    assert started is not None
    assert started.isdigit()


def test_this_process_is_identified() -> None:
    me = lock.this_process("apply", 60)
    assert me.pid == os.getpid()
    assert me.started == lock.process_start(os.getpid())
    assert me.id != lock.this_process("apply", 60).id


@pytest.mark.parametrize("text", ["", "{", "[]", '{"user": "x"}'])
def test_a_damaged_lock_has_an_age_but_no_holder(text: str) -> None:
    held = lock._parse(f"held 12\n{text}\n")
    assert held is not None
    assert (held.holder, held.age) == (None, 12)


def test_a_lock_is_parsed() -> None:
    held = lock._parse(f"held 3\n{json.dumps(asdict(ME))}\n")
    assert held is not None
    assert held.holder == ME
    assert held.expires_in == 57
    assert lock._parse("taken\n") is None
