"""Frames built byte by byte are those that Scapy builds, and questions are read by others as what they are."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.dns import DNS
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.ntp import NTP

from provisioner.l2.probe import packets, syn, udp_questions
from provisioner.l2.probe.syn import SynResponse

MACS = ("02:00:00:00:00:01", "02:00:00:00:00:0b")
PLACES = {
    4: tuple(zip(MACS, map(ip_address, ("192.0.2.1", "192.0.2.200")), strict=True)),
    6: tuple(zip(MACS, map(ip_address, ("2001:db8::1", "2001:db8::200")), strict=True)),
}


def head(version: int) -> Any:
    """Return Scapy's headers of a frame from this machine."""
    (own_mac, own), (mac, ip) = PLACES[version]
    network = IP(src=str(own), dst=str(ip), id=0, flags="DF") if version == 4 else IPv6(src=str(own), dst=str(ip))
    return Ether(src=own_mac, dst=mac) / network


@settings(deadline=None)
@given(st.sampled_from([4, 6]), st.binary(max_size=60), st.integers(0, 2**32 - 1))
def test_frames_are_those_of_scapy(version: int, data: bytes, number: int) -> None:
    own, to = PLACES[version]
    made = packets.tcp(own, to, (61000, 80), packets.SYN, sequence=number, mss=1460, data=data)
    wanted = TCP(sport=61000, dport=80, flags="S", seq=number, window=64240, options=[("MSS", 1460)])
    assert made == bytes(head(version) / wanted / data)
    datagram = bytes(head(version) / UDP(sport=61000, dport=53) / data)
    assert packets.udp(own, to, (61000, 53), data) == datagram
    ping = ICMP(id=number % 65536, seq=1) if version == 4 else ICMPv6EchoRequest(id=number % 65536, seq=1)
    assert packets.echo(own, to, number % 65536) == bytes(head(version) / ping)


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_the_checksum_is_the_sum_of_words(data: bytes) -> None:
    total = sum(int.from_bytes((data + b"\0")[at : at + 2]) for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert packets.checksum(data) == 0xFFFF - total


@pytest.mark.parametrize("version", [4, 6])
def test_a_datagram_answers_a_question(version: int) -> None:
    (own_mac, own), (mac, ip) = PLACES[version]
    network = IP(src=str(ip), dst=str(own)) if version == 4 else IPv6(src=str(ip), dst=str(own))
    frame = bytes(Ether(src=mac, dst=own_mac) / network / UDP(sport=53, dport=61234) / b"answer")
    assert syn.parse(frame) == SynResponse(ip, 53, 61234, "open", None, mac, "UDP")


@pytest.mark.parametrize(("code", "outcome"), [(3, "refused"), (13, "unreachable")])
def test_an_icmp_error_about_a_question(code: int, outcome: str) -> None:
    (own_mac, own), (mac, ip) = PLACES[4]
    inner = IPerror(src=str(own), dst=str(ip)) / UDPerror(sport=61234, dport=53) / b"question"
    frame = bytes(Ether(src=mac, dst=own_mac) / IP(src=str(ip), dst=str(own)) / ICMP(type=3, code=code) / inner)
    assert syn.parse(frame) == SynResponse(ip, 53, 61234, outcome, None, mac, "UDP")  # type: ignore[arg-type]


def test_the_questions_are_read_by_others_as_what_they_are() -> None:
    four, six = ip_address("192.0.2.200"), ip_address("2001:db8::200")
    dns = DNS(udp_questions.build("DNS", four, 53))
    assert (dns.qr, dns.qd[0].qname, dns.qd[0].qtype) == (0, b".", 2)
    assert NTP(udp_questions.build("NTP", four, 123)).mode == 3
    quic = udp_questions.build("QUIC", four, 443)
    assert (len(quic), quic[0] & 0xC0, quic[1:5].hex()) == (1200, 0xC0, "1a2a3a4a")
    assert udp_questions.build("SIP", six, 5060).startswith(b"OPTIONS sip:[2001:db8::200]:5060 SIP/2.0\r\n")
    assert len(udp_questions.build("STUN", four, 3478)) == 20
    for protocol in udp_questions.PROTOCOLS:
        assert udp_questions.build(protocol, four, 1) != udp_questions.build(protocol, four, 1), "two are told apart"


@pytest.mark.parametrize(
    ("port", "names", "protocol"),
    [
        (53, (), "DNS"),
        (53, ("sip",), "SIP"),
        (8443, ("https", "kubernetes.io/h3"), "QUIC"),
        (5353, ("mdns",), ""),
        (51820, ("wireguard", ""), ""),
    ],
)
def test_the_protocol_of_a_port(port: int, names: tuple[str, ...], protocol: str) -> None:
    assert udp_questions.protocol_of(port, *names) == protocol
