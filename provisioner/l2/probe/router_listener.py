"""Hear VRRP, HSRP and CARP on an interface, beside whatever else is asked there. Nothing is sent."""

from __future__ import annotations

import time
from types import TracebackType

from provisioner.l2.probe import packet_filter
from provisioner.l2.probe.raw_socket import RawSocket
from provisioner.l2.probe.router_adverts import GROUPS, RouterAdvert, parse

MOST = 10_000  # advertisements kept; a storm of them is evidence enough


class RouterListener:
    """An open socket for advertisements; a context manager. The kernel queues what arrives between two reads."""

    def __init__(self, interface: str) -> None:
        self.heard: list[RouterAdvert] = []
        self._socket = RawSocket(interface, packet_filter.ROUTERS, GROUPS)

    def __enter__(self) -> RouterListener:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()

    def listen(self, seconds: float = 0.0) -> tuple[RouterAdvert, ...]:
        """Listen that long, and return everything heard since the beginning. Raises Inconclusive."""
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            if not self._socket.wait(left):
                break
            if (frame := self._socket.receive()) is not None and (found := parse(*frame)) is not None:
                self.heard.append(found)
                if len(self.heard) >= MOST:
                    break
        return tuple(self.heard)
