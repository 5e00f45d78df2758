"""How long each step took in earlier runs on this site, and how long it can be expected to take.

The figures are a convenience: a file that is missing, damaged or not ours to read counts as no figures, and one that
cannot be written leaves a line in the log.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from provisioner import ownership

KEPT = 6  # samples of a step with changes, and as many without
MAX_STEPS = 120  # of plan, apply, node, reset and verify together
MAX_BYTES = 1 << 18
_LONGEST = 86_400.0  # seconds; a laptop that slept meanwhile says nothing about a step


class Sample(NamedTuple):
    """One run of a step. hosts: on how many. changes: on the host with the most."""

    seconds: float
    hosts: int
    changes: int


@dataclass(frozen=True)
class Work:
    """How many changes a step will make on the host with the most: between two numbers; most None: no limit.

    whole: as many as when a machine was blank.
    """

    least: int = 0
    most: int | None = 0
    whole: bool = False

    @classmethod
    def of(cls, changes: int) -> Work:
        """Return what is alike to this number of changes: from half as many to twice as many."""
        return cls(math.ceil(changes / 2), changes * 2)


NOTHING = Work()
WHOLE = Work(1, None, whole=True)


class Durations:
    """The samples of a site, in a file; without a path, in memory only. problem: why the file could not be written."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._samples = _read(path) if path is not None else {}
        self.problem = ""

    def expected(self, key: str, hosts: int, work: Work = NOTHING) -> float | None:
        """Return the median of the runs that were alike, in seconds; None if there was none.

        Alike: from half to twice the number of hosts, and changes as `work` says, so that a run with nothing to do
        says nothing about one that installs packages.
        """
        alike = [one for one in self._samples.get(key, ()) if hosts <= 2 * one.hosts and one.hosts <= 2 * hosts]
        least = work.least
        if work.whole:
            least = max(least, math.ceil(max((one.changes for one in alike), default=0) / 2))
        alike = [one for one in alike if least <= one.changes and (work.most is None or one.changes <= work.most)]
        return median(one.seconds for one in alike) if alike else None

    def add(self, key: str, sample: Sample) -> None:
        """Keep a sample, and of its kind only the newest."""
        if not _valid(sample):
            return
        samples = [*self._samples.pop(key, ()), sample]
        kinds = ([one for one in samples if bool(one.changes) is changed][-KEPT:] for changed in (False, True))
        self._samples[key] = [one for kind in kinds for one in kind]
        while len(self._samples) > MAX_STEPS:
            del self._samples[next(iter(self._samples))]  # the one that was not run for longest
        self._write()

    def _write(self) -> None:
        if self._path is None or self.problem:
            return
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            ownership.make_folder(self._path.parent)
            temporary.write_text(json.dumps({"version": 1, "steps": self._samples}) + "\n", encoding="utf-8")
            ownership.give_back(temporary)
            temporary.replace(self._path)
        except OSError as error:
            self.problem = f"cannot keep how long steps take in {self._path}: {error.strerror}"


def _read(path: Path) -> dict[str, list[Sample]]:
    """Return the valid samples of a file; what is not valid is left out, one by one."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    steps = document.get("steps") if isinstance(document, dict) else None
    if not isinstance(steps, dict):
        return {}
    found = {key: [*_samples(entries)][-2 * KEPT :] for key, entries in [*steps.items()][-MAX_STEPS:]}
    return {key: samples for key, samples in found.items() if samples}


def _samples(entries: Any) -> Iterable[Sample]:
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, list) and len(entry) == len(Sample._fields) and _valid(entry):
            yield Sample(*entry)


def _valid(entry: Any) -> bool:
    seconds, hosts, changes = entry
    numbers = type(seconds) in (int, float) and type(hosts) is int and type(changes) is int
    return numbers and 0 <= seconds <= _LONGEST and hosts > 0 and changes >= 0
