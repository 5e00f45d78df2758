"""Progress on stderr, one line a stage with elapsed time; every command's output in a log file."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from provisioner.errors import ProvisionerError

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
    """Run a command with its output going to the end of `log`.

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
        done = subprocess.run(
            words,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if capture else handle,
            stderr=handle,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode != 0:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        raise ProvisionerError(
            f"{words[0]} ended with status {done.returncode}; its last lines:\n{last}\n", f"see {log}"
        )
    return done.stdout or ""
