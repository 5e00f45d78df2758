"""Whose gratuitous frames they are, by shape and period: MetalLB's or another announcer's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from provisioner.l2.probe.capture import Announcement

EVERY = (2.5, 3.5)  # seconds between kube-vip's gratuitous frames, which never stop


def by_metallb(frames: Sequence[Announcement]) -> bool:
    """Return whether one MAC's gratuitous frames have the shape of MetalLB's: pairs of a request and a reply.

    Both have the target MAC ff:ff:ff:ff:ff:ff. That alone proves nothing: keepalived 2.2 sends such requests and
    kube-vip such replies, but neither sends both.
    """
    return {True, False} <= {one.request for one in frames if one.broadcast_target}


def periodic(frames: Sequence[Announcement]) -> bool:
    """Return whether one MAC's gratuitous frames keep kube-vip's period; MetalLB's are more frequent, and stop."""
    times = sorted(one.timestamp for one in frames)
    rounds = [time for number, time in enumerate(times) if number == 0 or time - times[number - 1] > 1]
    steps = [later - earlier for earlier, later in pairwise(rounds)]
    return len(steps) >= 2 and all(EVERY[0] <= step <= EVERY[1] for step in steps)
