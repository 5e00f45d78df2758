"""A TCP conversation against a peer written by hand: what arrives, what is lost, what is asked again."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from provisioner.l2.probe import packets, tcp_questions
from provisioner.l2.probe.conversation import SMALL, Conversation
from provisioner.l2.probe.packets import ACK, FIN, RST, SYN, Segment

ME, THEM = ("02:00:00:00:00:01", ip_address("192.0.2.1")), ("02:00:00:00:00:0b", ip_address("192.0.2.200"))
START = 2**32 - 700  # of the peer, so that its numbers wrap


def talk(mss: int = 1460, *, large: bool = True) -> Conversation:
    """Return a conversation over HTTP."""
    ask = lambda size: tcp_questions.build("HTTP", THEM[1], size, large=large)  # noqa: E731
    return Conversation(THEM[1], THEM[0], 80, ME, 61000, "HTTP", ask, mss, sequence=100)


def reply(
    conversation: Conversation, flags: int, at: int = 0, data: bytes = b"", mss: int = 0, acked: int = 1
) -> Segment:
    """Return a segment of the peer. at: the offset of its first byte; acked: bytes acknowledged."""
    return Segment(THEM[1], 80, 61000, (START + at) % 2**32, conversation.sequence + acked, flags, data, THEM[0], mss)


def connected(conversation: Conversation, mss: int = 1460) -> bytes:
    """Let the peer accept, and return the frame that asks."""
    (frame,) = conversation.take(reply(conversation, SYN | ACK, mss=mss))
    return frame


def test_the_question_fills_a_segment_that_both_sides_take() -> None:
    conversation = talk()
    frame = Ether(connected(conversation, mss=1400))
    assert frame[IP].flags == "DF"
    assert len(bytes(frame[TCP].payload)) == 1400
    assert bytes(frame[TCP].payload).startswith(b"GET / HTTP/1.1\r\nHost: 192.0.2.200\r\n")
    assert bytes(frame[TCP].payload).endswith(b"\r\n\r\n")
    assert conversation.exchange().large
    assert not talk(SMALL, large=False).exchange().large


def test_an_answer_in_order_is_acknowledged_until_enough_arrived() -> None:
    conversation = talk()
    connected(conversation)
    asked = len(conversation.question) + 1
    for number in range(4):
        assert not conversation.done
        (ack,) = conversation.take(reply(conversation, ACK, 1 + 1460 * number, b"x" * 1460, acked=asked))
        assert Ether(ack)[TCP].ack == (START + 1 + 1460 * (number + 1)) % 2**32
    made = conversation.exchange()
    assert (conversation.done, made.accepted, made.received, made.largest, made.gap) == (True, True, 5840, 1460, False)


def test_a_later_part_without_an_earlier_one_is_a_gap() -> None:
    conversation = talk()
    connected(conversation)
    conversation.take(reply(conversation, ACK | FIN, 2921, b"end", acked=len(conversation.question) + 1))
    made = conversation.exchange()
    assert (made.accepted, made.received, made.gap, made.ended) == (True, 0, True, False)


@pytest.mark.parametrize("flags", [FIN | ACK, RST])
def test_the_peer_ends_it(flags: int) -> None:
    conversation = talk()
    connected(conversation)
    conversation.take(reply(conversation, flags, 1))
    assert conversation.done


def test_what_is_not_acknowledged_is_asked_again() -> None:
    conversation = talk()
    first = conversation.again()
    assert first is not None
    assert Ether(first)[TCP].flags == "S"
    frame = connected(conversation)
    assert conversation.again() == frame
    conversation.take(reply(conversation, ACK, 1, acked=len(conversation.question) + 1))
    assert conversation.again() is None


def test_a_segment_of_another_connection_and_one_sent_twice_change_nothing() -> None:
    conversation = talk()
    connected(conversation)
    assert conversation.belongs(reply(conversation, ACK))
    assert not conversation.belongs(Segment(ip_address("192.0.2.9"), 80, 61000, 0, 0, ACK, b"", "", 0))
    conversation.take(reply(conversation, ACK, 1, b"abc"))
    conversation.take(reply(conversation, ACK, 1, b"abc"))
    assert conversation.exchange().received == 3


def test_a_tls_question_is_a_client_hello() -> None:
    hello = tcp_questions.build("TLS", THEM[1], 1460, large=True)
    assert (hello[0], hello[5]) == (22, 1)  # handshake, ClientHello
    assert tcp_questions.build("", THEM[1], 1460, large=True) == b""


@pytest.mark.parametrize(
    ("options", "mss"), [(b"\2\4\5\xb4", 1460), (b"\1\1\2\4\5\x78", 1400), (b"", 0), (b"\2", 0), (b"\3\0", 0)]
)
def test_the_peers_segment_size_is_read_from_any_options(options: bytes, mss: int) -> None:
    padded = options + b"\0" * (-len(options) % 4)
    segment = packets.segment(
        packets.Packet(
            6, THEM[1], ME[1], bytes(12) + bytes([(20 + len(padded)) // 4 << 4, 0x12]) + bytes(6) + padded, ""
        )
    )
    assert segment is not None
    assert segment.mss == mss
