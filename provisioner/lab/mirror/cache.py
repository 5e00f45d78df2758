"""The cache: each artifact in a directory named by the hash of its recipe, complete or absent.

A build can be killed at any time: what it had not renamed into place is discarded by the next one. Builds run next to
each other, and wait only for an artifact that another one is building.
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
from typing import IO

from provisioner.lab.mirror.progress import announce, pause, stage

_POLL_SECONDS = 0.5
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
def in_use() -> Iterator[None]:
    """Keep the cache from being pruned during a build, and prune it afterwards unless another build is using it."""
    with _lock(root() / "lock", fcntl.LOCK_SH, "another build to clear the cache") as handle:
        yield
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # the last build to finish prunes it
        with stage("pruning the cache"):
            prune()


@contextmanager
def _lock(file: Path, kind: int, what: str) -> Iterator[IO[str]]:
    """Hold a lock of flock(2), which goes with the process; say so before waiting for `what`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w") as handle:
        said = False
        while True:
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not said:
                    announce(f"waiting for {what}")
                said = True
                pause(_POLL_SECONDS)
        yield handle


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
    with _lock(root() / "locks" / final.name, fcntl.LOCK_EX, f"{name}, which another build makes"):
        if final.is_dir():
            os.utime(final)
            return final
        # Per process: compilers of a killed build may still be writing to theirs.
        unfinished = root() / f"unfinished-{final.name}-{os.getpid()}"
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


def prune(now: float | None = None) -> None:
    """Remove what only running builds need, and the artifacts that no build has used for KEEP_SECONDS."""
    oldest = (time.time() if now is None else now) - KEEP_SECONDS
    for entry in root().iterdir():
        leftover = entry.name in ("work", "locks") or entry.name.startswith("unfinished-")
        if entry.is_dir() and entry.name != "logs" and (leftover or entry.stat().st_mtime < oldest):
            shutil.rmtree(entry, ignore_errors=True)  # what cannot be removed now is removed next time
