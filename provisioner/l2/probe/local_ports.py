"""Local ports whose traffic the kernel leaves alone, for conversations that only the raw socket conducts.

A socket bound to the port receives what arrives there, so the kernel sends neither a RST nor ICMP port unreachable;
a socket filter that passes nothing discards it (Linux: tcp_filter in tcp_v4_rcv). It needs no privilege. The kernel's
own answers would cost more than frames: each needs a neighbor entry, which it broadcasts for, and its table holds
1024 by default (arp(7), gc_thresh3).
"""

from __future__ import annotations

import ctypes
import random
import socket
import struct
from collections import Counter
from ipaddress import IPv4Address, IPv6Address

from provisioner.l2.probe.syn import HIGHEST_PORT, LOWEST_PORT, Protocol

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_PASS_NOTHING = struct.pack("=HBBI", 0x06, 0, 0, 0)  # ret #0 (linux/filter.h)
_TRIES = 16
_MOST = 128  # ports for flows to one destination; after that they are used again


class ReservedPort:
    """A local port that answers nothing. `close` gives it back."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self.number: int = opened.getsockname()[1]

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


def reserve(source: IPv4Address | IPv6Address, protocol: Protocol = "TCP") -> ReservedPort | None:
    """Reserve a port of an address of this machine, None if there is none to be had."""
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    for _ in range(_TRIES):
        try:
            opened = socket.socket(family, kind)
        except OSError:  # too many open files
            return None
        try:
            kept = ctypes.create_string_buffer(_PASS_NOTHING, len(_PASS_NOTHING))
            opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(kept)))
            opened.bind((str(source), random.randint(LOWEST_PORT, HIGHEST_PORT)))
            if protocol == "TCP":
                opened.listen(1)
            return ReservedPort(opened)
        except OSError:  # in use, or an address that cannot be bound
            opened.close()
    return None


class LocalPorts:
    """The local ports of flows. Those to one destination have different ones, those to different ones share them."""

    def __init__(self) -> None:
        self._reserved: dict[tuple[IPv4Address | IPv6Address, Protocol], list[ReservedPort]] = {}
        self._flows: Counter[tuple[Protocol, IPv4Address | IPv6Address, int]] = Counter()

    def take(
        self,
        source: IPv4Address | IPv6Address,
        destination: IPv4Address | IPv6Address,
        port: int,
        protocol: Protocol = "TCP",
    ) -> int | None:
        """Return the local port of the next flow from `source` to a port of `destination`, None if there is none."""
        known = self._reserved.setdefault((source, protocol), [])
        number = self._flows[protocol, destination, port] % _MOST
        if number >= len(known) and (another := reserve(source, protocol)) is not None:
            known.append(another)
        if not known:
            return None
        self._flows[protocol, destination, port] += 1
        return known[number % len(known)].number

    def close(self) -> None:
        """Give all ports back."""
        for reserved in self._reserved.values():
            for one in reserved:
                one.close()
        self._reserved.clear()
