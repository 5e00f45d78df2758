"""Progress on stderr, one line a stage with elapsed time; every command's output in a log file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from provisioner.errors import ProvisionerError

QUIET_SECONDS = 30.0  # after which a running command's last line of output is shown
_started = time.monotonic()
# Seconds that each stage of this process took.
timings: dict[str, float] = {}


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


def _call(
    argv: Sequence[str | Path], log: Path, cwd: Path | None, env: Mapping[str, str] | None, *, capture: bool
) -> str:
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in argv]
    with open(log, "a") as handle:
        handle.write(f"+ {' '.join(words)}\n")
        handle.flush()
        with subprocess.Popen(
            words,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if capture else handle,
            stderr=handle,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                printed = _follow(process, log)
            except BaseException:
                # Whoever ends the build ends its compilers too.
                os.killpg(process.pid, signal.SIGKILL)
                raise
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
            say(f"  {_last_lines(log, 1).strip()[:100]}")


def _last_lines(log: Path, count: int) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
