"""Whose gratuitous frames they are, by shape and pace: MetalLB's, or those of another program that announces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from provisioner.l2.probe.capture import Announcement

EVERY = (2.5, 3.5)  # seconds between kube-vip's gratuitous frames, which go on for ever


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
