"""One run of a prober: what was asked so far, who answered, and what to ask next."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from provisioner.l2.probe import questions
from provisioner.l2.probe.arp import Kind, Question
from provisioner.l2.probe.capture import Address, Capture, Exchange, Vantage
from provisioner.l2.probe.prober import Prober

FEW = 32  # addresses of a sweep of which each owner is asked whether it is a proxy


@dataclass
class ProbeRun:
    """A run's bookkeeping. asked: how often by each kind, by address; unicasts: how often each MAC was.

    exchanges: what was asked over TCP. outstanding: answers (address and MAC) awaited to confirm an owner.
    """

    prober: Prober
    vantage: Vantage
    asked: dict[Address, Counter[Kind]] = field(default_factory=dict)
    unicast_to: dict[Address, tuple[str, ...]] = field(default_factory=dict)
    unicasts: dict[Address, Counter[str]] = field(default_factory=dict)
    exchanges: tuple[Exchange, ...] = ()
    echo_sent: set[Address] = field(default_factory=set)
    outstanding: set[tuple[Address, str]] = field(default_factory=set)
    _confirmed: int = 0  # how many answers `confirmed` has seen

    def send(self, ready: Iterable[Question | None]) -> int:
        """Send the questions that can be asked; return how many that were."""
        before = self.prober.sent
        self.prober.send(self._noted(question) for question in ready if question is not None)
        return self.prober.sent - before

    def _noted(self, question: Question) -> Question:
        self.asked.setdefault(question.target, Counter())[question.kind] += 1
        if question.to:
            self.unicasts.setdefault(question.target, Counter())[question.to] += 1
            known = self.unicast_to.get(question.target, ())
            self.unicast_to[question.target] = tuple(dict.fromkeys([*known, question.to]))
        return question

    def owners(self) -> dict[Address, tuple[str, ...]]:
        """Return the MACs that have answered so far, by address; silent addresses are absent."""
        found: dict[Address, dict[str, None]] = {}
        for answer in self.prober.answers:
            found.setdefault(answer.ip, {})[answer.mac] = None
        return {ip: tuple(macs) for ip, macs in found.items()}

    def first_question(self, ip: Address, arp_probe: bool) -> Question | None:
        """Return a sweep's first question: a request, else, without a source address, an ARP probe.

        arp_probe: whether ARP probes are allowed.
        """
        interface = self.prober.interface
        return questions.request(interface, ip) or (questions.arp_probe(interface, ip) if arp_probe else None)

    def second_question(self, ip: Address, arp_probe: bool) -> Question | None:
        """Return the question for an address that stayed silent: an ARP probe if possible, else another request."""
        interface = self.prober.interface
        return (questions.arp_probe(interface, ip) if arp_probe else None) or questions.request(interface, ip)

    def confirmation_probes(self, among: Iterable[Address], end: float) -> Iterator[Question]:
        """Yield an ARP probe for each owned address that a proxy may own, until `end` (monotonic), most telling first.

        An owner that answers requests but not probes is a proxy. Of many addresses a proxy owns more than one, so the
        owners of one alone are not asked again; of few, it may own one.
        """
        wanted = set(among)
        owners = {ip: macs for ip, macs in self.owners().items() if ip in wanted}
        held = Counter(mac for macs in owners.values() for mac in macs)
        for ip, macs in sorted(owners.items(), key=lambda one: (-len(one[1]), -max(held[mac] for mac in one[1]))):
            if len(wanted) > FEW and max(held[mac] for mac in macs) < 2:
                continue
            question = questions.arp_probe(self.prober.interface, ip)
            if question is None or self.asked[ip][question.kind]:
                continue
            if time.monotonic() >= end:
                return
            self.outstanding.update((ip, mac) for mac in macs)
            yield question

    def confirmed(self) -> bool:
        """Return whether all outstanding answers have arrived."""
        answers = self.prober.answers[self._confirmed :]
        self._confirmed += len(answers)
        self.outstanding.difference_update((answer.ip, answer.mac) for answer in answers if answer.kind is Kind.PROBE)
        return not self.outstanding

    def capture(self, targets: Iterable[Address], started: float, pps: int) -> Capture:
        """Return everything heard. started: Unix time."""
        prober = self.prober
        return Capture(
            vantage=self.vantage,
            targets=tuple(targets),
            answers=tuple(prober.answers),
            announcements=tuple(prober.announcements),
            handshakes=tuple(prober.handshakes),
            asked={ip: frozenset(kinds) for ip, kinds in self.asked.items()},
            unicast_to=self.unicast_to,
            unicast_times=self.unicasts,
            exchanges=self.exchanges,
            times=self.asked,
            echo={ip: ip in prober.echoed for ip in self.echo_sent},
            started=started,
            sent=prober.sent,
            received=prober.received,
            dropped=prober.dropped,
            pps=pps,
        )


def listen_until(prober: Prober, end: float, until: Callable[[], bool] = lambda: False) -> None:
    """Listen until a time on the monotonic clock."""
    prober.listen(max(0.0, end - time.monotonic()), until)
