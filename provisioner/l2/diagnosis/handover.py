"""Tell a handover from a duplicate by time: which owners answer the last requests.

MetalLB's new leader may start before the old one has stopped. If two nodes answer for less than a second and then only
one of them does, that is a handover; if both answer until the end, it is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Address, Announcement, Answer, Capture

MAX_OVERLAP = 1.0  # seconds for which two nodes may both answer
_SELDOM = 5  # of so many requests at most one is answered by both owners of an address that moves back and forth
_SAME_REQUEST = 0.002  # seconds within which the send times of two replies' requests are the same request's


@dataclass(frozen=True)
class Handover:
    """An address that moved from one MAC to another. overlap: seconds for which both answered, 0 for none.

    since: broadcast requests that only the new owner answered after the old owner's last reply.
    """

    old: str
    new: str
    overlap: float
    since: int
    announced: bool


@dataclass(frozen=True)
class AnsweredRequest:
    """A broadcast request and the MACs that answered it. sent: Unix time."""

    sent: float
    kind: Kind
    macs: frozenset[str]


def answered_requests(answers: Sequence[Answer]) -> tuple[AnsweredRequest, ...]:
    """Return the broadcast requests that were answered, in order of time; unicast ones reach one MAC only."""
    found: list[tuple[float, Kind, set[str]]] = []
    for answer in sorted(answers, key=lambda one: one.timestamp - one.rtt):
        if answer.kind is Kind.UNICAST:
            continue
        sent = answer.timestamp - answer.rtt
        same = next((one for one in found if one[1] is answer.kind and sent - one[0] < _SAME_REQUEST), None)
        if same is not None:
            same[2].add(answer.mac)
        else:
            found.append((sent, answer.kind, {answer.mac}))
    return tuple(AnsweredRequest(sent, kind, frozenset(macs)) for sent, kind, macs in found)


def find(answers: Sequence[Answer], announcements: Sequence[Announcement] = ()) -> Handover | None:
    """Return the handover between the two MACs that answered, None if both still answer or too little was probed.

    One unanswered request may be a lost frame. So since the old owner's last reply, only the new owner must have
    answered two requests, or one and have announced itself.
    """
    macs = tuple(dict.fromkeys(answer.mac for answer in answers))
    requests = answered_requests(answers)
    if len(macs) != 2 or not requests:
        return None
    for old, new in (macs, macs[::-1]):
        old_last = max(answer.timestamp for answer in answers if answer.mac == old)
        old_first = min(answer.timestamp for answer in answers if answer.mac == old)
        new_first = min(answer.timestamp for answer in answers if answer.mac == new)
        since = [request for request in requests if request.sent > old_last and request.macs == {new}]
        announced = any(frame.mac == new and frame.timestamp >= old_first for frame in announcements)
        overlap = old_last - new_first
        if old not in requests[0].macs:
            continue
        if overlap < MAX_OVERLAP and len(since) >= (1 if announced else 2):
            return Handover(old, new, max(0.0, overlap), len(since), announced)
    return None


def overlap_seconds(answers: Sequence[Answer]) -> float:
    """Return for how many seconds several MACs answered the same requests."""
    shared = [request.sent for request in answered_requests(answers) if len(request.macs) > 1]
    return max(shared) - min(shared) if shared else 0.0


def needs_more_probes(capture: Capture, ip: Address) -> bool:
    """Tell whether more probes would tell a handover from a duplicate: several MACs overlap for under a second."""
    answers = capture.answers_for(ip)
    if len(capture.macs(ip)) < 2 or overlap_seconds(answers) >= MAX_OVERLAP:
        return False
    return find(answers, [frame for frame in capture.announcements if frame.ip == ip]) is None


def owners_in_turn(answers: Sequence[Answer]) -> tuple[tuple[str, float], ...]:
    """Return who answered alone, in order, each MAC once per turn, with the time of its turn's first request."""
    alone = [
        (next(iter(request.macs)), request.sent) for request in answered_requests(answers) if len(request.macs) == 1
    ]
    return tuple(alone[:1]) + tuple(later for earlier, later in pairwise(alone) if earlier[0] != later[0])


def takes_turns(answers: Sequence[Answer]) -> bool:
    """Tell whether several MACs answered in turn and hardly ever together: the address moved back and forth."""
    requests = answered_requests(answers)
    together = sum(len(request.macs) > 1 for request in requests)
    return len(owners_in_turn(answers)) > 2 and together * _SELDOM <= len(requests)


def has_moved(capture: Capture, ip: Address) -> bool:
    """Tell whether an address changed its owner during the run, so that it may do so again."""
    answers = capture.answers_for(ip)
    return len(owners_in_turn(answers)) > 1 and overlap_seconds(answers) < MAX_OVERLAP


def answered_times(capture: Capture, ip: Address, mac: str) -> Counter[Kind]:
    """Return how many questions of each kind a MAC answered; replies to one question by two programs count twice."""
    return Counter(answer.kind for answer in capture.answers_for(ip) if answer.mac == mac)
