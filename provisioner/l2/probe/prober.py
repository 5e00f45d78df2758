"""Send and listen: rate-limited questions out; replies, announcements and SYN responses in, with kernel timestamps.

It never stops at the first answer, since a second one reveals a duplicate; and it reports frames dropped by the
kernel, since an answer lost here must not pass for silence.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2.probe import arp, ndp, packets, syn
from provisioner.l2.probe.arp import GratuitousFrame, Kind, Question, Reply
from provisioner.l2.probe.capture import Address, Announcement, Answer, Handshake
from provisioner.l2.probe.conversation import Conversation
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.probe.local_ports import LocalPorts
from provisioner.l2.probe.rate_limit import HIGHEST_PPS, RateLimit
from provisioner.l2.probe.raw_socket import RawSocket

DEFAULT_PPS = 200
TAIL = 1.0  # seconds to listen, so that a slow second owner is heard too
PATIENCE = 1.0  # seconds until a SYN counts as unanswered, and after which a reply is not matched to a question
MOST_OVERTIME = 0.5  # seconds by which a flood of frames can prolong `listen`
MOST_KEPT = 500_000  # frames; with more for a handful of addresses a segment is under attack
REMEMBERED = 256  # questions for one address

Flow = tuple[Address, int, int, syn.Protocol]  # address, port, local port
Asked = tuple[float, Kind, str]  # Unix time, kind, and the MAC of a unicast, "" for a broadcast


@dataclass
class _Attempt:
    """A connection that was not answered yet. sent: when its SYN or question was, each time; most: how often."""

    made: syn.Syn
    sent: list[float]
    most: int

    @property
    def flow(self) -> Flow:
        """Return what its answer is recognized by."""
        return self.made.ip, self.made.port, self.made.local_port, self.made.protocol


class Prober:
    """An open socket on one interface; a context manager. Its lists are in order of arrival.

    received: relevant frames; dropped: frames the kernel dropped. echoed: the addresses that answered an ICMP echo.
    """

    def __init__(self, interface: Interface, pps: int = DEFAULT_PPS) -> None:
        if not 0 < pps <= HIGHEST_PPS:
            raise ProvisionerError(f"{pps} packets per second is out of range", f"choose 1 to {HIGHEST_PPS}")
        self.interface = interface
        self.answers: list[Answer] = []
        self.announcements: list[Announcement] = []
        self.handshakes: list[Handshake] = []
        self.echoed: set[Address] = set()
        self.sent = 0
        self.received = 0
        self.dropped = 0
        self._rate_limit = RateLimit(pps)
        self._asked: dict[Address, list[Asked]] = {}
        self._about: set[Address] = set()
        self._own = {arp.NOBODY, *(own.ip for own in interface.addresses)}
        self._attempts: dict[Flow, _Attempt] = {}
        self._conversations: dict[int, Conversation] = {}
        self._echoes: dict[int, Address] = {}
        self._ports = LocalPorts()
        self._socket = RawSocket(interface.name)

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()
        self._ports.close()

    def keep_announcements(self, addresses: Iterable[Address]) -> None:
        """Keep announcements of these addresses from now on; addresses asked for need not be named."""
        self._about.update(addresses)

    def send(self, questions: Iterable[Question]) -> None:
        """Send questions at the rate limit, collecting frames meanwhile. Raises Inconclusive.

        Each is taken from `questions` only after the one before was sent, so it can depend on what was heard.
        """
        for number, question in enumerate(questions):
            if number == 0:
                # The first one took time to build (Scapy's import); that delay is not to be made up for.
                self._rate_limit.begin(time.monotonic())
            self._await_turn()
            self._about.add(question.target)
            asked = self._asked.setdefault(question.target, [])
            asked.append((time.time(), question.kind, question.to))
            del asked[:-REMEMBERED]
            self._put(question.frame)

    def send_syn(self, ip: Address, mac: str, port: int, tries: int = 1) -> bool:
        """Send a TCP SYN to `ip`:`port` through the owner `mac`, at the rate limit; see `handshakes` for the outcome.

        tries: how often it is sent at most, see `resend`. Return False if this machine has no source address or no
        local port for it.
        """
        source = self.interface.client_address(ip)
        local_port = self._ports.take(source, ip, port) if source is not None else None
        if source is None or local_port is None:
            return False
        own = (self.interface.mac, source)
        made = syn.syn(ip, port, mac, own, local_port=local_port, sequence=random.getrandbits(32))
        self._attempt(_Attempt(made, [], tries))
        return True

    def send_udp(self, ip: Address, mac: str, port: int, data: bytes, tries: int = 1) -> bool:
        """Send a UDP question through the owner `mac`, at the rate limit; see `handshakes` for the outcome.

        Return False if this machine has no source address or no port for it.
        """
        source = self.interface.client_address(ip)
        local_port = self._ports.take(source, ip, port, "UDP") if source is not None else None
        if source is None or local_port is None:
            return False
        own = (self.interface.mac, source)
        made = syn.question(ip, port, mac, own, local_port=local_port, data=data)
        self._attempt(_Attempt(made, [], tries))
        return True

    def _attempt(self, attempt: _Attempt) -> None:
        self._rate_limit.begin(time.monotonic())
        self._await_turn()
        if (before := self._attempts.pop(attempt.flow, None)) is not None:
            self._silent(before)
        attempt.sent.append(time.time())
        self._attempts[attempt.flow] = attempt
        self._put(attempt.made.frame)

    def resend(self) -> None:
        """Send again, at the rate limit, what was not answered within `PATIENCE` and may be sent again."""
        late = time.time() - PATIENCE
        for flow in [flow for flow, one in self._attempts.items() if one.sent[-1] < late and len(one.sent) < one.most]:
            self._rate_limit.begin(time.monotonic())
            self._await_turn()
            if (attempt := self._attempts.get(flow)) is not None:
                attempt.sent.append(time.time())
                self._put(attempt.made.frame)

    def converse(self, conversation: Conversation) -> None:
        """Conduct a TCP conversation: its first segment at the rate limit, the others as answers arrive."""
        self._rate_limit.begin(time.monotonic())
        self._await_turn()
        self._conversations[conversation.local_port] = conversation
        self._put(conversation.open())

    def end_conversation(self, conversation: Conversation) -> None:
        """Reset a conversation, and take no more of its segments."""
        self._conversations.pop(conversation.local_port, None)
        self._put(conversation.reset())

    def prompt(self, conversation: Conversation) -> None:
        """Send again what a conversation waits for an answer to."""
        self._await_turn()
        if (frame := conversation.again()) is not None:
            self._put(frame)

    def echo(self, ip: Address, mac: str) -> bool:
        """Send an ICMP echo request through the owner `mac`, at the rate limit. Return False without a source."""
        source = self.interface.client_address(ip)
        if source is None:
            return False
        identifier = random.getrandbits(16)
        made = syn.echo(ip, mac, (self.interface.mac, source), identifier)
        self._rate_limit.begin(time.monotonic())
        self._await_turn()
        self._echoes[identifier] = ip
        self._put(made.frame)
        return True

    def listen(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Collect frames for that long, or until `until` is true. Raises Inconclusive if the interface is lost."""
        deadline = time.monotonic() + seconds
        while not until():
            left = deadline - time.monotonic()
            ready = self._socket.wait(max(0.0, left))
            if ready and (frame := self._socket.receive()) is not None:
                self._take(*frame)
            # Frames that arrived in time may still be queued, but a flood must not keep us here forever.
            if (left <= 0 and not ready) or left < -MOST_OVERTIME:
                break
        self.dropped += self._socket.dropped()
        self._expire(time.time() - PATIENCE)

    def unanswered(self, targets: Iterable[Address]) -> list[Address]:
        """Return the targets without any answer yet."""
        heard = {answer.ip for answer in self.answers}
        return [target for target in targets if target not in heard]

    def expire_syns(self) -> None:
        """Stop waiting for SYNs: unanswered ones go to `handshakes` as silent."""
        for flow in list(self._attempts):
            self._silent(self._attempts.pop(flow))

    def _expire(self, late: float) -> None:
        """Stop waiting for attempts that were last sent before `late` and may not be sent again."""
        # In order of their first try, so the rest are younger, or wait for another try.
        for flow, attempt in list(itertools.takewhile(lambda one: one[1].sent[0] < late, self._attempts.items())):
            if len(attempt.sent) >= attempt.most and attempt.sent[-1] < late:
                self._silent(self._attempts.pop(flow))

    @property
    def pending(self) -> int:
        """Return how many connections have neither an answer nor used up their time."""
        return len(self._attempts)

    def _await_turn(self) -> None:
        now = time.monotonic()
        self.listen(max(0.0, self._rate_limit.due(now) - now))

    def _put(self, frame: bytes) -> None:
        self._socket.send(frame)
        self._rate_limit.sent(time.monotonic())
        self.sent += 1

    def _silent(self, attempt: _Attempt) -> None:
        made, tries = attempt.made, len(attempt.sent)
        self.handshakes.append(
            Handshake(
                made.ip,
                made.mac,
                made.port,
                "silent",
                timestamp=attempt.sent[0],
                tries=tries,
                protocol=made.protocol,
            )
        )

    def _take(self, frame: bytes, timestamp: float) -> None:
        kind = frame[12:14]
        if self._conversations and self._continued(frame):
            self.received += 1
            return
        found = arp.parse(frame) if kind == arp.TYPE_ARP else ndp.parse(frame) or syn.parse(frame)
        if isinstance(found, Reply):
            taken = self._reply(found, timestamp)
        elif isinstance(found, GratuitousFrame):
            taken = self._gratuitous(found, timestamp)
        elif isinstance(found, syn.SynResponse):
            taken = self._answered(found, timestamp)
        else:
            taken = found is not None and self._echoed(found)
        self.received += taken
        if self.received > MOST_KEPT:
            raise Inconclusive(
                f"more than {MOST_KEPT} answers on {self.interface.name}: the segment is being flooded",
                f"find the sender: tcpdump -ni {self.interface.name} arp or icmp6",
            )

    def _reply(self, reply: Reply, timestamp: float) -> bool:
        own = self.interface.mac
        to_us = reply.destination == own or reply.asked_from in self._own
        if reply.ip not in self._asked or not to_us or own in (reply.mac, reply.source):
            return False
        sent, kind, _ = question_of(reply, timestamp, self._asked[reply.ip])
        source = reply.source if reply.source != reply.mac else ""
        rtt = max(0.0, timestamp - sent)
        self.answers.append(Answer(reply.ip, reply.mac, kind, timestamp, rtt, reply.length, source))
        return True

    def _gratuitous(self, frame: GratuitousFrame, timestamp: float) -> bool:
        if frame.ip not in self._about or self.interface.mac in (frame.mac, frame.source):
            return False
        self.announcements.append(
            Announcement(frame.ip, frame.mac, timestamp, frame.request, frame.broadcast_target, frame.length)
        )
        return True

    def _answered(self, answered: syn.SynResponse, timestamp: float) -> bool:
        flow = answered.ip, answered.port, answered.local_port, answered.protocol
        attempt = self._attempts.get(flow)
        if attempt is None:
            return False
        made = attempt.made
        if answered.acknowledged not in (None, (made.sequence + 1) % 2**32):
            return False
        del self._attempts[flow]
        if made.reset and answered.outcome == "open":
            self._put(made.reset)
        tries = max(1, sum(sent <= timestamp for sent in attempt.sent))
        rtt = max(0.0, timestamp - attempt.sent[tries - 1])
        self.handshakes.append(
            Handshake(
                made.ip,
                made.mac,
                made.port,
                answered.outcome,
                answered.source,
                timestamp,
                rtt,
                tries,
                made.protocol,
            )
        )
        return True

    def _continued(self, frame: bytes) -> bool:
        """Pass a frame to the conversation that it belongs to, and send what that replies."""
        packet = packets.in_frame(frame)
        segment = packets.segment(packet) if packet is not None else None
        conversation = self._conversations.get(segment.local_port) if segment is not None else None
        if segment is None or conversation is None or not conversation.belongs(segment):
            return False
        for made in conversation.take(segment):
            self._put(made)
        return True

    def _echoed(self, echoed: syn.EchoReply) -> bool:
        if self._echoes.get(echoed.identifier) != echoed.ip:
            return False
        self.echoed.add(echoed.ip)
        return True


def question_of(reply: Reply, timestamp: float, asked: Iterable[Asked]) -> Asked:
    """Return the question that a reply answers: the newest possible one.

    An ARP reply repeats the sender it answers, which sets probes apart from the other kinds. A unicast is answered by
    the MAC it went to, unless nothing else was asked for a second.
    """
    asked = list(asked)
    to_probe = reply.asked_from == arp.NOBODY
    fitting = [one for one in asked if (one[1] is Kind.PROBE) == to_probe] or asked
    earlier = [one for one in fitting if one[0] <= timestamp] or fitting[:1]
    likely = [one for one in earlier if one[2] in ("", reply.mac, reply.source) and timestamp - one[0] <= PATIENCE]
    return (likely or earlier)[-1]
