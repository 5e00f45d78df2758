"""Whether a takeover was announced: without gratuitous frames every client keeps the old MAC until it asks again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from provisioner.l2.diagnosis.finding import Finding
from provisioner.l2.diagnosis.words import count
from provisioner.l2.wire import Address, Announcement

EVERY = (2.5, 3.5)  # seconds between kube-vip's gratuitous frames, which go on for ever
BEFORE = 1.0  # seconds: a speaker announces at once, and its first answer may be heard before that
AFTER = 6.0  # seconds for which a speaker goes on announcing (MetalLB: 5 s), and one to be late


def missing(
    announcements: Sequence[Announcement], ip: Address, mac: str, takeover: float, heard_until: float
) -> Finding | None:
    """Return GARP_MISSING when a new owner took an address over and announced it to nobody.

    takeover: Unix time of the new owner's first answer; heard_until: until when it was listened to the segment. None
    when a gratuitous frame of `mac` was heard, and when it was not listened for long enough to miss one.
    """
    if heard_until < takeover + AFTER:
        return None
    own = [
        one
        for one in announcements
        if one.ip == ip and one.mac == mac and takeover - BEFORE <= one.timestamp <= takeover + AFTER
    ]
    if own:
        return None
    others = sum(one.ip == ip for one in announcements)
    evidence = [f"{mac} took {ip} over, and no gratuitous frame of it was heard within {AFTER:.0f} s."]
    if others:
        evidence.append(
            f"Other owners sent {count(others, 'gratuitous frame')} for {ip}, so the segment carries them."
        )
    return Finding("GARP_MISSING", "certain" if others else "likely", tuple(evidence), fields={"mac": mac})


def by_metallb(frames: Sequence[Announcement]) -> bool:
    """Tell whether one MAC's gratuitous frames have the shape of MetalLB's speaker: pairs of a request and a reply.

    Both have the target MAC ff:ff:ff:ff:ff:ff. That alone shows nothing: keepalived 2.2 sends such requests, and
    kube-vip such replies, each without the other.
    """
    return {True, False} <= {one.request for one in frames if one.broadcast_target}


def periodic(frames: Sequence[Announcement]) -> bool:
    """Tell whether one MAC's gratuitous frames keep coming at kube-vip's pace; MetalLB's come faster, and cease."""
    times = sorted(one.timestamp for one in frames)
    rounds = [time for number, time in enumerate(times) if number == 0 or time - times[number - 1] > 1]
    steps = [later - earlier for earlier, later in pairwise(rounds)]
    return len(steps) >= 2 and all(EVERY[0] <= step <= EVERY[1] for step in steps)
