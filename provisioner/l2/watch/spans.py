"""Join single replies to spans in which one owner had the address, one reply at a time.

The live view and the final report use the same code, so that they agree.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from provisioner.l2.probe.capture import Answer

GAP = 1.0  # seconds without a reply that end a span; a lost frame or two do not
MIN_REQUESTS = 5  # requests that must be unanswered too, so that a pause of this machine is not silence


@dataclass(frozen=True)
class Span:
    """A time span in which one MAC answered. requested: when the request for the first reply was sent."""

    mac: str
    start: float
    end: float
    requested: float
    answers: int = 1


@dataclass
class Track:
    """Spans that grow with each reply. requests: when each was sent; unicasts: how many went to an owner alone."""

    gap: float = GAP
    requests: list[float] = field(default_factory=list)
    spans: dict[str, list[Span]] = field(default_factory=dict)
    unicasts: int = 0

    def add(self, answer: Answer) -> None:
        """Add a reply; those of one MAC must come in order of time."""
        own = self.spans.setdefault(answer.mac, [])
        now = answer.timestamp
        if not own or self.is_silence(own[-1].end, now - answer.rtt):
            own.append(Span(answer.mac, now, now, now - answer.rtt))
            return
        last = own[-1]
        own[-1] = Span(last.mac, last.start, max(last.end, now), last.requested, last.answers + 1)

    def is_silence(self, since: float, until: float) -> bool:
        """Tell whether a gap from `since` to `until` is silence, not a lost frame or a pause of this machine."""
        unanswered = bisect_left(self.requests, until) - bisect_right(self.requests, since)
        return until - since >= self.gap and unanswered >= MIN_REQUESTS

    def holders(self, now: float) -> tuple[Span, ...]:
        """Return the spans that are still open at `now`, the oldest first."""
        last = [own[-1] for own in self.spans.values()]
        return tuple(sorted((span for span in last if not self.is_silence(span.end, now)), key=_start))

    def is_stable(self, now: float, stable: float, began: float) -> bool:
        """Tell whether a transition happened and only one owner has answered for `stable` seconds since.

        began: Unix time of the first request; silence from then on counts as a transition.
        """
        every = sorted((span for own in self.spans.values() for span in own), key=_start)
        holders = self.holders(now)
        if len(holders) != 1 or (len(every) == 1 and not self.is_silence(began, every[0].requested)):
            return False
        since = max([holders[0].start, *(span.end for span in every if span is not holders[0])])
        return now - since >= stable


def between(times: Sequence[float], since: float, until: float) -> Sequence[float]:
    """Return the part of ascending `times` after `since` and before `until`."""
    return times[bisect_right(times, since) : bisect_left(times, until)]


def _start(span: Span) -> float:
    return span.start
