"""The one raw socket: paced questions out, every ARP reply in, each with the kernel's timestamp.

It never stops at the first answer, since the second one is what tells a duplicate; and it says when the kernel had
to drop frames, since an answer lost here must not be taken for silence.
"""

from __future__ import annotations

import errno
import os
import random
import select
import shlex
import socket
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType

from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2 import frames
from provisioner.l2.frames import Kind, Question, Reply
from provisioner.l2.interfaces import Interface
from provisioner.l2.wire import Address, Announcement, Answer, Handshake

DEFAULT_PPS = 200
HIGHEST_PPS = 500  # gentle on access points and small switches, whatever was asked for
TAIL = 1.0  # seconds to listen after the last question, so that a slow second owner is heard too
MOST_OVERTIME = 0.5  # seconds

# linux/if_ether.h, asm-generic/socket.h, linux/if_packet.h: not in Python's socket module
_ETH_P_ARP = 0x0806
_SO_TIMESTAMPNS = 35
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_TIMESPEC = struct.Struct("@ll")
_TO_US = (socket.PACKET_HOST, socket.PACKET_BROADCAST, socket.PACKET_MULTICAST)


class Prober:
    """An open ARP socket on one interface; a context manager. `answers` grows in order of arrival."""

    def __init__(self, interface: Interface, pps: int = DEFAULT_PPS) -> None:
        if not 0 < pps <= HIGHEST_PPS:
            raise ProvisionerError(f"{pps} packets a second is out of range", f"choose 1 to {HIGHEST_PPS}")
        self.interface = interface
        self.answers: list[Answer] = []
        self.announcements: list[Announcement] = []
        self.handshakes: list[Handshake] = []
        self.sent = 0
        self.received = 0
        self.dropped = 0
        self._interval = 1 / pps
        self._due = 0.0
        self._asked: dict[Address, list[tuple[float, Kind]]] = {}
        self._socket = _open(interface.name)

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()

    def send(self, questions: Iterable[Question]) -> None:
        """Send questions one by one at the pace, collecting what comes meanwhile. Raises Inconclusive."""
        for question in questions:
            now = time.monotonic()
            self.listen(max(0.0, self._due - now))
            now = time.monotonic()
            # Jitter keeps the sweep from beating with anything periodic. One that fell behind catches up, but
            # two frames are never closer than the highest rate allows.
            self._due = max(self._due or now, now - 1) + self._interval * random.uniform(0.5, 1.5)
            self._due = max(self._due, now + 1 / HIGHEST_PPS)
            self._asked.setdefault(question.target, []).append((time.time(), question.kind))
            try:
                self._socket.send(question.frame)
            except OSError as error:
                raise _lost(self.interface.name, error) from error
            self.sent += 1

    def listen(self, seconds: float) -> None:
        """Collect replies for that long, no less. Raises Inconclusive when the interface goes away."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._socket], [], [], max(0.0, left))
            if ready:
                self._receive()
            # What came in time may still be queued; a flood of frames must not keep us here for ever.
            if (left <= 0 and not ready) or left < -MOST_OVERTIME:
                break
        self.dropped += _drops(self._socket)

    def silent(self, targets: Iterable[Address]) -> list[Address]:
        """Return the targets that nobody has answered for yet."""
        heard = {answer.ip for answer in self.answers}
        return [target for target in targets if target not in heard]

    def _receive(self) -> None:
        try:
            frame, ancillary, _, address = self._socket.recvmsg(2048, 64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            raise _lost(self.interface.name, error) from error
        if address[2] not in _TO_US:  # our own frames, or somebody else's seen by a promiscuous interface
            return
        self.received += 1
        reply = frames.parse(frame)
        if reply is None or reply.ip not in self._asked:
            return
        timestamp = next(
            (
                seconds + nanoseconds / 1e9
                for level, kind, data in ancillary
                if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS)
                for seconds, nanoseconds in [_TIMESPEC.unpack(data[: _TIMESPEC.size])]
            ),
            time.time(),
        )
        self.answers.append(_answer(reply, timestamp, self._asked[reply.ip]))


def _answer(reply: Reply, timestamp: float, asked: Sequence[tuple[float, Kind]]) -> Answer:
    """Match a reply with the newest question that it can be an answer to.

    A reply repeats the address that it was asked from, which tells Z from the other two.
    """
    to_zero = reply.asked_from == frames.NOBODY
    fitting = [entry for entry in asked if (entry[1] is Kind.ZERO) == to_zero] or list(asked)
    earlier = [entry for entry in fitting if entry[0] <= timestamp] or fitting[:1]
    sent, kind = earlier[-1]
    source = reply.source if reply.source != reply.mac else ""
    return Answer(reply.ip, reply.mac, kind, timestamp, max(0.0, timestamp - sent), reply.length, source)


def _open(name: str) -> socket.socket:
    try:
        # Protocol 0 receives nothing until bind, so that no frame of another interface is ever taken in.
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError as error:
        raise Inconclusive("asking with ARP frames needs CAP_NET_RAW", f"run: {privileged()}") from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        opened.bind((name, _ETH_P_ARP))
    except OSError as error:
        opened.close()
        raise _lost(name, error) from error
    return opened


def privileged(arguments: Sequence[str] = ()) -> str:
    """Return the command that runs this one again with CAP_NET_RAW and nothing more than that.

    The user stays the same, and with it SSH keys, agent and the owner of the files that are written.
    """
    words = list(arguments) or [os.path.abspath(sys.argv[0]), *sys.argv[1:]]
    return (
        f"sudo -E setpriv --reuid={os.getuid()} --regid={os.getgid()} --init-groups "
        f"--inh-caps=+net_raw --ambient-caps=+net_raw {shlex.join(words)}"
    )


def _drops(opened: socket.socket) -> int:
    """Return how many frames the kernel dropped since the last call (packet(7), PACKET_STATISTICS)."""
    try:
        statistics = opened.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
    except OSError as error:
        raise ProvisionerError(f"cannot read the socket's statistics: {error}") from error
    return int(struct.unpack("@II", statistics)[1])


def _lost(name: str, error: OSError) -> Inconclusive:
    if error.errno == errno.ENODEV:
        return Inconclusive(f"there is no interface {name} here", "choose another with --interface")
    if error.errno in (errno.ENETDOWN, errno.ENXIO):
        return Inconclusive(f"{name} went down", f"sudo ip link set {name} up, and try again")
    return Inconclusive(f"cannot use {name}: {error.strerror}", "look at the interface, and try again")
