"""Lanes of a timeline as shapes between 0 and WIDTH, which the page stretches to the width that there is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import ceil, floor

from provisioner.page.document import Failover, HistoryLane
from provisioner.text import pluralize

WIDTH = 1000.0
PARTS = 6  # of a timeline at most, between its ticks
LEAST = 2.0  # of WIDTH: what is shorter is still seen


@dataclass(frozen=True)
class Shape:
    """A rectangle of a lane. kind: its class on the page."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True)
class Drawn:
    """A lane. text: what it shows, in words."""

    name: str
    shapes: tuple[Shape, ...]
    text: str


@dataclass(frozen=True)
class Scale:
    """The seconds that a timeline shows, from tick to tick."""

    first: float
    last: float
    step: float

    @property
    def ticks(self) -> list[str]:
        """Return the labels below a timeline, evenly from first to last."""
        count = round((self.last - self.first) / self.step)
        digits = 0 if self.step >= 1 else 1 if self.step >= 0.1 else 3
        # Adding 0.0 makes a rounded -0.0 a zero.
        return [f"{round(self.first + self.step * number, digits) + 0.0:.{digits}f} s" for number in range(count + 1)]

    def shows(self, span: tuple[float, float]) -> bool:
        """Tell whether any part of a period is visible."""
        return span[1] >= self.first and span[0] <= self.last

    def shape(self, kind: str, span: tuple[float, float]) -> Shape:
        """Return a visible period as a rectangle."""
        whole = self.last - self.first
        begin = (max(span[0], self.first) - self.first) / whole * WIDTH
        end = (min(span[1], self.last) - self.first) / whole * WIDTH
        return Shape(kind, round(min(begin, WIDTH - LEAST), 1), round(max(end - begin, LEAST), 1))


def scale(failover: Failover) -> Scale:
    """Return the seconds to show: whole steps of 1, 2 or 5 times a power of ten around the failover."""
    length = max(failover.last - failover.first, 0.001)
    step = next(
        size * factor
        for size in (10.0**power for power in range(-4, 12))
        for factor in (1, 2, 5)
        if length / (size * factor) <= PARTS
    )
    return Scale(floor(failover.first / step) * step, ceil(failover.last / step) * step, step)


def lanes(failover: Failover) -> list[Drawn]:
    """Return a lane for each owner, with the silences behind its answers."""
    axis = scale(failover)
    silences = tuple(axis.shape("silence", span) for span in failover.silences if axis.shows(span))
    drawn = []
    for number, lane in enumerate(failover.lanes):
        spans = [span for span in lane.spans if axis.shows(span)]
        shapes = [axis.shape(f"owner{min(number, 2)}", span) for span in spans]
        text = ", ".join(f"from {max(a, axis.first):.1f} s to {min(b, axis.last):.1f} s" for a, b in spans[:6])
        more = f" and {pluralize(len(spans) - 6, 'more period')}" if len(spans) > 6 else ""
        drawn.append(Drawn(lane.name, (*silences, *shapes), f"answers {text}{more}" if text else "does not answer"))
    return drawn


def past(lane: HistoryLane) -> Drawn:
    """Return the past of an address as a lane."""
    whole = sum(length for _, length in lane.runs) or 1
    starts = accumulate((length for _, length in lane.runs), initial=0)
    shapes = tuple(
        Shape(state, round(start / whole * WIDTH, 1), round(length / whole * WIDTH, 1))
        for start, (state, length) in zip(starts, lane.runs, strict=False)
    )
    return Drawn(lane.subject, shapes, pluralize(lane.faults, "fault"))
