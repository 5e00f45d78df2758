"""Connections through the owners of addresses: several to each port, and what gets through once one is open.

Each connection is a flow of its own, with its own local port, so that a Service balances it anew; its SYN is repeated
within the flow. A flow whose repeated SYN is answered lost a frame; one that stays silent met a dead backend.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from provisioner.l2.probe import tcp_questions, udp_questions
from provisioner.l2.probe.capture import Address, Exchange
from provisioner.l2.probe.conversation import SMALL, Asked, Conversation, largest_segment
from provisioner.l2.probe.local_ports import ReservedPort, reserve
from provisioner.l2.probe.probe_target import ProbeTarget
from provisioner.l2.probe.prober import Prober

SCOUTS = 2  # connections that find out whether a port answers at all
TRIES = 3  # SYNs within one connection
STALLED = 1.5  # seconds without progress after which a conversation is over
_AT_ONCE = 100  # conversations; each holds a socket
_LOOK = 0.2  # seconds between looks at what is due

Port = tuple[Address, str, int, str]  # address, owner's MAC, number, "" for TCP or the protocol of a UDP question


@dataclass
class Connecting:
    """The connections of a run. attempts: to each port that answers. sent: how many were begun, by port."""

    prober: Prober
    attempts: int
    sent: Counter[Port] = field(default_factory=Counter)

    def scout(self, asks: Mapping[Address, ProbeTarget], owners: Mapping[Address, Sequence[str]]) -> None:
        """Begin the first connections to each port through each owner known so far."""
        for port in _ports(asks, owners):
            while self.sent[port] < min(SCOUTS, self.attempts) and self._begin(port):
                pass

    def rest(self) -> None:
        """Begin the others to the ports that answered, the ports in turn, and wait for the outcome of all."""
        answered = {
            (shake.ip, shake.mac, shake.port, shake.protocol)
            for shake in self.prober.handshakes
            if shake.outcome != "silent"
        }
        alive = [port for port in self.sent if (*port[:3], "UDP" if port[3] else "TCP") in answered]
        for _ in range(self.attempts):
            for port in alive:
                if self.sent[port] < self.attempts:
                    self._begin(port)
        self.settle()

    def settle(self) -> None:
        """Wait until every connection is answered or has used up its tries."""
        while self.prober.pending:
            self.prober.resend()
            self.prober.listen(_LOOK, until=lambda: not self.prober.pending)

    def _begin(self, port: Port) -> bool:
        ip, mac, number, protocol = port
        if protocol:
            question = udp_questions.build(protocol, ip, number)
            begun = self.prober.send_udp(ip, mac, number, question, tries=TRIES)
        else:
            begun = self.prober.send_syn(ip, mac, number, tries=TRIES)
        self.sent[port] += begun
        return begun

    def converse(self, asks: Mapping[Address, ProbeTarget]) -> tuple[Exchange, ...]:
        """Ask each open port whose protocol is known, large first; if that stalls, ask it again in small segments."""
        opened = {
            (shake.ip, shake.mac, shake.port): None
            for shake in self.prober.handshakes
            if shake.outcome == "open" and shake.protocol == "TCP"
        }
        wanted = [
            (*key, asked)
            for key in opened
            if key[0] in asks and (asked := dict(asks[key[0]].speaks).get(key[2])) is not None
        ]
        large = self._conduct(wanted, large=True)
        stalled = [(one.ip, one.mac, one.port, one.asked) for one in large if not one.ended and not _enough(one)]
        return (*large, *self._conduct(stalled, large=False))

    def _conduct(self, wanted: Sequence[tuple[Address, str, int, Asked]], *, large: bool) -> list[Exchange]:
        found: list[Exchange] = []
        for start in range(0, len(wanted), _AT_ONCE):
            found += self._together(wanted[start : start + _AT_ONCE], large=large)
        return found

    def _together(self, wanted: Iterable[tuple[Address, str, int, Asked]], *, large: bool) -> list[Exchange]:
        """Conduct conversations at the same time, each until it is done or stalls."""
        begun: list[tuple[Conversation, ReservedPort]] = []
        for ip, mac, port, asked in wanted:
            source = self.prober.interface.client_address(ip)
            reserved = reserve(source) if source is not None else None
            if source is None or reserved is None:
                continue
            mss = largest_segment(self.prober.interface.mtu, ip.version) if large else SMALL
            talk = Conversation(
                ip,
                mac,
                port,
                (self.prober.interface.mac, source),
                reserved.number,
                asked,
                _question(asked, ip, large),
                mss,
            )
            begun.append((talk, reserved))
            self.prober.converse(talk)
        self._wait([talk for talk, _ in begun])
        for talk, reserved in begun:
            self.prober.end_conversation(talk)
            reserved.close()
        return [talk.exchange() for talk, _ in begun if talk.connected]

    def _wait(self, talks: Sequence[Conversation]) -> None:
        """Listen until every conversation is done or has made no progress for a while, prompting it halfway."""
        since = dict.fromkeys(range(len(talks)), (time.monotonic(), -1, False))
        while since:
            for number, (when, progress, prompted) in list(since.items()):
                talk, now = talks[number], time.monotonic()
                if talk.done or now - when > STALLED:
                    del since[number]
                elif talk.progress != progress:
                    since[number] = (now, talk.progress, False)
                elif now - when > STALLED / 2 and not prompted:
                    since[number] = (when, progress, True)
                    self.prober.prompt(talk)
            self.prober.listen(_LOOK / 4, until=lambda: all(talks[number].done for number in since))


def _question(asked: Asked, ip: Address, large: bool) -> Callable[[int], bytes]:
    return lambda size: tcp_questions.build(asked, ip, size, large=large)


def _enough(exchange: Exchange) -> bool:
    """Tell whether full segments of the answer arrived in order."""
    return exchange.received >= 2 * exchange.mss and not exchange.gap


def _ports(asks: Mapping[Address, ProbeTarget], owners: Mapping[Address, Sequence[str]]) -> Iterable[Port]:
    for ip, macs in owners.items():
        if ip in asks:
            named = [*((port, "") for port in asks[ip].ports), *asks[ip].udp]
            yield from ((ip, mac, port, protocol) for mac in macs for port, protocol in named)
