"""Whether a takeover was announced: without gratuitous frames every client keeps the old MAC until it asks again."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.l2.diagnosis.finding import Finding
from provisioner.l2.diagnosis.words import count
from provisioner.l2.wire import Address, Announcement

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
