"""Background programs of the lab: started once, found by later commands through a PID file, stopped."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from provisioner.errors import ProvisionerError

START_SECONDS = 10.0
STOP_SECONDS = 10.0
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD in include/linux/sched.h
# The shell execs the program, so its PID is that of the program.
_WRITE_PID = 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@"'


def start(directory: Path, name: str, argv: Sequence[str], cwd: Path) -> None:
    """Start `argv` as a daemon, with its output in NAME.log and its PID in NAME.pid in `directory`."""
    file = directory / f"{name}.pid"
    file.unlink(missing_ok=True)
    with (directory / f"{name}.log").open("ab") as log:
        subprocess.run(
            ["setsid", "--fork", "sh", "-c", _WRITE_PID, str(file), *argv],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )
    if not wait_until(file.exists, START_SECONDS, pause=0.02):
        raise ProvisionerError(f"{name} did not start", f"see {directory / name}.log")


def pid(directory: Path, name: str, marks: Sequence[str]) -> int | None:
    """Return the PID of NAME, or None unless it is a process with all of `marks` as arguments."""
    try:
        number = int((directory / f"{name}.pid").read_text())
    except (OSError, ValueError):
        return None
    # The PID may have been reused by another program.
    return number if set(marks) <= set(arguments(number)) else None


def arguments(number: int) -> tuple[str, ...]:
    """Return the arguments of a process, empty if it has exited.

    A process has none for a moment while it executes another program, and while it exits: its memory goes first, then
    its files and devices, which its last thread closes; the first is a zombie until then. All of it is waited for, so
    that what an exited process held is free.
    """
    line = b""

    def settled() -> bool:
        nonlocal line
        try:
            line = Path(f"/proc/{number}/cmdline").read_bytes()
            # proc_pid_stat(5): after the name in parentheses, the state is the first field, the flags are the seventh
            # and the number of threads is the eighteenth.
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            line = b""
            return True
        exited = fields[0] in ("Z", "X") and int(fields[17]) <= 1
        return bool(line) or exited or bool(int(fields[6]) & _KERNEL_THREAD)

    wait_until(settled, START_SECONDS, pause=0.01)
    return tuple(part.decode(errors="replace") for part in line.split(b"\0")) if line else ()


def stop(directory: Path, name: str, marks: Sequence[str]) -> None:
    """Terminate NAME and wait until it is gone; kill it if it ignores SIGTERM."""
    number = pid(directory, name, marks)
    if number is not None:
        os.killpg(number, signal.SIGTERM)
        if not wait_until(lambda: pid(directory, name, marks) is None, STOP_SECONDS):
            os.killpg(number, signal.SIGKILL)
    (directory / f"{name}.pid").unlink(missing_ok=True)


def ancestry() -> frozenset[int]:
    """Return the PIDs of this process and of all its ancestors."""
    found = [os.getpid()]
    while found[-1] > 1:
        found.append(parent(found[-1]) or 0)
    return frozenset(found)


def parent(number: int) -> int | None:
    """Return the PID of a process's parent, or None if the process has exited."""
    try:
        # proc_pid_stat(5): the parent is the second field after the name, which may itself contain parentheses.
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def kill(number: int) -> bool:
    """Kill a process and wait until it is gone; return whether it is."""
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return wait_until(lambda: not arguments(number), STOP_SECONDS)


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.2) -> bool:
    """Poll `condition` every `pause` seconds until it holds, for up to `seconds`; return whether it held."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
