"""Progress on stderr, one line a stage with elapsed time; every command's output in a log file.

Stages may run beside each other, in threads: half of a first build is waiting for downloads.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

from provisioner.errors import ProvisionerError

QUIET_SECONDS = 30.0  # after which a running command's last line of output is shown
_started = time.monotonic()
# Seconds that each stage of this process took.
timings: dict[str, float] = {}
_guard = threading.Lock()
_running: set[int] = set()  # process groups
_stopped = threading.Event()


def say(text: str) -> None:
    """Print a line with the seconds since the program started."""
    print(f"[{time.monotonic() - _started:6.1f} s] mirror: {text}", file=sys.stderr, flush=True)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Say that a stage begins and how long it took."""
    begun = time.monotonic()
    say(f"{name}: building")
    yield
    timings[name] = round(time.monotonic() - begun, 1)
    say(f"{name}: done in {timings[name]:.1f} s")


def run(
    argv: Sequence[str | Path], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run a command with its output going to the end of `log`; say now and then what it said last.

    env: the whole environment, this process's own by default. Raises ProvisionerError with the last lines.
    """
    _call(argv, log, cwd, env, capture=False)


def output(
    argv: Sequence[str | Path], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Do as `run` does, but return what the command prints on stdout."""
    return _call(argv, log, cwd, env, capture=True)


def beside(tasks: Sequence[Callable[[], Path]], lanes: int) -> list[Path]:
    """Return what the tasks return; `lanes` of them run beside each other.

    When one fails, or this process is told to end, all the commands of the others end too, and no other begins.
    """
    failures: list[BaseException] = []

    def guarded(task: Callable[[], Path]) -> Path:
        # Here and not where the results are waited for: this thread would take up the next task before that.
        try:
            if _stopped.is_set():
                raise ProvisionerError("was not begun: the build was stopped")
            return task()
        except BaseException as error:
            failures.append(error)
            _stop()
            raise

    try:
        with ThreadPoolExecutor(lanes) as pool:
            futures = [pool.submit(guarded, task) for task in tasks]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            except BaseException:
                _stop()
                raise
        if failures:
            raise failures[0]  # the first; what was stopped because of it failed later
        return [future.result() for future in futures]
    finally:
        _stopped.clear()


def _stop() -> None:
    """End every command, and let none begin."""
    with _guard:
        _stopped.set()
        for group in _running:
            with suppress(ProcessLookupError):  # it ended just now
                os.killpg(group, signal.SIGKILL)


def _call(
    argv: Sequence[str | Path], log: Path, cwd: Path | None, env: Mapping[str, str] | None, *, capture: bool
) -> str:
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in argv]
    with open(log, "a") as handle:
        handle.write(f"+ {' '.join(words)}\n")
        handle.flush()
        with _guard:
            if _stopped.is_set():
                raise ProvisionerError(f"{words[0]} was not begun: the build was stopped")
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env=None if env is None else dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if capture else handle,
                stderr=handle,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            _running.add(process.pid)
        with process:
            try:
                printed = _follow(process, log)
            except BaseException:
                # Whoever ends the build ends its compilers too.
                os.killpg(process.pid, signal.SIGKILL)
                raise
            finally:
                with _guard:
                    _running.discard(process.pid)
    if process.returncode != 0:
        raise ProvisionerError(
            f"{words[0]} ended with status {process.returncode}; its last lines:\n{_last_lines(log, 12)}\n",
            f"see {log}",
        )
    return printed


def _follow(process: subprocess.Popen[str], log: Path) -> str:
    """Wait for a process; return what it printed where its stdout is a pipe."""
    while True:
        try:
            return process.communicate(timeout=QUIET_SECONDS)[0] or ""
        except subprocess.TimeoutExpired:
            say(f"  {log.stem}: {_last_lines(log, 1).strip()[:100]}")


def _last_lines(log: Path, count: int) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
