"""Where a run is: the number of its step, and how long the step and the rest can be expected to take."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner.engine.durations import NOTHING, WHOLE, Durations, Sample, Work

Planned = Mapping[str, Work]  # by step: what it will do


@dataclass(frozen=True)
class Forecast:
    """How long something will take.

    seconds: the sum of what is known. known: how many steps with something to do are in it. unknown: the steps of
    which nothing is known.
    """

    seconds: float
    known: int
    unknown: tuple[str, ...]


class Pace:
    """Number the steps of a run, expect of each what it took before, and keep what it takes.

    Threads of several hosts call `changed`. A form is "plan", "apply" or "verify", each with figures of its own.
    """

    def __init__(self, durations: Durations | None = None) -> None:
        self._durations = durations or Durations()
        self._form = ""
        self._hosts: dict[str, int] = {}
        self._planned: Planned | None = None
        self._lock = threading.Lock()
        self._step = ""
        self._changes: dict[str, int] = {}
        self._told: float | None = None

    @property
    def problem(self) -> str:
        """Return why the figures could not be kept, "" if they could."""
        return self._durations.problem

    def start(self, form: str, hosts: Mapping[str, int], planned: Planned | None = None) -> None:
        """Begin a run of these steps, each with its number of hosts. planned: what they will do, None if unknown."""
        self._form, self._hosts, self._planned = form, dict(hosts), planned

    def begin(self, step: str) -> dict[str, Any]:
        """Begin a step; return its number, of how many, and the seconds expected for it and for all from it on.

        A figure that nothing is known of is missing, and so are all of a step outside the run, such as the login.
        """
        with self._lock:
            self._step, self._changes, self._told = step, {}, None
        if step not in self._hosts:
            return {}
        names = [*self._hosts]
        number = names.index(step) + 1
        told: dict[str, Any] = {"number": number, "of": len(names)}
        self._told = self._expected(step, self._work(step))
        if self._told is not None:
            told["expected"] = round(self._told, 1)
        rest = self._sum(names[number - 1 :]) if self._planned is not None else None
        if rest is not None and not rest.unknown:
            told["left"] = round(rest.seconds, 1)
        return told

    def changed(self, step: str, host: str) -> float | None:
        """Count a change that nobody planned; return the seconds now expected for the step if they differ."""
        with self._lock:
            if step != self._step or step not in self._hosts or self._planned is not None:
                return None
            self._changes[host] = self._changes.get(host, 0) + 1
            expected = self._expected(step, Work(max(self._changes.values()), None))
            if expected is None or expected == self._told:
                return None
            self._told = expected
            return round(expected, 1)

    def end(self, step: str, seconds: float, changes: Sequence[int]) -> None:
        """Keep what a step took that ended well. changes: how many it made on each of its hosts."""
        if step in self._hosts and changes:
            most = 0 if self._form == "plan" else max(changes)
            self._durations.add(f"{self._form} {step}", Sample(round(seconds, 2), len(changes), most))

    def forecast(self, planned: Planned, hosts: Mapping[str, int]) -> Forecast:
        """Return how long an apply of what was planned will take."""
        self._form, self._hosts, self._planned = "apply", dict(hosts), planned
        return self._sum(hosts)

    def _sum(self, steps: Iterable[str]) -> Forecast:
        expected = {step: self._expected(step, self._work(step)) for step in steps}
        return Forecast(
            sum(seconds or 0.0 for seconds in expected.values()),
            sum(seconds is not None and self._work(step) != NOTHING for step, seconds in expected.items()),
            tuple(step for step, seconds in expected.items() if seconds is None),
        )

    def _work(self, step: str) -> Work:
        return (self._planned or {}).get(step, NOTHING)

    def _expected(self, step: str, work: Work) -> float | None:
        """Return what a step is expected to take; with nothing to do, an apply takes no less than a plan."""
        forms = ("apply", "plan") if self._form == "apply" and work == NOTHING else (self._form,)
        found = (self._durations.expected(f"{form} {step}", self._hosts[step], work) for form in forms)
        return next((seconds for seconds in found if seconds is not None), None)


def planned(changes: Iterable[tuple[str, str]], waiting: Iterable[str]) -> Planned:
    """Return what each step will do, by its changes as (step, host) and the steps that could not be looked at."""
    counts: dict[str, dict[str, int]] = {}
    for step, host in changes:
        hosts = counts.setdefault(step, {})
        hosts[host] = hosts.get(host, 0) + 1
    work = {step: Work.of(max(hosts.values())) for step, hosts in counts.items()}
    return work | dict.fromkeys(waiting, WHOLE)
