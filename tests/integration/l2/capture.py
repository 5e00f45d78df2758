"""tcpdump on a host of the segment, as an independent witness of the same frames."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from tests.integration.l2.conftest import Segment, mac


@dataclass(frozen=True)
class Frame:
    """A captured frame. time: Unix seconds by the kernel."""

    time: float
    data: bytes

    @property
    def source(self) -> str:
        """Return the Ethernet source."""
        return self.data[6:12].hex(":")

    def arp(self) -> tuple[int, str, str, str, str] | None:
        """Return an ARP frame's operation, sender MAC, sender, target MAC, target; None for another frame."""
        if self.data[12:14] != b"\x08\x06":
            return None
        sender, target = ip_address(self.data[28:32]), ip_address(self.data[38:42])
        operation = int.from_bytes(self.data[20:22], "big")
        return operation, self.data[22:28].hex(":"), str(sender), self.data[32:38].hex(":"), str(target)

    def ndp(self) -> tuple[int, str, bool, str] | None:
        """Return an ICMPv6 frame's type, target, solicited flag and IPv6 destination; None for another frame."""
        if self.data[12:14] != b"\x86\xdd" or self.data[20] != 58 or self.data[54] not in (135, 136):
            return None
        target, destination = ip_address(self.data[62:78]), ip_address(self.data[38:54])
        return self.data[54], str(target), bool(self.data[58] & 0x40), str(destination)

    def tcp(self) -> tuple[str, int, bool, bool] | None:
        """Return an IPv4 TCP frame's source, source port, SYN and ACK; None for another frame."""
        if self.data[12:14] != b"\x08\x00" or self.data[23] != 6:
            return None
        start = 14 + (self.data[14] & 15) * 4
        flags = self.data[start + 13]
        port = int.from_bytes(self.data[start : start + 2], "big")
        return str(ip_address(self.data[26:30])), port, bool(flags & 2), bool(flags & 16)


def frames(path: Path) -> list[Frame]:
    """Return the frames of a capture file, except a last one still being written."""
    data = path.read_bytes() if path.exists() else b""
    if len(data) < 24:
        return []
    assert struct.unpack("=I", data[:4]) == (0xA1B23C4D,), "not a nanosecond capture"
    found, offset = [], 24
    while offset + 16 <= len(data):
        seconds, nanoseconds, length, _ = struct.unpack("=IIII", data[offset : offset + 16])
        if offset + 16 + length > len(data):
            break
        found.append(Frame(seconds + nanoseconds / 1e9, data[offset + 16 : offset + 16 + length]))
        offset += 16 + length
    return found


@contextmanager
def capturing(segment: Segment, name: str, path: Path, *expression: str) -> Iterator[None]:
    """Capture on a host's eth1 into a file for the length of a block; every frame is written at once."""
    words = ["tcpdump", "-nn", "-U", "--immediate-mode", "--time-stamp-precision=nano", "-Z", "root", "-i", "eth1"]
    process = subprocess.Popen(
        ["ip", "netns", "exec", f"{segment.prefix}{name}", *words, "-w", str(path), *expression],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "listening on" in line, line
        yield
    finally:
        process.terminate()
        process.communicate(timeout=10)


def replies(found: list[Frame], ip: str, number: int) -> list[float]:
    """Return when host `number` answered the prober for an address, by ARP or by NDP."""
    times = []
    for frame in found:
        if ":" in ip:
            heard = frame.ndp()
            if heard is not None and heard[:3] == (136, ip, True) and frame.source == mac(number):
                times.append(frame.time)
        elif (arp := frame.arp()) is not None and arp[:3] == (2, mac(number), ip) and arp[4] != ip:
            times.append(frame.time)
    return times


def gratuitous(found: list[Frame], ip: str, number: int) -> list[float]:
    """Return when host `number` sent gratuitous frames for an address."""
    times = []
    for frame in found:
        if ":" in ip:
            heard = frame.ndp()
            if heard is not None and heard == (136, ip, False, "ff02::1") and frame.source == mac(number):
                times.append(frame.time)
        elif (arp := frame.arp()) is not None and arp[1:3] == (mac(number), ip) and arp[4] == ip:
            times.append(frame.time)
    return times


def accepted(found: list[Frame], ip: str, number: int, port: int = 80) -> list[float]:
    """Return when host `number` accepted a connection (SYN and ACK)."""
    return [frame.time for frame in found if frame.tcp() == (ip, port, True, True) and frame.source == mac(number)]
