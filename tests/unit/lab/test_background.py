"""Processes of the lab: when they count as running, and when what they held is free."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.lab import background

# Freeing this much memory takes an exiting process long enough to be seen without arguments, its files still open.
HOLDER = """
import fcntl, sys, time
held = open(sys.argv[1], "w")
fcntl.flock(held, fcntl.LOCK_EX)
memory = bytearray(400_000_000)
memory[::4096] = b"x" * len(memory[::4096])
print("held", flush=True)
time.sleep(600)
"""

# Its first thread exits and leaves a zombie; another thread holds the file for a second more.
SURVIVOR = """
import ctypes, fcntl, os, sys, threading, time
held = open(sys.argv[1], "w")
fcntl.flock(held, fcntl.LOCK_EX)
def survive():
    print("held", flush=True)
    time.sleep(1)
    os._exit(0)
threading.Thread(target=survive).start()
EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
ctypes.CDLL(None).syscall(EXIT, 0)
"""


def test_what_a_killed_process_held_is_free(tmp_path: Path) -> None:
    file = tmp_path / "held"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert background.kill(holder.pid)
    with file.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    holder.wait()
    holder.stdout.close()


def test_a_process_whose_first_thread_has_exited_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "held"
    holder = subprocess.Popen([sys.executable, "-c", SURVIVOR, str(file)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert background.wait_until(
        lambda: b"(zombie)" in Path(f"/proc/{holder.pid}/status").read_bytes(), 10, pause=0.01
    )
    assert background.arguments(holder.pid) == ()
    with file.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    holder.wait()
    holder.stdout.close()


def test_a_zombie_and_a_process_that_is_gone_have_no_arguments() -> None:
    child = subprocess.Popen(["sleep", "600"])
    assert background.arguments(child.pid) == ("sleep", "600", "")
    assert background.kill(child.pid)
    assert background.arguments(child.pid) == ()  # a zombie until it is waited for
    child.wait()
    assert background.arguments(child.pid) == ()


def test_a_kernel_thread_has_no_arguments_and_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [path.parent for path in Path("/proc").glob("[0-9]*/comm") if path.read_text() == "kthreadd\n"]
    first_looks: list[bool] = []
    monkeypatch.setattr(background, "wait_until", lambda settled, *_, **__: first_looks.append(settled()))
    for thread in threads:
        assert background.arguments(int(thread.name)) == ()
    assert all(first_looks)
