"""Turn what a watch heard into the story of a failover: who answered from when to when, and the figures in between.

Pure: events in, a Timeline out, so that each odd case (overlap, a stray reply, no return) is a table test. What was
not seen is None, never 0: a figure that nobody measured must not look like a good one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from provisioner.l2.gratuitous import by_metallb
from provisioner.l2.probe.capture import Address, Announcement, Answer, Handshake
from provisioner.l2.watch.spans import GAP, Span, Track, between

HANDOVER = 1.0  # seconds that two owners may answer together while one gives way to the other
# MetalLB v0.16.1, internal/layer2/announcer.go: a pair at once, then every 1.1 s until 5 s have passed.
ROUNDS = 5
ROUND_EVERY = 1.1  # seconds
ANNOUNCED = 5.5  # seconds after which the last of the five has gone out
SAME = 0.01  # seconds; a question that was noted so shortly before the one that was answered is that one
ONE_ROUND = 0.5  # seconds within which frames belong to one round

EndedBy = Literal["stable", "timeout", "interrupted", "lost"]


@dataclass(frozen=True)
class Recording:
    """Everything that a watch sent and heard. Times are Unix seconds, those of frames by the kernel.

    asked: when each question was sent; interval: seconds between two; gap: see GAP. port: 0 where no TCP was asked.
    ended_by: lost when the interface went away (`trouble` says how). wanted_change: nothing happening is no result.
    """

    ip: Address
    started: float
    ended: float
    interval: float
    asked: Sequence[float]
    answers: Sequence[Answer] = ()
    announcements: Sequence[Announcement] = ()
    handshakes: Sequence[Handshake] = ()
    port: int = 0
    tcp_interval: float = 0.0
    gap: float = GAP
    dropped: int = 0
    ended_by: EndedBy = "interrupted"
    trouble: str = ""
    wanted_change: bool = False


@dataclass(frozen=True)
class Gratuitous:
    """The gratuitous frames of a new owner. first: Unix time, None where none was seen.

    rounds: pairs of request and reply in the shape of MetalLB's speaker (NDP: single advertisements). expected: how
    many MetalLB would send; None where the frames are another program's. complete: whether the watch went on for
    long enough to have seen them all.
    """

    first: float | None = None
    frames: int = 0
    rounds: int = 0
    expected: int | None = None
    complete: bool = False


@dataclass(frozen=True)
class Change:
    """One change of ownership, or a silence that the same owner ended. Times are Unix seconds, None: not seen.

    before, after: MACs; before is "" when nobody answered at first, after is "" when nobody came. silence: from the
    old owner's last answer to the new one's first; silence_least: the part of it that unanswered questions prove.
    overlap: seconds that both answered; `both` when they still did at the end, and old_last is None then.
    tcp_outage: from the last connection to the first one through `after`.
    """

    before: str
    after: str
    old_last: float | None
    new_first: float | None
    silence: float | None
    silence_least: float | None
    unanswered: int
    overlap: float | None
    both: bool = False
    gratuitous: Gratuitous = Gratuitous()
    tcp_last: float | None = None
    tcp_first: float | None = None
    tcp_outcome: str = ""
    tcp_outage: float | None = None

    @property
    def moved(self) -> bool:
        """Tell whether another owner than before has the address, and has it alone."""
        return bool(self.before and self.after and self.before != self.after) and not self.both

    @property
    def lost(self) -> bool:
        """Tell whether nobody answers since."""
        return not self.after


@dataclass(frozen=True)
class Timeline:
    """A recording and its story. zero: the Unix time that the timeline counts from, the first loss.

    holders: the MACs that answered at the end; strays: spans that began and ended within another owner's.
    """

    recording: Recording
    spans: tuple[Span, ...]
    changes: tuple[Change, ...]
    holders: tuple[str, ...]
    strays: tuple[Span, ...]
    zero: float

    @property
    def macs(self) -> tuple[str, ...]:
        """Return every MAC that answered, in order of its first answer."""
        return tuple(dict.fromkeys(span.mac for span in self.spans))

    def at(self, when: float | None) -> float | None:
        """Return a Unix time as seconds from zero, None for None."""
        return None if when is None else when - self.zero


def tell(recording: Recording) -> Timeline:
    """Return the story of a recording."""
    track = Track(recording.gap, list(recording.asked))
    for answer in sorted(recording.answers, key=lambda answer: answer.timestamp):
        track.answered(answer)
    spans = tuple(sorted((span for own in track.spans.values() for span in own), key=lambda span: span.start))
    holding = track.holders(recording.ended)
    steps, strays = _steps(spans, holding)
    if spans and track.missed(recording.started, spans[0].asked):
        steps.insert(0, (None, spans[0]))
    if spans and not holding:
        steps.append((max(spans, key=lambda span: span.end), None))
    ends = [after.start for _, after in steps[1:] if after is not None]
    changes = tuple(
        _change(recording, before, after, until, both=before in holding and after in holding)
        for (before, after), until in zip(steps, [*ends, *[recording.ended] * len(steps)], strict=False)
    )
    losses = [change.old_last for change in changes if change.old_last is not None]
    rises = [change.new_first for change in changes if change.new_first is not None]
    zero = (losses or rises or [recording.started])[0]
    return Timeline(recording, spans, changes, tuple(span.mac for span in holding), strays, zero)


def _steps(
    spans: Iterable[Span], holding: Sequence[Span]
) -> tuple[list[tuple[Span | None, Span | None]], tuple[Span, ...]]:
    """Return who followed whom, and the spans that lay within another's."""
    steps: list[tuple[Span | None, Span | None]] = []
    strays: list[Span] = []
    current: Span | None = None
    for span in spans:
        if current is not None:
            if span.end <= current.end and span not in holding:
                strays.append(span)
                continue
            steps.append((current, span))
        current = span
    return steps, tuple(strays)


def _change(recording: Recording, before: Span | None, after: Span | None, until: float, *, both: bool) -> Change:
    """Return the figures of one change. until: Unix time of the next one, or of the end. both: neither gave way."""
    old_last = before.end if before and not both else None
    new_first = after.start if after else None
    silence = least = overlap = None
    unanswered = between(
        recording.asked,
        before.end if before else recording.started - 1,
        after.asked - SAME if after else recording.ended,
    )
    if before and after:
        silence = max(0.0, after.start - before.end)
        overlap = max(0.0, before.end - after.start)
        least = max(0.0, unanswered[-1] - unanswered[0]) if unanswered else 0.0
    elif unanswered:
        least = unanswered[-1] - unanswered[0]
    tcp_last, tcp_first, outcome, outage = _tcp(recording, before, after, until)
    return Change(
        before=before.mac if before else "",
        after=after.mac if after else "",
        old_last=old_last,
        new_first=new_first,
        silence=silence,
        silence_least=least,
        unanswered=len(unanswered),
        overlap=overlap,
        both=both,
        gratuitous=_gratuitous(recording, before, after, until) if after else Gratuitous(),
        tcp_last=tcp_last,
        tcp_first=tcp_first,
        tcp_outcome=outcome,
        tcp_outage=outage,
    )


def _tcp(
    recording: Recording, before: Span | None, after: Span | None, until: float
) -> tuple[float | None, float | None, str, float | None]:
    """Return the last connection before, the first TCP answer through the new owner, its outcome, and the outage."""
    heard = sorted(
        (shake for shake in recording.handshakes if shake.outcome in ("open", "refused")),
        key=lambda shake: shake.timestamp,
    )
    opened = [shake for shake in heard if shake.outcome == "open"]
    if after is None:
        return (opened[-1].timestamp if opened else None), None, "", None
    since = max(after.start, before.end) if before and before.mac == after.mac else after.start
    through = [shake for shake in heard if shake.mac == after.mac and since <= shake.timestamp <= until]
    first = through[0] if through else None
    working = next((shake for shake in through if shake.outcome == "open"), None)
    limit = working.timestamp if working else since
    last = next((shake.timestamp for shake in reversed(opened) if shake.timestamp < limit), None)
    outage = working.timestamp - last if working and last is not None else None
    return last, first.timestamp if first else None, first.outcome if first else "", outage


def _gratuitous(recording: Recording, before: Span | None, after: Span, until: float) -> Gratuitous:
    """Return the gratuitous frames by which the new owner made itself known."""
    since = recording.started
    if before is not None:
        since = before.end if before.mac == after.mac else before.start
    own = sorted(
        (frame for frame in recording.announcements if frame.mac == after.mac and since <= frame.timestamp <= until),
        key=lambda frame: frame.timestamp,
    )
    begun = min([after.start, *(frame.timestamp for frame in own[:1])])
    complete = until >= begun + ANNOUNCED
    rounds = _rounds(own)
    if recording.ip.version == 4:
        shaped = by_metallb(own)
        count = sum(1 for frames in rounds if {frame.request for frame in frames} == {True, False})
    else:
        starts = [frames[0].timestamp for frames in rounds]
        steps = [later - earlier for earlier, later in pairwise(starts)]
        shaped = bool(steps) and all(abs(step - ROUND_EVERY) < ONE_ROUND for step in steps)
        count = len(rounds)
    expected = ROUNDS if shaped else None
    return Gratuitous(own[0].timestamp if own else None, len(own), count if shaped else 0, expected, complete)


def _rounds(frames: Sequence[Announcement]) -> list[list[Announcement]]:
    rounds: list[list[Announcement]] = []
    for frame in frames:
        if rounds and frame.timestamp - rounds[-1][0].timestamp < ONE_ROUND:
            rounds[-1].append(frame)
        else:
            rounds.append([frame])
    return rounds


def doubled(timeline: Timeline) -> float:
    """Return the longest time in seconds that two owners answered together."""
    longest = 0.0
    for number, span in enumerate(timeline.spans):
        for other in timeline.spans[number + 1 :]:
            if other.mac != span.mac:
                longest = max(longest, min(span.end, other.end) - other.start)
    return longest
