"""Turn a recording into a timeline: who answered from when to when, and the figures of each transition.

Pure: a Recording in, a Timeline out. What was not observed is None, never 0, so that an unmeasured figure does not
look like a good one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from provisioner.l2.gratuitous import by_metallb
from provisioner.l2.probe.capture import Address, Announcement, Answer, Handshake
from provisioner.l2.watch.spans import GAP, Span, Track, between
from provisioner.l2.watch.turns import Turns, turns_of

HANDOVER = 1.0  # seconds for which two owners may both answer during a handover
# MetalLB v0.16.1, internal/layer2/announcer.go: a pair at once, then every 1.1 s until 5 s have passed.
ROUNDS = 5
ROUND_EVERY = 1.1  # seconds
ANNOUNCED = 5.5  # seconds after which the last of the five has been sent
SAME_REQUEST = 0.01  # seconds between a request's noted send time and the one derived from its reply
ONE_ROUND = 0.5  # seconds within which frames belong to one round

EndedBy = Literal["stable", "timeout", "interrupted", "lost", "flapping"]


@dataclass(frozen=True)
class Recording:
    """Everything that a watch sent and received. Times are Unix seconds, those of frames by the kernel.

    requests: when each was sent; interval: seconds between two; gap: see GAP. port: 0 without TCP. ended_by: lost if
    the interface went away (`failure` says how). until_stable: the watch waited for a transition. unicasts: how many
    requests went to an owner alone, as a router verifies a neighbor, and how many were answered.
    """

    ip: Address
    started: float
    ended: float
    interval: float
    requests: Sequence[float]
    answers: Sequence[Answer] = ()
    announcements: Sequence[Announcement] = ()
    handshakes: Sequence[Handshake] = ()
    port: int = 0
    tcp_interval: float = 0.0
    gap: float = GAP
    dropped: int = 0
    ended_by: EndedBy = "interrupted"
    failure: str = ""
    until_stable: bool = False
    unicasts: int = 0
    unicasts_answered: int = 0


@dataclass(frozen=True)
class GratuitousSummary:
    """The gratuitous frames of a new owner. first: Unix time, None if none was received.

    rounds: pairs of request and reply like MetalLB's (NDP: single advertisements). expected: how many MetalLB sends;
    None if the frames are another program's. complete: whether the watch lasted long enough to receive all.
    """

    first: float | None = None
    frames: int = 0
    rounds: int = 0
    expected: int | None = None
    complete: bool = False


@dataclass(frozen=True)
class Transition:
    """A change of owner, or a silence that the same owner ended. Times are Unix seconds, None: not observed.

    before, after: MACs; before is "" if there was no owner at first, after is "" if none followed. silence: from the
    old owner's last reply to the new one's first; silence_least: the part of it that unanswered requests prove.
    overlap: seconds for which both answered; both: they still did at the end, and old_last is None then. tcp_outage:
    from the last connection to the first one through `after`.
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
    gratuitous: GratuitousSummary = GratuitousSummary()
    tcp_last: float | None = None
    tcp_first: float | None = None
    tcp_outcome: str = ""
    tcp_outage: float | None = None

    @property
    def moved(self) -> bool:
        """Tell whether the address has a different owner than before, and only that one."""
        return bool(self.before and self.after and self.before != self.after) and not self.both

    @property
    def lost(self) -> bool:
        """Tell whether no owner has answered since."""
        return not self.after


@dataclass(frozen=True)
class Timeline:
    """A recording with its spans and transitions. zero: the Unix time of the first loss, from which times count.

    holders: the MACs that answered at the end; strays: spans within another owner's span.
    """

    recording: Recording
    spans: tuple[Span, ...]
    transitions: tuple[Transition, ...]
    holders: tuple[str, ...]
    strays: tuple[Span, ...]
    zero: float
    turns: Turns = field(default_factory=Turns)

    @property
    def macs(self) -> tuple[str, ...]:
        """Return every MAC that answered, in order of its first reply."""
        return tuple(dict.fromkeys(span.mac for span in self.spans))


def build_timeline(recording: Recording) -> Timeline:
    """Return the timeline of a recording."""
    track = Track(recording.gap, list(recording.requests))
    for answer in sorted(recording.answers, key=lambda answer: answer.timestamp):
        track.add(answer)
    spans = tuple(sorted((span for own in track.spans.values() for span in own), key=lambda span: span.start))
    holding = track.holders(recording.ended)
    steps, strays = _steps(spans, holding)
    if spans and track.is_silence(recording.started, spans[0].requested):
        steps.insert(0, (None, spans[0]))
    if spans and not holding:
        steps.append((max(spans, key=lambda span: span.end), None))
    ends = [after.start for _, after in steps[1:] if after is not None]
    transitions = tuple(
        _transition(recording, before, after, until, both=before in holding and after in holding)
        for (before, after), until in zip(steps, [*ends, *[recording.ended] * len(steps)], strict=False)
    )
    losses = [transition.old_last for transition in transitions if transition.old_last is not None]
    rises = [transition.new_first for transition in transitions if transition.new_first is not None]
    zero = (losses or rises or [recording.started])[0]
    holders = tuple(span.mac for span in holding)
    return Timeline(recording, spans, transitions, holders, strays, zero, turns_of(recording.answers))


def _steps(
    spans: Iterable[Span], holding: Sequence[Span]
) -> tuple[list[tuple[Span | None, Span | None]], tuple[Span, ...]]:
    """Return which span followed which, and the spans within another's."""
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


def _transition(
    recording: Recording, before: Span | None, after: Span | None, until: float, *, both: bool
) -> Transition:
    """Return the figures of one transition. until: Unix time of the next one or the end; both: neither stopped."""
    old_last = before.end if before and not both else None
    new_first = after.start if after else None
    silence = least = overlap = None
    unanswered = between(
        recording.requests,
        before.end if before else recording.started - 1,
        after.requested - SAME_REQUEST if after else recording.ended,
    )
    if before and after:
        silence = max(0.0, after.start - before.end)
        overlap = max(0.0, before.end - after.start)
        least = max(0.0, unanswered[-1] - unanswered[0]) if unanswered else 0.0
    elif unanswered:
        least = unanswered[-1] - unanswered[0]
    tcp_last, tcp_first, outcome, outage = _tcp(recording, before, after, until)
    return Transition(
        before=before.mac if before else "",
        after=after.mac if after else "",
        old_last=old_last,
        new_first=new_first,
        silence=silence,
        silence_least=least,
        unanswered=len(unanswered),
        overlap=overlap,
        both=both,
        gratuitous=_gratuitous(recording, before, after, until) if after else GratuitousSummary(),
        tcp_last=tcp_last,
        tcp_first=tcp_first,
        tcp_outcome=outcome,
        tcp_outage=outage,
    )


def _tcp(
    recording: Recording, before: Span | None, after: Span | None, until: float
) -> tuple[float | None, float | None, str, float | None]:
    """Return the last connection before, the first TCP answer through the new owner, its outcome, and the outage."""
    answered = sorted(
        (shake for shake in recording.handshakes if shake.outcome in ("open", "refused")),
        key=lambda shake: shake.timestamp,
    )
    opened = [shake for shake in answered if shake.outcome == "open"]
    if after is None:
        return (opened[-1].timestamp if opened else None), None, "", None
    since = max(after.start, before.end) if before and before.mac == after.mac else after.start
    through = [shake for shake in answered if shake.mac == after.mac and since <= shake.timestamp <= until]
    first = through[0] if through else None
    working = next((shake for shake in through if shake.outcome == "open"), None)
    limit = working.timestamp if working else since
    last = next((shake.timestamp for shake in reversed(opened) if shake.timestamp < limit), None)
    outage = working.timestamp - last if working and last is not None else None
    return last, first.timestamp if first else None, first.outcome if first else "", outage


def _gratuitous(recording: Recording, before: Span | None, after: Span, until: float) -> GratuitousSummary:
    """Return the gratuitous frames by which the new owner announced itself."""
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
    return GratuitousSummary(own[0].timestamp if own else None, len(own), count if shaped else 0, expected, complete)


def _rounds(frames: Sequence[Announcement]) -> list[list[Announcement]]:
    rounds: list[list[Announcement]] = []
    for frame in frames:
        if rounds and frame.timestamp - rounds[-1][0].timestamp < ONE_ROUND:
            rounds[-1].append(frame)
        else:
            rounds.append([frame])
    return rounds


def longest_overlap(timeline: Timeline) -> float:
    """Return the longest time in seconds for which two owners both answered."""
    longest = 0.0
    for number, span in enumerate(timeline.spans):
        for other in timeline.spans[number + 1 :]:
            if other.mac != span.mac:
                longest = max(longest, min(span.end, other.end) - other.start)
    return longest
