"""TCP SYNs and ICMP echos in frames to one owner's MAC: build them, parse the answers.

The MAC is given, so each of several owners can be tried, whatever the neighbor cache says. A handshake is never
completed but reset as soon as it is answered, so nothing stays behind. The local port lies outside the kernel's
ephemeral range, so no connection of this machine is affected.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from provisioner.l2.probe import scapy_light
from provisioner.l2.probe.arp import text
from provisioner.l2.probe.ndp import ICMPV6, TYPE_IPV6

Address = IPv4Address | IPv6Address
TYPE_IPV4 = b"\x08\x00"
LOWEST_PORT = 61000  # above Linux' net.ipv4.ip_local_port_range
HIGHEST_PORT = 65535

_ETHERNET, _IPV6_HEADER = 14, 40
_TCP, _ICMP = 6, 1
_SEGMENT = struct.Struct("!HHIIBB")  # ports, sequence, acknowledgment, header length, flags
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_ERRORS = {_ICMP: (3, 11), ICMPV6: (1, 3)}  # unreachable, time exceeded
_ECHOED = {_ICMP: 0, ICMPV6: 129}


@dataclass(frozen=True)
class Syn:
    """A SYN ready to send through the owner `mac`, and the reset to send once it is answered."""

    ip: Address
    mac: str
    port: int
    local_port: int
    sequence: int
    frame: bytes
    reset: bytes


@dataclass(frozen=True)
class EchoRequest:
    """An ICMP echo request ready to send through the owner `mac`."""

    ip: Address
    mac: str
    identifier: int
    frame: bytes


@dataclass(frozen=True)
class SynResponse:
    """The answer to a SYN to `ip`:`port`. acknowledged: None in an ICMP error. source: the frame's Ethernet source."""

    ip: Address
    port: int
    local_port: int
    outcome: Literal["open", "refused", "unreachable"]
    acknowledged: int | None
    source: str


@dataclass(frozen=True)
class EchoReply:
    """An ICMP echo reply."""

    ip: Address
    identifier: int


def syn(ip: Address, port: int, mac: str, own: tuple[str, Address], *, local_port: int, sequence: int) -> Syn:
    """Build a SYN. own: the interface's MAC and the source address."""
    inet = scapy_light.layer("inet")
    head = _head(ip, mac, own)
    first = inet.TCP(sport=local_port, dport=port, seq=sequence, flags="S", window=64240, options=[("MSS", 1460)])
    last = inet.TCP(sport=local_port, dport=port, seq=(sequence + 1) % 2**32, flags="R", window=0)
    return Syn(ip, mac, port, local_port, sequence, bytes(head / first), bytes(head / last))


def echo(ip: Address, mac: str, own: tuple[str, Address], identifier: int) -> EchoRequest:
    """Build an ICMP echo request. own: the interface's MAC and the source address."""
    if ip.version == 4:
        message = scapy_light.layer("inet").ICMP(type=8, id=identifier, seq=1)
    else:
        message = scapy_light.layer("inet6").ICMPv6EchoRequest(id=identifier, seq=1)
    return EchoRequest(ip, mac, identifier, bytes(_head(ip, mac, own) / message))


def _head(ip: Address, mac: str, own: tuple[str, Address]):  # type: ignore[no-untyped-def]  # Scapy has no types
    ether = scapy_light.layer("l2").Ether
    own_mac, source = own
    if ip.version == 4:
        network = scapy_light.layer("inet").IP(src=str(source), dst=str(ip), ttl=64, flags="DF")
        return ether(dst=mac, src=own_mac, type=0x0800) / network
    network = scapy_light.layer("inet6").IPv6(src=str(source), dst=str(ip), hlim=64)
    return ether(dst=mac, src=own_mac, type=0x86DD) / network


def parse(frame: bytes) -> SynResponse | EchoReply | None:
    """Return the answer to a SYN or an echo in `frame`, None for anything else. Never raises."""
    found = _packet(frame[_ETHERNET:], frame[12:14])
    if found is None:
        return None
    protocol, sender, _, data = found
    source = text(frame[6:12])
    return _segment(data, sender, source) if protocol == _TCP else _icmp(data, protocol, sender, frame[12:14], source)


def _icmp(data: bytes, protocol: int, sender: Address, kind: bytes, source: str) -> SynResponse | EchoReply | None:
    if len(data) < 8:
        return None
    if data[0] == _ECHOED[protocol]:
        return EchoReply(sender, int.from_bytes(data[4:6]))
    inner = _packet(data[8:], kind) if data[0] in _ERRORS[protocol] else None
    if inner is None or inner[0] != _TCP or len(inner[3]) < 4:
        return None
    local_port, port = struct.unpack_from("!HH", inner[3])
    return SynResponse(inner[2], port, local_port, "unreachable", None, source)


def _segment(data: bytes, sender: Address, source: str) -> SynResponse | None:
    if len(data) < _SEGMENT.size:
        return None
    port, local_port, _, acknowledged, _, flags = _SEGMENT.unpack_from(data)
    if flags & (_RST | _ACK) == _RST | _ACK:
        return SynResponse(sender, port, local_port, "refused", acknowledged, source)
    if flags & (_SYN | _ACK | _RST) == _SYN | _ACK:
        return SynResponse(sender, port, local_port, "open", acknowledged, source)
    return None


def _packet(data: bytes, kind: bytes) -> tuple[int, Address, Address, bytes] | None:
    """Return protocol, source, destination and payload of a TCP or ICMP packet, None for a later fragment."""
    if kind == TYPE_IPV4 and len(data) >= 20 and data[0] >> 4 == 4 and data[9] in (_TCP, _ICMP):
        header = (data[0] & 0xF) * 4
        if header < 20 or int.from_bytes(data[6:8]) & 0x1FFF:
            return None
        return data[9], IPv4Address(data[12:16]), IPv4Address(data[16:20]), data[header:]
    if kind == TYPE_IPV6 and len(data) >= _IPV6_HEADER and data[0] >> 4 == 6 and data[6] in (_TCP, ICMPV6):
        return data[6], IPv6Address(data[8:24]), IPv6Address(data[24:40]), data[_IPV6_HEADER:]
    return None
