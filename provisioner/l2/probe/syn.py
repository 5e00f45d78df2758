"""TCP SYNs, UDP questions and ICMP echos in frames to one owner's MAC, and their answers.

The MAC is given, so each of several owners can be tried, whatever the neighbor cache says. A handshake is reset once
it is answered, so nothing stays behind. The local port lies outside the kernel's ephemeral range, so no connection
of this machine is affected.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from provisioner.l2.probe import packets
from provisioner.l2.probe.packets import Address, Packet

LOWEST_PORT = 61000  # above Linux' net.ipv4.ip_local_port_range
HIGHEST_PORT = 65535
MSS = 1460  # an Ethernet frame's, for a SYN that is never followed by data

Protocol = Literal["TCP", "UDP"]
_PROTOCOLS: dict[int, Protocol] = {packets.TCP: "TCP", packets.UDP: "UDP"}
_ERRORS = {packets.ICMP: (3, 11), packets.ICMPV6: (1, 3)}  # unreachable, time exceeded
_PORT_UNREACHABLE = {packets.ICMP: (3, 3), packets.ICMPV6: (1, 4)}
_ECHOED = {packets.ICMP: 0, packets.ICMPV6: 129}


@dataclass(frozen=True)
class Syn:
    """A SYN or UDP question ready to send through the owner `mac`. reset: sent once a SYN is answered, "" for UDP."""

    ip: Address
    mac: str
    port: int
    local_port: int
    sequence: int
    frame: bytes
    reset: bytes = b""
    protocol: Protocol = "TCP"


@dataclass(frozen=True)
class EchoRequest:
    """An ICMP echo request ready to send through the owner `mac`."""

    ip: Address
    mac: str
    identifier: int
    frame: bytes


@dataclass(frozen=True)
class SynResponse:
    """The answer to a SYN or a UDP question to `ip`:`port`. source: the frame's Ethernet source.

    acknowledged: None in an ICMP error and for UDP. refused: by a RST, for UDP by ICMP port unreachable.
    """

    ip: Address
    port: int
    local_port: int
    outcome: Literal["open", "refused", "unreachable"]
    acknowledged: int | None
    source: str
    protocol: Protocol = "TCP"


@dataclass(frozen=True)
class EchoReply:
    """An ICMP echo reply."""

    ip: Address
    identifier: int


def syn(ip: Address, port: int, mac: str, own: tuple[str, Address], *, local_port: int, sequence: int) -> Syn:
    """Build a SYN. own: the interface's MAC and the source address."""
    ports, to = (local_port, port), (mac, ip)
    first = packets.tcp(own, to, ports, packets.SYN, sequence=sequence, mss=MSS)
    last = packets.tcp(own, to, ports, packets.RST, sequence=sequence + 1, window=0)
    return Syn(ip, mac, port, local_port, sequence, first, last)


def question(ip: Address, port: int, mac: str, own: tuple[str, Address], *, local_port: int, data: bytes) -> Syn:
    """Build a UDP question. own: the interface's MAC and the source address."""
    frame = packets.udp(own, (mac, ip), (local_port, port), data)
    return Syn(ip, mac, port, local_port, 0, frame, protocol="UDP")


def echo(ip: Address, mac: str, own: tuple[str, Address], identifier: int) -> EchoRequest:
    """Build an ICMP echo request. own: the interface's MAC and the source address."""
    return EchoRequest(ip, mac, identifier, packets.echo(own, (mac, ip), identifier))


def parse(frame: bytes) -> SynResponse | EchoReply | None:
    """Return the answer to a SYN, a UDP question or an echo in `frame`, None for anything else. Never raises."""
    packet = packets.in_frame(frame)
    if packet is None:
        return None
    if packet.protocol == packets.TCP:
        return _segment(packet)
    if packet.protocol == packets.UDP:
        return _datagram(packet)
    return _icmp(packet, frame[12:14]) if packet.protocol in _ERRORS else None


def _icmp(packet: Packet, kind: bytes) -> SynResponse | EchoReply | None:
    data, protocol = packet.payload, packet.protocol
    if len(data) < 8:
        return None
    if data[0] == _ECHOED[protocol]:
        return EchoReply(packet.source, int.from_bytes(data[4:6]))
    inner = packets.unpack(data[8:], kind) if data[0] in _ERRORS[protocol] else None
    if inner is None or inner.protocol not in _PROTOCOLS or len(inner.payload) < 4:
        return None
    local_port, port = struct.unpack_from("!HH", inner.payload)
    about = _PROTOCOLS[inner.protocol]
    refused = about == "UDP" and (data[0], data[1]) == _PORT_UNREACHABLE[protocol]
    outcome: Literal["refused", "unreachable"] = "refused" if refused else "unreachable"
    return SynResponse(inner.destination, port, local_port, outcome, None, packet.frame_source, about)


def _segment(packet: Packet) -> SynResponse | None:
    found = packets.segment(packet)
    if found is None:
        return None
    answer = (found.acknowledged, found.frame_source)
    if found.flags & (packets.RST | packets.ACK) == packets.RST | packets.ACK:
        return SynResponse(found.source, found.port, found.local_port, "refused", *answer)
    if found.flags & (packets.SYN | packets.ACK | packets.RST) == packets.SYN | packets.ACK:
        return SynResponse(found.source, found.port, found.local_port, "open", *answer)
    return None


def _datagram(packet: Packet) -> SynResponse | None:
    if len(packet.payload) < 8:
        return None
    port, local_port = struct.unpack_from("!HH", packet.payload)
    return SynResponse(packet.source, port, local_port, "open", None, packet.frame_source, "UDP")
