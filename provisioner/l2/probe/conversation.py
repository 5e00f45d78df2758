"""One TCP conversation conducted by hand: does a question that fills a segment arrive, and do segments of the answer?

No I/O: segments in, frames out. Nothing is fragmented (DF is set, as every TCP sets it), so what exceeds an MTU on the
way is lost. Only small windows are offered: a large answer is stopped after some segments.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from provisioner.l2.probe import packets
from provisioner.l2.probe.capture import Exchange
from provisioner.l2.probe.packets import Address, Segment

WINDOW = 16384  # bytes: eleven full segments of an Ethernet frame
ENOUGH = 4  # full segments in order after which the rest is not needed
SMALL = 536  # bytes that every IPv4 path carries in one segment (RFC 9293, 3.7.1)
_HEADERS = {4: 40, 6: 60}  # bytes of IP and TCP headers

Asked = Literal["HTTP", "TLS", ""]


def largest_segment(mtu: int, version: int) -> int:
    """Return the bytes that a TCP segment holds on a link."""
    return mtu - _HEADERS[version]


@dataclass
class Conversation:
    """A conversation with `ip`:`port` in frames to `mac`. own: this machine's MAC and address.

    mss: the largest segment that this side takes and sends; ask: returns the question, of at most that many bytes, b""
    to let the Service speak first.
    """

    ip: Address
    mac: str
    port: int
    own: tuple[str, Address]
    local_port: int
    asked: Asked
    ask: Callable[[int], bytes]
    mss: int
    question: bytes = b""
    sequence: int = field(default_factory=lambda: random.getrandbits(32))
    connected: bool = False
    ended: bool = False
    accepted: bool = False
    received: int = 0
    largest: int = 0
    progress: int = 0  # segments that told anything new
    _expected: int = 0  # the next byte of the answer
    _later: bool = False
    _agreed: int = SMALL  # bytes in a segment that the peer takes, too

    @property
    def done(self) -> bool:
        """Tell whether nothing more can be learned: enough arrived, or the Service has ended it."""
        return self.ended or self.received >= ENOUGH * self.mss

    def belongs(self, segment: Segment) -> bool:
        """Tell whether a segment to the local port is of this conversation."""
        return (segment.source, segment.port) == (self.ip, self.port)

    def open(self) -> bytes:
        """Return the SYN."""
        return self._segment(packets.SYN, self.sequence, mss=self.mss)

    def reset(self) -> bytes:
        """Return the segment that ends it."""
        return self._segment(packets.RST | packets.ACK, self.sequence + 1 + len(self.question) * self.accepted)

    def again(self) -> bytes | None:
        """Return what is not acknowledged yet, None if nothing is."""
        if not self.connected:
            return self.open()
        return None if self.accepted or not self.question else self._ask()

    def take(self, segment: Segment) -> list[bytes]:
        """Take a segment; return the frames to send."""
        if segment.flags & packets.RST:
            self.ended = True
            return []
        if segment.flags & packets.SYN:
            return self._take_synack(segment)
        if not self.connected:
            return []
        before = (self.accepted, self.received, self._later)
        if self.question and (segment.acknowledged - self.sequence - 1) % 2**32 == len(self.question):
            self.accepted = True
        fin = bool(segment.flags & packets.FIN)
        if segment.data or fin:
            self._take_data(segment, fin)
            self.progress += before != (self.accepted, self.received, self._later)
            return [self._segment(packets.ACK, self.sequence + 1 + len(self.question) * self.accepted)]
        self.progress += before != (self.accepted, self.received, self._later)
        return []

    def _take_synack(self, segment: Segment) -> list[bytes]:
        if segment.acknowledged != (self.sequence + 1) % 2**32:
            return []
        if not self.connected:
            self.connected, self._expected = True, (segment.sequence + 1) % 2**32
            self._agreed = min(self.mss, segment.mss or SMALL)
            self.question = self.ask(self._agreed)
            self.progress += 1
        return [self._ask() if self.question else self._segment(packets.ACK, self.sequence + 1)]

    def _take_data(self, segment: Segment, fin: bool) -> None:
        ahead = (segment.sequence - self._expected) % 2**32
        if ahead >= 2**31:  # sent again
            return
        if ahead:
            self._later = True
            return
        self._expected = (self._expected + len(segment.data)) % 2**32
        self.received += len(segment.data)
        # The receiving kernel may have joined segments; one is never longer than was agreed.
        self.largest = max(self.largest, min(len(segment.data), self.mss))
        if fin:
            self._expected = (self._expected + 1) % 2**32
            self.ended = True

    def _ask(self) -> bytes:
        return self._segment(packets.PSH | packets.ACK, self.sequence + 1, data=self.question)

    def _segment(self, flags: int, sequence: int, *, mss: int = 0, data: bytes = b"") -> bytes:
        return packets.tcp(
            self.own,
            (self.mac, self.ip),
            (self.local_port, self.port),
            flags,
            sequence=sequence,
            acknowledged=self._expected,
            window=WINDOW,
            mss=mss,
            data=data,
        )

    def exchange(self) -> Exchange:
        """Return what came of it."""
        return Exchange(
            self.ip,
            self.mac,
            self.port,
            self.asked,
            self.mss,
            large=len(self.question) == self._agreed > SMALL,
            accepted=self.accepted,
            received=self.received,
            largest=self.largest,
            gap=self._later and not self.ended,
            ended=self.ended,
        )
