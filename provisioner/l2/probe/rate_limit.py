"""The rate limit for frames: the requested rate on average, and the highest rate over any few milliseconds.

Jitter keeps a sweep from beating with anything periodic. It is applied around a fixed grid, so it does not add up.
"""

from __future__ import annotations

import random

HIGHEST_PPS = 500  # gentle on access points and small switches, whatever rate is requested
SLACK = 2 / HIGHEST_PPS  # seconds; late wake-ups up to this do not lower the average of the highest rate
CLOSEST = 1 / (2 * HIGHEST_PPS)  # seconds between two frames
MOST_BEHIND = 0.25  # seconds of a delay that are made up for


class RateLimit:
    """Schedules frames. Times are seconds of the monotonic clock."""

    def __init__(self, pps: float) -> None:
        self._interval = 1 / pps
        self._slot = 0.0  # the next frame's place on the grid
        self._last = 0.0
        self._earliest = 0.0  # the next frame's place on the grid of the highest rate

    def begin(self, now: float) -> None:
        """Start a series of frames: idle time before it earns no credit."""
        self._slot = max(self._slot, now)

    def due(self, now: float) -> float:
        """Return when the next frame may be sent; a late one catches up, at most at the highest rate."""
        slot = max(self._slot, now - MOST_BEHIND)
        self._slot = slot + self._interval
        return max(slot + random.uniform(0, self._interval / 2), self._last + CLOSEST, self._earliest)

    def sent(self, now: float) -> None:
        """Record that a frame was sent."""
        self._last = now
        self._earliest = max(self._earliest, now - SLACK) + 1 / HIGHEST_PPS
