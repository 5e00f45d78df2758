"""Join single answers to stretches in which one owner had the address, one answer at a time.

A live watch and the final report reckon with the same code, so that what was said on the screen holds afterwards.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from provisioner.l2.probe.capture import Answer

GAP = 1.0  # seconds without an answer that end a span; one lost frame, or two, are no event
MISSED = 5  # questions that must have gone unanswered as well, lest our own pause be taken for silence


@dataclass(frozen=True)
class Span:
    """A stretch in which one MAC answered. asked: when the question went out that the first answer is to."""

    mac: str
    start: float
    end: float
    asked: float
    answers: int = 1


@dataclass
class Track:
    """Spans that grow with each answer, so that a live watch and the final report reckon alike."""

    gap: float = GAP
    asked: list[float] = field(default_factory=list)
    spans: dict[str, list[Span]] = field(default_factory=dict)

    def answered(self, answer: Answer) -> None:
        """Take in an answer; those of one MAC come in order of time."""
        own = self.spans.setdefault(answer.mac, [])
        now = answer.timestamp
        if not own or self.missed(own[-1].end, now - answer.rtt):
            own.append(Span(answer.mac, now, now, now - answer.rtt))
            return
        last = own[-1]
        own[-1] = Span(last.mac, last.start, max(last.end, now), last.asked, last.answers + 1)

    def missed(self, since: float, until: float) -> bool:
        """Tell whether silence from `since` to `until` is an event rather than a lost frame or a pause of ours."""
        questions = bisect_left(self.asked, until) - bisect_right(self.asked, since)
        return until - since >= self.gap and questions >= MISSED

    def holders(self, now: float) -> tuple[Span, ...]:
        """Return the spans that go on at `now`, the oldest first."""
        last = [own[-1] for own in self.spans.values()]
        return tuple(sorted((span for span in last if not self.missed(span.end, now)), key=_start))

    def settled(self, now: float, stable: float, began: float) -> bool:
        """Tell whether something has happened and one owner has answered alone for `stable` seconds since.

        began: Unix time of the first question; silence from then on is something that happened.
        """
        every = sorted((span for own in self.spans.values() for span in own), key=_start)
        holders = self.holders(now)
        if len(holders) != 1 or (len(every) == 1 and not self.missed(began, every[0].asked)):
            return False
        quiet = max([holders[0].start, *(span.end for span in every if span is not holders[0])])
        return now - quiet >= stable


def between(times: Sequence[float], since: float, until: float) -> Sequence[float]:
    """Return the part of ascending `times` that lies after `since` and before `until`."""
    return times[bisect_right(times, since) : bisect_left(times, until)]


def _start(span: Span) -> float:
    return span.start
