"""NDP frames: bytes as in RFC 4861, and a parser that neither lies nor crashes."""

from ipaddress import IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import Ether

from provisioner.l2.probe import ndp
from provisioner.l2.probe.arp import GratuitousFrame, Kind, Reply

ME, THEM, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
TARGET, SOURCE = IPv6Address("fd00:2::1:2345:6789"), IPv6Address("fe80::ff:fe00:1")


def advertisement(
    target: IPv6Address = TARGET, mac: str = THEM, to: str = str(SOURCE), solicited: int = 1, hops: int = 255
) -> bytes:
    """Build an advertisement with Scapy; mac: "" for no link-layer option."""
    made = Ether(src=THEM, dst=ME) / IPv6(src="fe80::b", dst=to, hlim=hops)
    made /= ICMPv6ND_NA(tgt=str(target), R=0, S=solicited, O=1)
    return bytes(made / ICMPv6NDOptDstLLAddr(lladdr=mac) if mac else made)


def test_a_request_goes_to_the_group_with_the_senders_mac() -> None:
    made = ndp.request(TARGET, ME, SOURCE)
    assert (made.target, made.kind, made.to) == (TARGET, Kind.REQUEST, "")
    assert made.frame[:14].hex() == "3333ff456789" + "020000000001" + "86dd"
    read = Ether(made.frame)
    assert (read[IPv6].src, read[IPv6].dst, read[IPv6].hlim) == (str(SOURCE), "ff02::1:ff45:6789", 255)
    assert read[ICMPv6ND_NS].tgt == str(TARGET)
    assert read[ICMPv6NDOptSrcLLAddr].lladdr == ME
    assert ndp.checksum(made.frame[22:54], made.frame[54:]) == 0


def test_a_unicast_goes_to_one_mac() -> None:
    made = ndp.unicast(TARGET, ME, SOURCE, THEM.upper())
    assert (made.kind, made.to) == (Kind.UNICAST, THEM)
    read = Ether(made.frame)
    assert (read.dst.lower(), read[IPv6].dst) == (THEM, str(TARGET))
    assert read[ICMPv6NDOptSrcLLAddr].lladdr == ME


@pytest.mark.parametrize("source", ["::", str(TARGET)])
def test_frames_that_would_disturb_others_cannot_be_built(source: str) -> None:
    """From the unspecified address, all nodes get the answer; from the target, it claims the target."""
    with pytest.raises(ValueError, match="would disturb others"):
        ndp.request(TARGET, ME, IPv6Address(source))
    with pytest.raises(ValueError, match="would disturb others"):
        ndp.unicast(TARGET, ME, IPv6Address(source), THEM)


def test_the_group_of_an_address() -> None:
    assert ndp.group(IPv6Address("4037::1:800:200e:8c6c")) == IPv6Address("ff02::1:ff0e:8c6c")  # RFC 4291, 2.7.1


@pytest.mark.parametrize(
    ("frame", "mac"),
    [
        (advertisement(), THEM),
        (advertisement(mac=OTHER), OTHER),  # a proxy, or a bridge that rewrites the frame's source
        (advertisement(mac=""), THEM),  # as in an answer to a unicast
        (advertisement() + b"\0" * 8, THEM),  # padded
    ],
)
def test_a_solicited_advertisement(frame: bytes, mac: str) -> None:
    assert ndp.parse(frame) == Reply(TARGET, mac, THEM, ME, None, len(frame))


def test_an_unsolicited_advertisement_is_gratuitous() -> None:
    frame = advertisement(to="ff02::1", solicited=0)
    assert ndp.parse(frame) == GratuitousFrame(TARGET, THEM, THEM, False, False, len(frame))


def bad(at: int, value: int, frame: bytes = advertisement()) -> bytes:
    return frame[:at] + bytes([value]) + frame[at + 1 :]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        advertisement()[:60],
        advertisement()[:-1],  # shorter than its header states
        advertisement(hops=254),  # from another network
        advertisement(to="ff02::1"),  # solicited, but to all nodes
        advertisement(target=IPv6Address("ff02::1")),
        advertisement(target=IPv6Address("::")),
        advertisement(mac="00:00:00:00:00:00"),
        advertisement(mac="ff:ff:ff:ff:ff:ff"),
        bad(12, 0x81),  # VLAN
        bad(14, 0x40),  # not IPv6
        bad(20, 0),  # an extension header
        bad(54, 135),  # a solicitation
        bad(55, 1),  # an unknown code
        bad(57, 0),  # the checksum
        bad(79, 0),  # an option without a length
        bad(79, 2),  # an option longer than the message
    ],
)
def test_invalid_or_irrelevant_frames_are_ignored(frame: bytes) -> None:
    assert ndp.parse(frame) is None


WHOLE = advertisement()


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), st.integers(0, len(WHOLE)))
def test_no_changed_byte_yields_another_address_or_owner(at: int, value: int, length: int) -> None:
    found = ndp.parse(bad(at, value, WHOLE)[:length])
    if found is not None:
        assert (found.ip, found.mac) == (TARGET, THEM)


@given(
    st.binary(max_size=140)
    | st.binary(max_size=90).map(lambda tail: WHOLE[:14] + tail)
    | st.binary(max_size=60).map(lambda tail: WHOLE[:54] + tail)
)
@example(WHOLE[:54])
@example(WHOLE[:14] + b"\x60" + bytes(39))
def test_no_bytes_crash_the_parser(frame: bytes) -> None:
    found = ndp.parse(frame)
    assert found is None or frame[54] == ndp.ADVERTISEMENT


@given(st.binary(max_size=40))
def test_options_are_complete_or_refused(data: bytes) -> None:
    found = ndp.options(data)
    if found is not None:
        assert len(data) % 8 == 0
        assert sum(map(len, found.values())) <= len(data)
