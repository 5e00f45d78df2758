"""Tell a handover from a duplicate by time alone: who still answers the last questions.

MetalLB's new leader may begin before the old one has stopped. Two nodes that answer for under a second, of which one
then stays silent while the other goes on, are a handover; two that answer to the end are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Address, Announcement, Answer, Capture

LONGEST = 1.0  # seconds for which two nodes may answer together
_ONE_QUESTION = 0.002  # seconds within which answers' times of asking are the same question's


@dataclass(frozen=True)
class Handover:
    """An address moved from one MAC to another. overlap: seconds for which both answered, 0 for none."""

    old: str
    new: str
    overlap: float
    questions: int
    announced: bool


@dataclass(frozen=True)
class Question:
    """A question to everybody, and who answered it. asked: Unix time."""

    asked: float
    kind: Kind
    macs: frozenset[str]


def questions(answers: Sequence[Answer]) -> tuple[Question, ...]:
    """Return the questions to everybody that were answered, in order of time; a direct one shows one MAC only."""
    found: list[tuple[float, Kind, set[str]]] = []
    for answer in sorted(answers, key=lambda one: one.timestamp - one.rtt):
        if answer.kind is Kind.UNICAST:
            continue
        asked = answer.timestamp - answer.rtt
        same = next((one for one in found if one[1] is answer.kind and asked - one[0] < _ONE_QUESTION), None)
        if same is not None:
            same[2].add(answer.mac)
        else:
            found.append((asked, answer.kind, {answer.mac}))
    return tuple(Question(asked, kind, frozenset(macs)) for asked, kind, macs in found)


def find(answers: Sequence[Answer], announcements: Sequence[Announcement] = ()) -> Handover | None:
    """Return the handover between the two MACs that answered; None when both go on, or too little was asked since.

    One unanswered question may be a lost frame. So the new owner alone must have answered two since the old one's
    last answer, or one and have announced itself.
    """
    macs = tuple(dict.fromkeys(answer.mac for answer in answers))
    asked = questions(answers)
    if len(macs) != 2 or not asked:
        return None
    for old, new in (macs, macs[::-1]):
        old_last = max(answer.timestamp for answer in answers if answer.mac == old)
        old_first = min(answer.timestamp for answer in answers if answer.mac == old)
        new_first = min(answer.timestamp for answer in answers if answer.mac == new)
        since = [one for one in asked if one.asked > old_last and one.macs == {new}]
        announced = any(one.mac == new and one.timestamp >= old_first for one in announcements)
        overlap = old_last - new_first
        if old not in asked[0].macs:
            continue
        if overlap < LONGEST and len(since) >= (1 if announced else 2):
            return Handover(old, new, max(0.0, overlap), len(since), announced)
    return None


def together(answers: Sequence[Answer]) -> float:
    """Return for how many seconds several MACs were seen to answer the same questions."""
    shared = [one.asked for one in questions(answers) if len(one.macs) > 1]
    return max(shared) - min(shared) if shared else 0.0


def needs_more_probes(capture: Capture, ip: Address) -> bool:
    """Tell whether more questions would decide: several MACs answered, and for less than a second together."""
    answers = capture.answers_for(ip)
    own = [one for one in capture.announcements if one.ip == ip]
    return len(capture.macs(ip)) > 1 and together(answers) < LONGEST and find(answers, own) is None
