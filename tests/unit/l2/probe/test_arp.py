"""ARP frames: bytes as in RFC 826 and RFC 5227, and a parser that neither lies nor crashes."""

from ipaddress import IPv4Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.l2 import ARP, Ether

from provisioner.l2.probe import arp
from provisioner.l2.probe.arp import GratuitousFrame, Kind, Reply

ME, THEM = "02:00:00:00:00:01", "02:00:00:00:00:0b"
TARGET, SOURCE = IPv4Address("192.0.2.200"), IPv4Address("192.0.2.1")


def raw(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", "").replace(":", ""))


def reply(**changes: str) -> bytes:
    parts = {
        "destination": ME,
        "source": THEM,
        "type": "0806",
        "head": "0001 0800 06 04",
        "op": "0002",
        "mac": THEM,
        "ip": "c00002c8",
        "to_mac": ME,
        "to_ip": "c0000201",
    } | changes
    return raw("".join(parts.values()))


@pytest.mark.parametrize(
    ("question", "kind", "wanted"),
    [
        (
            arp.probe(TARGET, ME),
            Kind.PROBE,
            "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 00000000 000000000000 c00002c8",
        ),
        (
            arp.request(TARGET, ME, SOURCE),
            Kind.REQUEST,
            "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000201 000000000000 c00002c8",
        ),
        (
            arp.unicast(TARGET, ME, SOURCE, THEM),
            Kind.UNICAST,
            "02000000000b 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000201 000000000000 c00002c8",
        ),
    ],
)
def test_questions(question: arp.Question, kind: Kind, wanted: str) -> None:
    assert question.frame == raw(wanted) + bytes(18)
    assert len(question.frame) == 60
    assert (question.target, question.kind) == (TARGET, kind)


def test_frames_that_would_poison_caches_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="would overwrite neighbor caches"):
        arp.request(TARGET, ME, TARGET)
    with pytest.raises(ValueError, match="would overwrite neighbor caches"):
        arp.unicast(TARGET, ME, TARGET, THEM)


@pytest.mark.parametrize("padding", [0, 18])
def test_a_reply(padding: int) -> None:
    assert arp.parse(reply() + bytes(padding)) == Reply(TARGET, THEM, THEM, ME, SOURCE, 42 + padding)


def test_a_reply_to_a_probe_and_from_another_source_mac() -> None:
    found = arp.parse(reply(to_ip="00000000", source="02:00:00:00:00:99"))
    assert isinstance(found, Reply)
    assert found.asked_from == arp.NOBODY
    assert (found.mac, found.source) == (THEM, "02:00:00:00:00:99")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        reply()[:41],
        reply(op="0001"),
        reply(op="0003"),
        reply(type="0800"),
        reply(head="0006 0800 06 04"),
        reply(head="0001 86dd 06 04"),
        reply(head="0001 0800 08 04"),
        reply(head="0001 0800 06 10"),
        reply(head="0001 0800 ff ff"),
        reply(head="0001 0800 00 00"),
        reply(mac="000000000000"),
        reply(mac="ffffffffffff"),
        reply(ip="00000000", to_ip="00000000"),
        reply(ip="00000000"),
        reply(type="8100 0001 0806"),  # tagged: another VLAN
    ],
)
def test_invalid_or_irrelevant_frames_are_ignored(frame: bytes) -> None:
    assert arp.parse(frame) is None


@pytest.mark.parametrize(
    ("changes", "request_", "broadcast"),
    [
        ({"to_ip": "c00002c8"}, False, False),
        ({"to_ip": "c00002c8", "op": "0001", "to_mac": "000000000000"}, True, False),
        ({"to_ip": "c00002c8", "to_mac": "ffffffffffff"}, False, True),
        ({"to_ip": "ffffffff", "to_mac": "ffffffffffff"}, False, True),  # kube-vip's
        ({"to_ip": "c00002c8", "to_mac": "ffffffffffff", "op": "0001"}, True, True),
    ],
)
def test_gratuitous_frames(changes: dict[str, str], request_: bool, broadcast: bool) -> None:
    assert arp.parse(reply(**changes)) == GratuitousFrame(TARGET, THEM, THEM, request_, broadcast, 42)


@given(
    st.ip_addresses(v=4).map(IPv4Address),
    st.ip_addresses(v=4).map(IPv4Address),
    st.binary(min_size=6, max_size=6).map(arp.text),
    st.binary(min_size=6, max_size=6).map(arp.text),
)
def test_the_template_matches_what_scapy_builds_for_each_target(
    target: IPv4Address, source: IPv4Address, mac: str, to: str
) -> None:
    if target == source:
        return
    made = arp.unicast(target, mac, source, to).frame
    whole = Ether(dst=to, src=mac) / ARP(op=1, hwsrc=mac, psrc=str(source), hwdst=arp.NO_MAC, pdst=str(target))
    assert made == bytes(whole).ljust(60, b"\0")
    read = Ether(made)[ARP]
    assert (read.op, read.hwsrc, read.psrc, read.pdst) == (1, mac, str(source), str(target))


@given(st.binary(max_size=120).map(lambda tail: raw(f"{ME} {THEM} 0806") + tail) | st.binary(max_size=120))
@example(reply(head="0001 0800 06 00"))
def test_no_bytes_crash_the_parser_and_results_are_complete(frame: bytes) -> None:
    found = arp.parse(frame)
    if found is not None:
        assert isinstance(found, GratuitousFrame) or frame[20:22] == b"\0\2"
        assert found.mac == frame[22:28].hex(":")
        assert found.ip == IPv4Address(frame[28:32])
