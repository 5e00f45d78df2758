"""How fast it is asked: the average is the rate that was asked for, and no two frames are closer than the highest.

Jitter keeps a sweep from beating with anything periodic. It is around a fixed grid, so that it does not add up.
"""

from __future__ import annotations

import random

HIGHEST_PPS = 500  # gentle on access points and small switches, whatever was asked for
MOST_BEHIND = 0.25  # seconds that are made up for after a delay


class RateLimit:
    """Says when the next frame is due. Times are seconds of the monotonic clock."""

    def __init__(self, pps: float) -> None:
        self._interval = 1 / pps
        self._slot = 0.0  # where on the grid the next frame is
        self._last = 0.0

    def begin(self, now: float) -> None:
        """Begin a row of frames: time that went by without one is no credit."""
        self._slot = max(self._slot, now)

    def due(self, now: float) -> float:
        """Return when the next frame may be sent; one that fell behind catches up, no faster than the highest rate."""
        slot = max(self._slot, now - MOST_BEHIND)
        self._slot = slot + self._interval
        return max(slot + random.uniform(0, self._interval / 2), self._last + 1 / HIGHEST_PPS)

    def sent(self, now: float) -> None:
        """Take note that a frame was sent."""
        self._last = now
