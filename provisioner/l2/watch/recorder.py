"""Record a failover: a question every 100 ms, a TCP SYN through whoever answers, every frame with its kernel time.

It only asks. Questions are the same as those of a scan, so that no neighbour cache changes by them; who answers, and
when, is then for the timeline to tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from provisioner.errors import Inconclusive
from provisioner.l2.probe import questions
from provisioner.l2.probe.arp import Kind, Question
from provisioner.l2.probe.capture import Address, Announcement, Answer, Handshake
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.probe.prober import Prober
from provisioner.l2.watch.spans import GAP, Track
from provisioner.l2.watch.timeline import EndedBy, Recording

INTERVAL = 0.1  # seconds between questions: ten frames a second on the segment
TCP_INTERVAL = 0.25  # seconds between SYNs
STABLE = 6.0  # seconds that one owner answers alone until it is called stable: all of MetalLB's five pairs are out
LEAST = 0.01  # seconds between two frames of a watch; its own pace is what spares the segment
GREET = 20.0  # seconds; a kernel keeps a neighbour that it talks to, and one that it does not for a minute
MEET = 0.5  # seconds to wait for the nodes' first answers
NODE_TRIES = 3  # more questions for the address of a node that is silent, to learn whose MAC is whose


@dataclass(frozen=True)
class Plan:
    """What to ask, how often, and when to end. port: 0 for no TCP; stable: seconds, None to go on; timeout: seconds.

    arp_probe: send ARP probes (RFC 5227), else plain requests, for networks that inspect ARP; IPv6 has no probe.
    nodes: the nodes' own addresses, asked for a few times to learn their MACs.
    """

    ip: Address
    port: int = 0
    interval: float = INTERVAL
    tcp_interval: float = TCP_INTERVAL
    gap: float = GAP
    stable: float | None = None
    timeout: float | None = None
    arp_probe: bool = True
    nodes: tuple[Address, ...] = ()


@dataclass(frozen=True)
class Moment:
    """How things stand at a tick of a watch. last: Unix time of the last answer, None before any.

    holders: the MACs that answer now; announcements, handshakes: those that are new since the last tick.
    """

    now: float
    holders: tuple[str, ...]
    last: float | None
    answers: Sequence[Answer]
    announcements: Sequence[Announcement]
    handshakes: Sequence[Handshake]


@dataclass(frozen=True)
class Heard:
    """A finished watch. answers: those for the nodes' own addresses; sent, received: frames."""

    recording: Recording
    answers: tuple[Answer, ...]
    sent: int
    received: int


def record(interface: Interface, plan: Plan, progress: Callable[[Moment], None] | None = None) -> Heard:
    """Ask until the address is stable, the time is up or Ctrl-C, and return what was heard.

    Raises Inconclusive without CAP_NET_RAW; an interface that goes away later ends the recording and is told in it.
    """
    with Prober(interface) as prober:
        track = Track(plan.gap)
        turns = _turns(prober, plan, track)  # builds the frames; the time that this takes is before the watch
        _meet(prober, plan)
        started = time.time()
        ended_by: EndedBy
        trouble = ""
        try:
            ended_by = _run(prober, plan, track, turns, progress)
        except KeyboardInterrupt:
            ended_by = "interrupted"
        except Inconclusive as error:
            ended_by, trouble = "lost", error.message
        recording = Recording(
            ip=plan.ip,
            started=started,
            ended=time.time(),
            interval=plan.interval,
            asked=tuple(track.asked),
            answers=tuple(one for one in prober.answers if one.ip == plan.ip and one.kind is not Kind.UNICAST),
            announcements=tuple(frame for frame in prober.announcements if frame.ip == plan.ip),
            handshakes=tuple(shake for shake in prober.handshakes if shake.ip == plan.ip),
            port=plan.port,
            tcp_interval=plan.tcp_interval,
            gap=plan.gap,
            dropped=prober.dropped,
            ended_by=ended_by,
            trouble=trouble,
            wanted_change=plan.stable is not None,
        )
        others = tuple(answer for answer in prober.answers if answer.ip != plan.ip)
        return Heard(recording, others, prober.sent, prober.received)


def _meet(prober: Prober, plan: Plan) -> None:
    """Ask for the nodes' own addresses and wait a moment, so that the first lines can call them by name."""
    asks = (ask(prober.interface, node, arp_probe=plan.arp_probe) for node in plan.nodes)
    prober.send([made for made in asks if made is not None])
    prober.listen(MEET, until=lambda: not prober.unanswered(plan.nodes))


def _run(
    prober: Prober,
    plan: Plan,
    track: Track,
    turns: Mapping[str, Callable[[Moment], float]],
    progress: Callable[[Moment], None] | None,
) -> EndedBy:
    """Ask in turn, and take in what comes, until there is a reason to end."""
    begun = time.monotonic()
    due = dict.fromkeys(turns, begun)
    seen = _Seen()
    while True:
        turn = min(due, key=lambda one: due[one])
        prober.listen(min(plan.interval, max(LEAST, due[turn] - time.monotonic())))
        moment = _moment(prober, plan, track, seen)
        if progress is not None:
            progress(moment)
        if plan.stable is not None and track.asked and track.settled(moment.now, plan.stable, track.asked[0]):
            return "stable"
        if plan.timeout is not None and time.monotonic() - begun >= plan.timeout:
            return "timeout"
        if (now := time.monotonic()) >= due[turn]:
            pause = turns[turn](moment)
            # After a pause of ours the pace goes on from now; questions that were missed are not made up for.
            due[turn] = max(due[turn] + pause, now)


@dataclass
class _Seen:
    """How much of the prober's lists has been taken in."""

    answers: int = 0
    announcements: int = 0
    handshakes: int = 0
    last: float | None = None


def _moment(prober: Prober, plan: Plan, track: Track, seen: _Seen) -> Moment:
    answers = prober.answers[seen.answers :]
    announcements = prober.announcements[seen.announcements :]
    handshakes = prober.handshakes[seen.handshakes :]
    seen.answers += len(answers)
    seen.announcements += len(announcements)
    seen.handshakes += len(handshakes)
    for answer in answers:
        if answer.ip == plan.ip and answer.kind is not Kind.UNICAST:  # clients' questions are to everybody
            track.answered(answer)
            seen.last = answer.timestamp
    now = time.time()
    holders = tuple(span.mac for span in track.holders(now))
    return Moment(now, holders, seen.last, answers, announcements, handshakes)


def _turns(prober: Prober, plan: Plan, track: Track) -> dict[str, Callable[[Moment], float]]:
    """Return what is asked in turn: each sends its frames and returns the seconds until it is due again."""
    question = ask(prober.interface, plan.ip, arp_probe=plan.arp_probe)
    if question is None:
        raise Inconclusive(
            f"{prober.interface.name} has no address to ask for {plan.ip} from",
            f"see: ip address show dev {prober.interface.name}",
        )
    tries = iter(range(NODE_TRIES))
    through: list[str] = []
    greeted: dict[str, float] = {}

    def owner(_: Moment) -> float:
        track.asked.append(time.time())
        prober.send([question])
        return plan.interval

    def node(_: Moment) -> float:
        asks = (ask(prober.interface, one, arp_probe=plan.arp_probe) for one in prober.unanswered(plan.nodes))
        prober.send([made for made in asks if made is not None])
        return 1.0 if next(tries, NODE_TRIES) < NODE_TRIES - 1 else float("inf")

    def syn(moment: Moment) -> float:
        if moment.holders:
            through[:] = moment.holders
        for mac in through:  # while nobody answers, as a client does: by the MAC that it remembers
            if moment.now - greeted.get(mac, 0.0) > GREET:
                greeted[mac] = moment.now
                prober.send(prime_neighbour(prober, plan, mac))
            prober.send_syn(plan.ip, mac, plan.port)
        return plan.tcp_interval

    turns: dict[str, Callable[[Moment], float]] = {"owner": owner}
    if plan.nodes:
        turns["node"] = node
    if plan.port:
        turns["syn"] = syn
    return turns


def prime_neighbour(prober: Prober, plan: Plan, mac: str) -> list[Question]:
    """Return questions to an owner alone by which it learns the prober's MAC.

    It needs that to answer a SYN, and would ask everybody for it: by such a broadcast bystanders learn the owner's
    MAC anew (RFC 826), and a stale entry that is to be found would be mended by looking for it. The owner's kernel
    keeps a sender only of a question for an address of its own, which MetalLB's addresses are not; so it is asked
    for the node's as well. IPv6 needs none of it: there a solicitation does not go to everybody.
    """
    if plan.ip.version != 4:
        return []
    own = {answer.ip for answer in prober.answers if answer.mac == mac and answer.ip in plan.nodes}
    made = (questions.unicast(prober.interface, ip, mac) for ip in (*own, plan.ip))
    return [question for question in made if question is not None]


def ask(interface: Interface, ip: Address, *, arp_probe: bool) -> Question | None:
    """Return the question for an address: as nobody where that is wanted and possible, else as a client.

    None where the interface has no address to ask from.
    """
    return (questions.arp_probe(interface, ip) if arp_probe else None) or questions.request(interface, ip)
