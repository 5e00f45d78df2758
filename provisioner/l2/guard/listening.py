"""The guard's socket: everything that is said to all on a segment about addresses, and a few questions out."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from provisioner.l2.guard import sighting
from provisioner.l2.guard.sighting import Sighting
from provisioner.l2.probe import packet_filter, questions, router_adverts
from provisioner.l2.probe.capture import Address
from provisioner.l2.probe.dhcp import Lease
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.probe.raw_socket import RawSocket
from provisioner.l2.probe.router_adverts import RouterAdvert

_ALL_NODES = "33:33:00:00:00:01"  # where unsolicited neighbor advertisements go
_AT_ONCE = 1000  # frames taken before questions get their turn


class Listener:
    """An open socket on an interface; a context manager. sent, heard, dropped: frames. Raises Inconclusive."""

    def __init__(self, interface: Interface) -> None:
        self.interface = interface
        self.sent = self.heard = self.dropped = 0
        self._socket = RawSocket(interface.name, packet_filter.OVERHEARD, (*router_adverts.GROUPS, _ALL_NODES))

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()

    def ask(self, ip: Address) -> bool:
        """Send one question for an address, as any client does; return False if this machine cannot ask for it."""
        question = questions.request(self.interface, ip) or questions.arp_probe(self.interface, ip)
        if question is None:
            return False
        self._socket.send(question.frame)
        self.sent += 1
        return True

    def listen(self, seconds: float) -> Iterator[Sighting | Lease | RouterAdvert]:
        """Wait for a frame at most that long, and yield what it and those behind it say."""
        if not self._socket.wait(seconds):
            return
        for _ in range(_AT_ONCE):
            if (frame := self._socket.receive()) is None:
                break
            self.heard += 1
            if (found := sighting.parse(*frame)) is not None:
                yield found
        self.dropped += self._socket.dropped()
