"""The kernel's packet filter: of a busy segment's frames, only possible answers wake the prober.

Classic BPF (Linux: networking/filter), assembled by hand to avoid a dependency on libpcap. It only saves work: the
parsers still check every byte of what passes.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence

from provisioner.l2.probe.ndp import ADVERTISEMENT, ICMPV6
from provisioner.l2.probe.syn import LOWEST_PORT

# linux/filter.h, linux/bpf_common.h: class, size, mode, operation
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30  # ld, ldh, ldb [k]
_LOAD_HALF_X, _LOAD_BYTE_X = 0x48, 0x50  # ldh, ldb [x + k]
_X_HEADER = 0xB1  # ldxb 4*([k] & 0xf): the length of the IPv4 header at k
_TO_X = 0x07  # tax
_AND = 0x54  # and #k
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45  # jeq, jge, jset #k
_EQUAL_X = 0x1D  # jeq x
_RETURN = 0x06  # ret #k
_PACKET_TYPE, _VLAN_TAG = 0xFFFFF004, 0xFFFFF02C  # SKF_AD_OFF + SKF_AD_PKTTYPE, + SKF_AD_VLAN_TAG
_OTHER_HOST = 3  # PACKET_OTHERHOST; above it PACKET_OUTGOING
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h

Line = tuple[str, int, int, str, str]  # label, code, k, target if true, target if false; "" is the next line

ANSWERS: Sequence[Line] = (
    # To this host or to all: neither a frame to others (seen by a promiscuous interface) nor one of our own.
    ("", _LOAD_BYTE, _PACKET_TYPE, "", ""),
    ("", _AT_LEAST, _OTHER_HOST, "drop", ""),
    # No VLAN: the NIC may have stripped the tag, and the frame would look like one of this segment. VLAN 0 is none.
    ("", _LOAD_WORD, _VLAN_TAG, "", ""),
    ("", _AND, 0xFFF, "", ""),
    ("", _EQUAL, 0, "", "drop"),
    # By Ethernet type.
    ("", _LOAD_HALF, 12, "", ""),
    ("", _EQUAL, 0x0806, "arp", ""),
    ("", _EQUAL, 0x86DD, "ipv6", ""),
    ("", _EQUAL, 0x0800, "ipv4", "drop"),
    # ARP: over Ethernet, for IPv4; any reply; a request only if gratuitous (sender 28 = target 38).
    ("arp", _LOAD_WORD, 14, "", ""),
    ("", _EQUAL, 0x00010800, "", "drop"),
    ("", _LOAD_WORD, 18, "", ""),
    ("", _EQUAL, 0x06040002, "keep", ""),
    ("", _EQUAL, 0x06040001, "", "drop"),
    ("", _LOAD_WORD, 28, "", ""),
    ("", _TO_X, 0, "", ""),
    ("", _LOAD_WORD, 38, "", ""),
    ("", _EQUAL_X, 0, "keep", "drop"),
    # IPv6 without extension headers: TCP or UDP to one of our ports (56), or ICMPv6 by its type (54).
    ("ipv6", _LOAD_BYTE, 20, "", ""),
    ("", _EQUAL, ICMPV6, "icmpv6", ""),
    ("", _EQUAL, 6, "ports6", ""),
    ("", _EQUAL, 17, "", "drop"),
    ("ports6", _LOAD_HALF, 56, "", ""),
    ("", _AT_LEAST, LOWEST_PORT, "keep", "drop"),
    ("icmpv6", _LOAD_BYTE, 54, "", ""),
    ("", _EQUAL, ADVERTISEMENT, "keep", ""),
    ("", _EQUAL, 129, "keep", ""),  # echo reply
    ("", _EQUAL, 1, "keep", ""),  # unreachable
    ("", _EQUAL, 3, "keep", "drop"),  # time exceeded
    # IPv4: no later fragment; TCP or UDP to one of our ports, or ICMP by its type, behind a header of any length.
    ("ipv4", _LOAD_HALF, 20, "", ""),
    ("", _ANY_BIT, 0x1FFF, "drop", ""),
    ("", _X_HEADER, 14, "", ""),
    ("", _LOAD_BYTE, 23, "", ""),
    ("", _EQUAL, 1, "icmp", ""),
    ("", _EQUAL, 6, "ports4", ""),
    ("", _EQUAL, 17, "", "drop"),
    ("ports4", _LOAD_HALF_X, 16, "", ""),
    ("", _AT_LEAST, LOWEST_PORT, "keep", "drop"),
    ("icmp", _LOAD_BYTE_X, 14, "", ""),
    ("", _EQUAL, 0, "keep", ""),  # echo reply
    ("", _EQUAL, 3, "keep", ""),  # unreachable
    ("", _EQUAL, 11, "keep", "drop"),  # time exceeded
    ("keep", _RETURN, 0xFFFF, "", ""),
    ("drop", _RETURN, 0, "", ""),
)

# VRRP, CARP and HSRP to all hosts, of this segment: IPv4 by protocol or UDP port behind a header of any length, IPv6
# without extension headers.
ROUTERS: Sequence[Line] = (
    ("", _LOAD_WORD, _VLAN_TAG, "", ""),
    ("", _AND, 0xFFF, "", ""),
    ("", _EQUAL, 0, "", "drop"),
    ("", _LOAD_HALF, 12, "", ""),
    ("", _EQUAL, 0x86DD, "ipv6", ""),
    ("", _EQUAL, 0x0800, "", "drop"),
    ("", _LOAD_BYTE, 23, "", ""),
    ("", _EQUAL, 112, "keep", ""),
    ("", _EQUAL, 17, "", "drop"),
    ("", _X_HEADER, 14, "", ""),
    ("", _LOAD_HALF_X, 16, "", ""),
    ("", _EQUAL, 1985, "keep", "drop"),
    ("ipv6", _LOAD_BYTE, 20, "", ""),
    ("", _EQUAL, 112, "keep", ""),
    ("", _EQUAL, 17, "", "drop"),
    ("", _LOAD_HALF, 56, "", ""),
    ("", _EQUAL, 2029, "keep", "drop"),
    ("keep", _RETURN, 0xFFFF, "", ""),
    ("drop", _RETURN, 0, "", ""),
)

# What a guard hears of others: ARP, neighbor solicitations and advertisements, VRRP and CARP, DHCP in both directions.
OVERHEARD: Sequence[Line] = (
    ("", _LOAD_BYTE, _PACKET_TYPE, "", ""),
    ("", _AT_LEAST, _OTHER_HOST, "drop", ""),
    ("", _LOAD_WORD, _VLAN_TAG, "", ""),
    ("", _AND, 0xFFF, "", ""),
    ("", _EQUAL, 0, "", "drop"),
    ("", _LOAD_HALF, 12, "", ""),
    ("", _EQUAL, 0x0806, "keep", ""),
    ("", _EQUAL, 0x86DD, "ipv6", ""),
    ("", _EQUAL, 0x0800, "", "drop"),
    ("", _LOAD_HALF, 20, "", ""),
    ("", _ANY_BIT, 0x1FFF, "drop", ""),
    ("", _LOAD_BYTE, 23, "", ""),
    ("", _EQUAL, 112, "keep", ""),
    ("", _EQUAL, 17, "", "drop"),
    ("", _X_HEADER, 14, "", ""),
    ("", _LOAD_HALF_X, 16, "", ""),
    ("", _EQUAL, 67, "keep", ""),
    ("", _EQUAL, 68, "keep", ""),
    ("", _EQUAL, 1985, "keep", "drop"),
    ("ipv6", _LOAD_BYTE, 20, "", ""),
    ("", _EQUAL, 112, "keep", ""),
    ("", _EQUAL, ICMPV6, "", "drop"),
    ("", _LOAD_BYTE, 54, "", ""),
    ("", _EQUAL, ADVERTISEMENT, "keep", ""),
    ("", _EQUAL, ADVERTISEMENT - 1, "keep", "drop"),  # a solicitation
    ("keep", _RETURN, 0xFFFF, "", ""),
    ("drop", _RETURN, 0, "", ""),
)


def assemble(program: Sequence[Line] = ANSWERS) -> bytes:
    """Return a program as the kernel's struct sock_filter, eight bytes per instruction."""
    places = {label: number for number, (label, *_) in enumerate(program) if label}
    return b"".join(
        struct.pack("=HBBI", code, *(places[label] - number - 1 if label else 0 for label in (true, false)), k)
        for number, (_, code, k, true, false) in enumerate(program)
    )


def attach(opened: socket.socket, program: Sequence[Line] = ANSWERS) -> None:
    """Attach a filter to a socket that is not yet bound, so that no frame precedes it. Raises OSError."""
    code = assemble(program)
    kept = ctypes.create_string_buffer(code, len(code))  # must live until setsockopt returns
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(code) // 8, ctypes.addressof(kept)))
