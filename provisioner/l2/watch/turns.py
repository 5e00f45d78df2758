"""Whose turn it is: an address that moves back and forth is told from two owners that answer together, reply by reply.

The recorder and the verdict use the same code, so that a watch ends with the verdict for which it ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from provisioner.l2.probe.capture import Answer

MOVES = 4  # so many moves are no failover, there and back, of a person who tests it
WITHIN = 60.0  # seconds in which so many moves end a watch
LASTING = 60.0  # seconds between two moves, on average, above which they are single failovers
_TOGETHER = 5  # of so many answered requests at most one is answered by both owners
_SAME_REQUEST = 0.01  # seconds between the send times derived from two replies to one request


@dataclass
class Turns:
    """The turns so far. turns: MAC and Unix time of the first request that it answered alone."""

    turns: list[tuple[str, float]] = field(default_factory=list)
    _requests: int = 0
    _together: int = 0
    _sent: float = 0.0
    _macs: set[str] = field(default_factory=set)

    def add(self, answer: Answer) -> None:
        """Add a reply, in order of time."""
        sent = answer.timestamp - answer.rtt
        if self._macs and abs(sent - self._sent) > _SAME_REQUEST:
            self._close()
        if not self._macs:
            self._sent = sent
        self._macs.add(answer.mac)

    def finish(self) -> None:
        """Count the last request, too."""
        if self._macs:
            self._close()

    def _close(self) -> None:
        """Count the request whose replies are complete, as the next one's have begun."""
        self._requests += 1
        self._together += len(self._macs) > 1
        if len(self._macs) == 1:
            (mac,) = self._macs
            if not self.turns or self.turns[-1][0] != mac:
                self.turns.append((mac, self._sent))
        self._macs.clear()

    @property
    def moves(self) -> int:
        """Return how often the address moved."""
        return max(0, len(self.turns) - 1)

    def flaps(self) -> bool:
        """Tell whether it moved back and forth within a minute, so that waiting for calm is useless."""
        return self._alternates() and self.turns[-1][1] - self.turns[-1 - MOVES][1] <= WITHIN

    def flapped(self) -> bool:
        """Tell whether it moved back and forth during the whole watch, at any pace that is no single failover."""
        return self._alternates() and self.seconds <= LASTING * self.moves

    def _alternates(self) -> bool:
        return self.moves >= MOVES and self._together * _TOGETHER <= self._requests

    @property
    def seconds(self) -> float:
        """Return the time from the first move to the last."""
        return self.turns[-1][1] - self.turns[1][1] if self.moves else 0.0


def turns_of(answers: Iterable[Answer]) -> Turns:
    """Return the turns in a recording's replies."""
    found = Turns()
    for answer in sorted(answers, key=lambda one: one.timestamp):
        found.add(answer)
    found.finish()
    return found
