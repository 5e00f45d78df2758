"""Progress on stderr, one line a stage with elapsed time; the output of every command goes to a log file.

Stages can run in parallel, in threads: half of a first build is waiting for downloads.
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

QUIET_SECONDS = 30.0  # how often the last output line of a running command is shown
_started = time.monotonic()
# Seconds that each stage of this process took.
timings: dict[str, float] = {}
_guard = threading.Lock()
_running: set[int] = set()  # process groups
_stopped = threading.Event()


def announce(text: str) -> None:
    """Print a line with the seconds since the program started."""
    print(f"[{time.monotonic() - _started:6.1f} s] mirror: {text}", file=sys.stderr, flush=True)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Announce a stage, and how long it took."""
    begun = time.monotonic()
    announce(f"{name}: started")
    yield
    timings[name] = round(time.monotonic() - begun, 1)
    announce(f"{name}: done in {timings[name]:.1f} s")


def run(
    argv: Sequence[str | Path], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run a command, append its output to `log`, and show its last line every QUIET_SECONDS.

    env: the whole environment, by default this process's. Raises ProvisionerError with the last lines.
    """
    _call(argv, log, cwd, env, capture=False)


def output(
    argv: Sequence[str | Path], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run a command as `run` does and return its stdout."""
    return _call(argv, log, cwd, env, capture=True)


def in_parallel(tasks: Sequence[Callable[[], Path]], lanes: int) -> list[Path]:
    """Run the tasks, `lanes` at a time, and return their results in order.

    When one fails, or this process is interrupted, kill the commands of the others and start no further task.
    """
    failures: list[BaseException] = []

    def guarded(task: Callable[[], Path]) -> Path:
        # Here and not where the results are awaited: this thread would start its next task before that.
        try:
            if _stopped.is_set():
                raise ProvisionerError("not started: the build was stopped")
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
            raise failures[0]  # the cause; what was stopped because of it failed later
        return [future.result() for future in futures]
    finally:
        _stopped.clear()


def pause(seconds: float) -> None:
    """Wait; raises ProvisionerError if the build is stopped meanwhile."""
    if _stopped.wait(seconds):
        raise ProvisionerError("the build was stopped")


def _stop() -> None:
    """Kill every running command and start no new one."""
    with _guard:
        _stopped.set()
        for group in _running:
            with suppress(ProcessLookupError):  # it has just exited
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
                raise ProvisionerError(f"{words[0]} was not started: the build was stopped")
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
                # Interrupting the build must stop its compilers too.
                os.killpg(process.pid, signal.SIGKILL)
                raise
            finally:
                with _guard:
                    _running.discard(process.pid)
    if process.returncode != 0:
        raise ProvisionerError(
            f"{words[0]} exited with status {process.returncode}; its last lines:\n{_last_lines(log, 12)}\n",
            f"see {log}",
        )
    return printed


def _follow(process: subprocess.Popen[str], log: Path) -> str:
    """Wait for a process; return its stdout if that is a pipe."""
    while True:
        try:
            return process.communicate(timeout=QUIET_SECONDS)[0] or ""
        except subprocess.TimeoutExpired:
            announce(f"  {log.stem}: {_last_lines(log, 1).strip()[:100]}")


def _last_lines(log: Path, count: int) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
