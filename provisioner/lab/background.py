"""A program that the lab keeps running beside its VMs: started once, found again by later commands, ended."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from provisioner.errors import ProvisionerError

START_SECONDS = 10.0
STOP_SECONDS = 10.0
# The id is that of the program itself: the shell becomes it.
_NOTE_PID = 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@"'


def start(directory: Path, name: str, argv: Sequence[str], cwd: Path) -> None:
    """Start `argv` as nobody's child, its output in NAME.log and its process id in NAME.pid of `directory`."""
    file = directory / f"{name}.pid"
    file.unlink(missing_ok=True)
    with (directory / f"{name}.log").open("ab") as log:
        subprocess.run(
            ["setsid", "--fork", "sh", "-c", _NOTE_PID, str(file), *argv],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )
    if not wait_until(file.exists, START_SECONDS, pause=0.02):
        raise ProvisionerError(f"{name} could not be started", f"see {directory / name}.log")


def pid(directory: Path, name: str, marks: Sequence[str]) -> int | None:
    """Return the process id of NAME, or None where no process with all of `marks` as arguments has it."""
    try:
        number = int((directory / f"{name}.pid").read_text())
    except (OSError, ValueError):
        return None
    # A process id may have been given to somebody else since; the arguments have not.
    return number if set(marks) <= set(arguments(number)) else None


def arguments(number: int) -> tuple[str, ...]:
    """Return the arguments of a process, empty where it is gone."""
    try:
        line = Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode(errors="replace") for part in line.split(b"\0"))


def stop(directory: Path, name: str, marks: Sequence[str]) -> None:
    """End NAME and wait until it is gone; one that ignores the request is killed."""
    number = pid(directory, name, marks)
    if number is not None:
        os.killpg(number, signal.SIGTERM)
        if not wait_until(lambda: pid(directory, name, marks) is None, STOP_SECONDS):
            os.killpg(number, signal.SIGKILL)
    (directory / f"{name}.pid").unlink(missing_ok=True)


def ancestry() -> frozenset[int]:
    """Return the process ids of this process and of all that it descends from."""
    found = [os.getpid()]
    while found[-1] > 1:
        # proc_pid_stat(5): the parent is the second field behind the name, which may itself hold brackets.
        found.append(int(Path(f"/proc/{found[-1]}/stat").read_text().rpartition(")")[2].split()[1]))
    return frozenset(found)


def kill(number: int) -> bool:
    """Kill a process and wait until it is gone; tell whether it went."""
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return wait_until(lambda: not arguments(number), STOP_SECONDS)


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.2) -> bool:
    """Ask `condition` every `pause` seconds until it holds, for up to `seconds`; return whether it held."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
