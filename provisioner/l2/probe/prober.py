"""Send and listen: rate-limited questions out; replies, announcements and SYN responses in, with kernel timestamps.

It never stops at the first answer, since a second one reveals a duplicate; and it reports frames dropped by the
kernel, since an answer lost here must not pass for silence.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable
from types import TracebackType

from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2.probe import arp, ndp, syn
from provisioner.l2.probe.arp import GratuitousFrame, Kind, Question, Reply
from provisioner.l2.probe.capture import Address, Announcement, Answer, Handshake
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.probe.rate_limit import HIGHEST_PPS, RateLimit
from provisioner.l2.probe.raw_socket import RawSocket

DEFAULT_PPS = 200
TAIL = 1.0  # seconds to listen, so that a slow second owner is heard too
PATIENCE = 1.0  # seconds until a SYN counts as unanswered, and after which a reply is not matched to a question
MOST_OVERTIME = 0.5  # seconds by which a flood of frames can prolong `listen`
MOST_KEPT = 500_000  # frames; with more for a handful of addresses a segment is under attack
REMEMBERED = 256  # questions for one address

Asked = tuple[float, Kind, str]  # Unix time, kind, and the MAC of a unicast, "" for a broadcast


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
        self._syns: dict[int, tuple[float, syn.Syn]] = {}
        self._echoes: dict[int, Address] = {}
        self._port = random.randint(syn.LOWEST_PORT, syn.HIGHEST_PORT)
        self._socket = RawSocket(interface.name)

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()

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

    def send_syn(self, ip: Address, mac: str, port: int) -> bool:
        """Send a TCP SYN to `ip`:`port` through the owner `mac`, at the rate limit; see `handshakes` for the outcome.

        Return False if this machine has no source address for it.
        """
        source = self.interface.client_address(ip)
        if source is None:
            return False
        self._port = self._port + 1 if self._port < syn.HIGHEST_PORT else syn.LOWEST_PORT
        own = (self.interface.mac, source)
        made = syn.syn(ip, port, mac, own, local_port=self._port, sequence=random.getrandbits(32))
        self._rate_limit.begin(time.monotonic())
        self._await_turn()
        if (before := self._syns.pop(self._port, None)) is not None:
            self._silent(*before)
        self._syns[self._port] = (time.time(), made)
        self._put(made.frame)
        return True

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
        late = time.time() - PATIENCE
        for port in [port for port, (when, _) in self._syns.items() if when < late]:
            self._silent(*self._syns.pop(port))

    def unanswered(self, targets: Iterable[Address]) -> list[Address]:
        """Return the targets without any answer yet."""
        heard = {answer.ip for answer in self.answers}
        return [target for target in targets if target not in heard]

    def expire_syns(self) -> None:
        """Stop waiting for SYNs: unanswered ones go to `handshakes` as silent."""
        for port in list(self._syns):
            self._silent(*self._syns.pop(port))

    @property
    def pending_syns(self) -> Collection[tuple[Address, str, int]]:
        """Return address, MAC and port of each SYN without an answer yet."""
        return [(sent.ip, sent.mac, sent.port) for _, sent in self._syns.values()]

    def _await_turn(self) -> None:
        now = time.monotonic()
        self.listen(max(0.0, self._rate_limit.due(now) - now))

    def _put(self, frame: bytes) -> None:
        self._socket.send(frame)
        self._rate_limit.sent(time.monotonic())
        self.sent += 1

    def _silent(self, when: float, sent: syn.Syn) -> None:
        self.handshakes.append(Handshake(sent.ip, sent.mac, sent.port, "silent", timestamp=when))

    def _take(self, frame: bytes, timestamp: float) -> None:
        kind = frame[12:14]
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
        when, sent = self._syns.get(answered.local_port, (0.0, None))
        if sent is None or (sent.ip, sent.port) != (answered.ip, answered.port):
            return False
        if answered.acknowledged not in (None, (sent.sequence + 1) % 2**32):
            return False
        del self._syns[answered.local_port]
        if answered.outcome == "open":
            # The kernel resets it too, unless a local firewall hides the answer from it; a second reset is harmless.
            self._put(sent.reset)
        rtt = max(0.0, timestamp - when)
        self.handshakes.append(
            Handshake(sent.ip, sent.mac, sent.port, answered.outcome, answered.source, timestamp, rtt)
        )
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
