"""Harmless UDP questions that a server of a protocol must answer, for ports whose protocol is known.

An open UDP port and a filtered one are equally silent; only an answer in its own protocol tells them apart.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

_QUIC_LENGTH = 1200  # bytes; a server ignores an unknown version in less (RFC 9000, 6.1)


def _dns(_: Address, __: int) -> bytes:
    """Ask for the root's name servers (RFC 1035), which every server knows, refuses or forwards."""
    return os.urandom(2) + bytes.fromhex("0100 0001 0000 0000 0000") + b"\0" + bytes.fromhex("0002 0001")


def _ntp(_: Address, __: int) -> bytes:
    """Ask for the time (RFC 5905): version 4, mode 3; the transmit timestamp is a nonce."""
    return b"\x23" + bytes(39) + os.urandom(8)


def _quic(_: Address, __: int) -> bytes:
    """Ask for the supported versions with a version reserved for that (RFC 9000, 6 and 15)."""
    head = b"\xc0" + bytes.fromhex("1a2a3a4a") + b"\x08" + os.urandom(8) + b"\x08" + os.urandom(8)
    return head.ljust(_QUIC_LENGTH, b"\0")


def _sip(ip: Address, port: int) -> bytes:
    """Ask for the capabilities (RFC 3261, 11), for no user and without a dialog."""
    host = f"[{ip}]" if ip.version == 6 else str(ip)
    nonce = os.urandom(6).hex()
    lines = [
        f"OPTIONS sip:{host}:{port} SIP/2.0",
        f"Via: SIP/2.0/UDP probe.invalid;branch=z9hG4bK{nonce};rport",
        "Max-Forwards: 0",
        f"From: <sip:probe@probe.invalid>;tag={nonce}",
        f"To: <sip:{host}:{port}>",
        f"Call-ID: {nonce}@probe.invalid",
        "CSeq: 1 OPTIONS",
        "Content-Length: 0",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _stun(_: Address, __: int) -> bytes:
    """Ask for this machine's address (RFC 8489, a binding request)."""
    return bytes.fromhex("0001 0000 2112a442") + os.urandom(12)


def _coap(_: Address, __: int) -> bytes:
    """Ping (RFC 7252, 4.3: an empty confirmable message, which is reset)."""
    return b"\x40\x00" + os.urandom(2)


# protocol -> (port, words in a port's name or appProtocol, question)
_PROTOCOLS: dict[str, tuple[int, tuple[str, ...], Callable[[Address, int], bytes]]] = {
    "DNS": (53, ("dns",), _dns),
    "NTP": (123, ("ntp",), _ntp),
    "QUIC": (443, ("quic", "http3", "http-3", "h3"), _quic),
    "STUN": (3478, ("stun", "turn"), _stun),
    "SIP": (5060, ("sip",), _sip),
    "CoAP": (5683, ("coap",), _coap),
}
PROTOCOLS = tuple(_PROTOCOLS)


def protocol_of(port: int, *names: str) -> str:
    """Return the protocol to ask a UDP port in, by its number, else by its names; "" if it is unknown.

    names: the port's name and appProtocol in the Service.

    >>> protocol_of(53), protocol_of(8853, "dns-udp"), protocol_of(51820, "wireguard")
    ('DNS', 'DNS', '')
    """
    by_number = next((name for name, (number, _, _) in _PROTOCOLS.items() if number == port), "")
    words = {part for name in names for part in name.lower().replace("/", "-").replace(".", "-").split("-")}
    by_name = next((name for name, (_, known, _) in _PROTOCOLS.items() if words & set(known)), "")
    return by_name or by_number


def build(protocol: str, ip: Address, port: int) -> bytes:
    """Return a new question in a protocol."""
    return _PROTOCOLS[protocol][2](ip, port)
