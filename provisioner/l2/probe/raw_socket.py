"""The raw socket: send frames, receive frames with the kernel's timestamp, count what the kernel dropped.

One socket for all protocols of an interface; the packet filter keeps irrelevant frames out.
"""

from __future__ import annotations

import errno
import os
import select
import shlex
import socket
import struct
import sys
import time
from collections.abc import Sequence

from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2.probe import packet_filter

BUFFER = 1 << 22  # bytes of receive buffer; the kernel grants at most net.core.rmem_max unless forced
LONGEST = 65536 + 64  # bytes read of a frame; segments that the kernel has joined are far longer than the MTU

# linux/if_ether.h, asm-generic/socket.h, linux/if_packet.h: not in Python's socket module
_ETH_P_ALL = 0x0003
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_IGNORE_OUTGOING = 23
_ADD_MEMBERSHIP = 1
_MULTICAST = 0
_MEMBERSHIP = struct.Struct("@iHH8s")
_TIMESPEC = struct.Struct("@ll")


class RawSocket:
    """An open socket on the interface `name`. Raises Inconclusive without CAP_NET_RAW or if the interface is gone.

    program: the packet filter; groups: Ethernet multicast groups to hear as well.
    """

    def __init__(
        self, name: str, program: Sequence[packet_filter.Line] = packet_filter.ANSWERS, groups: Sequence[str] = ()
    ) -> None:
        self.name = name
        self._buffer = bytearray(LONGEST)
        try:
            # Protocol 0 receives nothing until bind, so no frame of another interface gets in.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError as error:
            raise Inconclusive("raw sockets need CAP_NET_RAW", f"run: {privileged_command()}") from error
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            packet_filter.attach(self._socket, program)
            self._enlarge_buffer()
            for group in groups:
                request = _MEMBERSHIP.pack(
                    socket.if_nametoindex(name), _MULTICAST, 6, bytes.fromhex(group.replace(":", ""))
                )
                self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
            self._socket.bind((name, _ETH_P_ALL))
        except OSError as error:
            self._socket.close()
            raise interface_lost(name, error) from error

    def _enlarge_buffer(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
        except PermissionError:  # needs CAP_NET_ADMIN; without it the buffer is smaller, and drops are counted
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, frame: bytes) -> None:
        """Send one frame unchanged. Raises Inconclusive if the interface is gone."""
        try:
            self._socket.send(frame)
        except OSError as error:
            raise interface_lost(self.name, error) from error

    def wait(self, seconds: float) -> bool:
        """Wait for a frame at most that long; return whether there is one."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def receive(self) -> tuple[bytes, float] | None:
        """Return a waiting frame and the Unix time at which the kernel received it; None if there is none.

        Raises Inconclusive if the interface is gone.
        """
        try:
            length, ancillary, _, _ = self._socket.recvmsg_into([self._buffer], 64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            raise interface_lost(self.name, error) from error
        frame = bytes(memoryview(self._buffer)[:length])
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
                return frame, seconds + nanoseconds / 1e9
        return frame, time.time()

    def dropped(self) -> int:
        """Return how many frames the kernel dropped since the last call (packet(7), PACKET_STATISTICS)."""
        try:
            statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        except OSError as error:
            raise ProvisionerError(f"cannot read the socket's statistics: {error}") from error
        return int(struct.unpack("@II", statistics)[1])


def privileged_command(arguments: Sequence[str] = ()) -> str:
    """Return the shell command that reruns this one with CAP_NET_RAW and no other privilege.

    The user stays the same, hence also SSH keys, agent and file ownership.
    """
    words = list(arguments) or [os.path.abspath(sys.argv[0]), *sys.argv[1:]]
    return (
        f"sudo -E setpriv --reuid={os.getuid()} --regid={os.getgid()} --init-groups "
        f"--inh-caps=+net_raw --ambient-caps=+net_raw {shlex.join(words)}"
    )


def interface_lost(name: str, error: OSError) -> Inconclusive:
    """Return the error for an interface that can no longer be used."""
    if error.errno == errno.ENODEV:
        return Inconclusive(f"no interface {name} on this machine", "choose another with --interface")
    if error.errno in (errno.ENETDOWN, errno.ENXIO):
        return Inconclusive(f"{name} went down", f"sudo ip link set {name} up, and try again")
    return Inconclusive(f"cannot use {name}: {error.strerror}", f"check it with: ip link show {name}")
