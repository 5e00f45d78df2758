"""The cache: each artefact in a directory named by the hash of its recipe, complete or absent.

A build may be killed at any time: what was not renamed into place is thrown away by the next one.
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

from tests.mirror.progress import say, stage

KEEP_SECONDS = 14 * 24 * 3600  # an artefact that no build has used for this long is removed


def root() -> Path:
    """Return the mirror's cache directory: $XDG_CACHE_HOME/provisioner/mirror, ~/.cache by default."""
    return base() / "mirror"


def base() -> Path:
    """Return the project's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "provisioner"


def work() -> Path:
    """Return the directory for what only a build in progress needs (Go's caches); removed when all is built."""
    path = root() / "work"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked() -> Iterator[None]:
    """Hold the cache for one build; a second one waits its turn. The lock goes with the process."""
    root().mkdir(parents=True, exist_ok=True)
    with open(root() / "lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build of the mirror is under way; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def key(recipe: Mapping[str, object]) -> str:
    """Return the 16 hex digits that name a recipe. Its values are anything that JSON can express, or paths."""
    text = json.dumps(recipe, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def has(name: str, recipe: Mapping[str, object]) -> bool:
    """Tell whether the cache has this recipe's artefact."""
    return _place(name, recipe).is_dir()


def _place(name: str, recipe: Mapping[str, object]) -> Path:
    return root() / f"{name}-{key(recipe)}"


def artefact(name: str, recipe: Mapping[str, object], build: Callable[[Path], None]) -> Path:
    """Return the artefact's directory, made by `build(directory)` unless the cache has this recipe's.

    `recipe` holds all that determines the content, the artefacts it is made from (paths, whose names carry their
    hash) included. `build` gets a new empty directory, which is renamed into place when it returns.
    """
    final = _place(name, recipe)
    if final.is_dir():
        os.utime(final)
        return final
    # Of this process alone: compilers of a build that was killed outright may still be writing to its own.
    unfinished = root() / f"unfinished-{name}-{os.getpid()}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with stage(name):
        build(unfinished)
    unfinished.rename(final)
    os.utime(final)
    return final


def own_source(*modules: str) -> str:
    """Return the hash of these files of tests/mirror: part of a recipe whose steps are Python, and cheap."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in modules)).hexdigest()


def tidy(now: float | None = None) -> None:
    """Remove the work directory, unfinished artefacts, and artefacts that no build used of late."""
    oldest = (time.time() if now is None else now) - KEEP_SECONDS
    for path in root().iterdir():
        if not path.is_dir() or path.name == "logs":
            continue
        if path.name == "work" or path.name.startswith("unfinished-") or path.stat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)  # what cannot go now goes next time
