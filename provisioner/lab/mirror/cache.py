"""The cache: each artifact in a directory named by the hash of its recipe, complete or absent.

A build can be killed at any time: what it had not renamed into place is discarded by the next one.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from provisioner.lab.mirror.progress import announce, stage

KEEP_SECONDS = 14 * 24 * 3600  # artifacts that no build has used for this long are removed


def root() -> Path:
    """Return the mirror's cache directory: $XDG_CACHE_HOME/provisioner/mirror, by default in ~/.cache."""
    return base() / "mirror"


def base() -> Path:
    """Return the project's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "provisioner"


def work() -> Path:
    """Return the directory of what only a running build needs (Go's caches), removed once everything is built."""
    path = root() / "work"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked() -> Iterator[None]:
    """Lock the cache for one build; a second one waits. The lock goes with the process."""
    root().mkdir(parents=True, exist_ok=True)
    with open(root() / "lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            announce("waiting for another build of the mirror to finish")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def key(recipe: Mapping[str, object]) -> str:
    """Return the 16 hex digits that identify a recipe. Its values are anything that JSON can express, or paths."""
    text = json.dumps(recipe, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def path(name: str, recipe: Mapping[str, object]) -> Path:
    """Return the directory of an artifact, whether or not it has been built."""
    return root() / f"{name}-{key(recipe)}"


def has(name: str, recipe: Mapping[str, object]) -> bool:
    """Return whether the cache has the artifact of this recipe."""
    return path(name, recipe).is_dir()


def artifact(name: str, recipe: Mapping[str, object], build: Callable[[Path], None]) -> Path:
    """Return the artifact's directory, filled by `build(directory)` unless the cache has it.

    `recipe` holds everything that determines the content, including the artifacts it is made from (their paths
    contain their hashes). `build` gets a new empty directory, which is renamed into place when it returns.
    """
    final = path(name, recipe)
    if final.is_dir():
        os.utime(final)
        return final
    # Per process: compilers of a killed build may still be writing to theirs.
    unfinished = root() / f"unfinished-{name}-{os.getpid()}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with stage(name):
        build(unfinished)
    unfinished.rename(final)
    os.utime(final)
    return final


def source_hash(*modules: str) -> str:
    """Return the hash of these files of this package: part of a recipe whose steps are Python, and cheap."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in modules)).hexdigest()


def discard_work() -> None:
    """Remove the work directory and unfinished artifacts."""
    for entry in root().iterdir():
        if entry.is_dir() and (entry.name == "work" or entry.name.startswith("unfinished-")):
            shutil.rmtree(entry, ignore_errors=True)  # what cannot be removed now is removed next time


def prune(now: float | None = None) -> None:
    """Discard the work directory, and remove the artifacts that no build has used for KEEP_SECONDS."""
    discard_work()
    oldest = (time.time() if now is None else now) - KEEP_SECONDS
    for entry in root().iterdir():
        if entry.is_dir() and entry.name != "logs" and entry.stat().st_mtime < oldest:
            shutil.rmtree(entry, ignore_errors=True)
