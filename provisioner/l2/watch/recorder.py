"""Record a failover: one request every 100 ms, TCP SYNs through the owner, every frame with its kernel timestamp.

The requests are those of a scan, which change no neighbor cache entry for the address.
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
from provisioner.l2.watch.turns import Turns

INTERVAL = 0.1  # seconds between requests: ten frames per second on the segment
TCP_INTERVAL = 0.25  # seconds between SYNs
MIN_LISTEN = 0.01  # seconds to listen between two frames
PRIME_EVERY = 20.0  # seconds; a kernel keeps a neighbor that it does not talk to for a minute
LEARN_WAIT = 0.5  # seconds to wait for the nodes' first replies
UNICAST_EVERY = 5.0  # seconds between unicast solicitations, by which a router verifies a neighbor
NODE_TRIES = 3  # further requests for the address of a silent node, to learn its MAC


@dataclass(frozen=True)
class WatchPlan:
    """What to send, how often, and when to end. port: 0 for no TCP; stable, timeout: seconds, None for no limit.

    arp_probe: send ARP probes (RFC 5227), else plain requests, for networks with ARP inspection; IPv6 has no probe.
    nodes: the nodes' own addresses, requested a few times to learn their MACs.
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
class Tick:
    """The state of a watch at one tick. last: Unix time of the last reply, None before any.

    holders: the MACs that answer now; answers, announcements, handshakes: those since the last tick.
    """

    now: float
    holders: tuple[str, ...]
    last: float | None
    answers: Sequence[Answer]
    announcements: Sequence[Announcement]
    handshakes: Sequence[Handshake]


@dataclass(frozen=True)
class RecordedRun:
    """A finished watch. answers: the replies for the nodes' own addresses; sent, received: frames."""

    recording: Recording
    answers: tuple[Answer, ...]
    sent: int
    received: int


def record(interface: Interface, plan: WatchPlan, progress: Callable[[Tick], None] | None = None) -> RecordedRun:
    """Record until the address is stable, the timeout or Ctrl-C.

    Raises Inconclusive without CAP_NET_RAW; an interface that goes away later ends the recording with its `failure`.
    """
    with Prober(interface) as prober:
        track = Track(plan.gap)
        turns = _turns(prober, plan, track)  # builds the frames, which takes time before the watch starts
        _learn_node_macs(prober, plan)
        started = time.time()
        ended_by: EndedBy
        failure = ""
        try:
            ended_by = _run(prober, plan, track, turns, progress)
        except KeyboardInterrupt:
            ended_by = "interrupted"
        except Inconclusive as error:
            ended_by, failure = "lost", error.message
        recording = Recording(
            ip=plan.ip,
            started=started,
            ended=time.time(),
            interval=plan.interval,
            requests=tuple(track.requests),
            answers=tuple(one for one in prober.answers if one.ip == plan.ip and one.kind is not Kind.UNICAST),
            announcements=tuple(frame for frame in prober.announcements if frame.ip == plan.ip),
            handshakes=tuple(shake for shake in prober.handshakes if shake.ip == plan.ip),
            port=plan.port,
            tcp_interval=plan.tcp_interval,
            gap=plan.gap,
            dropped=prober.dropped,
            ended_by=ended_by,
            failure=failure,
            until_stable=plan.stable is not None,
            unicasts=track.unicasts,
            unicasts_answered=min(track.unicasts, sum(_by_unicast(one, plan) for one in prober.answers)),
        )
        others = tuple(answer for answer in prober.answers if answer.ip != plan.ip)
        return RecordedRun(recording, others, prober.sent, prober.received)


def _by_unicast(answer: Answer, plan: WatchPlan) -> bool:
    return answer.ip == plan.ip and answer.kind is Kind.UNICAST


def _learn_node_macs(prober: Prober, plan: WatchPlan) -> None:
    """Request the nodes' own addresses and wait a moment, so that even the first lines can name the nodes."""
    requests = (request(prober.interface, node, arp_probe=plan.arp_probe) for node in plan.nodes)
    prober.send([one for one in requests if one is not None])
    prober.listen(LEARN_WAIT, until=lambda: not prober.unanswered(plan.nodes))


def _run(
    prober: Prober,
    plan: WatchPlan,
    track: Track,
    turns: Mapping[str, Callable[[Tick], float]],
    progress: Callable[[Tick], None] | None,
) -> EndedBy:
    """Send in turn and process what arrives until there is a reason to end."""
    start = time.monotonic()
    due = dict.fromkeys(turns, start)
    seen = _Seen()
    moves = Turns()
    while True:
        turn = min(due, key=lambda one: due[one])
        prober.listen(min(plan.interval, max(MIN_LISTEN, due[turn] - time.monotonic())))
        tick = _tick(prober, plan, track, seen)
        for answer in tick.answers:
            if answer.ip == plan.ip and answer.kind is not Kind.UNICAST:
                moves.add(answer)
        if progress is not None:
            progress(tick)
        if plan.stable is not None and track.requests and track.is_stable(tick.now, plan.stable, track.requests[0]):
            return "stable"
        if moves.flaps():
            return "flapping"
        if plan.timeout is not None and time.monotonic() - start >= plan.timeout:
            return "timeout"
        if (now := time.monotonic()) >= due[turn]:
            pause = turns[turn](tick)
            # After a pause of this machine, requests that were missed are not made up for.
            due[turn] = max(due[turn] + pause, now)


@dataclass
class _Seen:
    """How much of the prober's lists has been processed."""

    answers: int = 0
    announcements: int = 0
    handshakes: int = 0
    last: float | None = None


def _tick(prober: Prober, plan: WatchPlan, track: Track, seen: _Seen) -> Tick:
    answers = prober.answers[seen.answers :]
    announcements = prober.announcements[seen.announcements :]
    handshakes = prober.handshakes[seen.handshakes :]
    seen.answers += len(answers)
    seen.announcements += len(announcements)
    seen.handshakes += len(handshakes)
    for answer in answers:
        if answer.ip == plan.ip and answer.kind is not Kind.UNICAST:  # a unicast reaches one MAC only
            track.add(answer)
            seen.last = answer.timestamp
    now = time.time()
    holders = tuple(span.mac for span in track.holders(now))
    return Tick(now, holders, seen.last, answers, announcements, handshakes)


def _turns(prober: Prober, plan: WatchPlan, track: Track) -> dict[str, Callable[[Tick], float]]:
    """Return what is sent in turn: each function sends its frames and returns the seconds until it is due again."""
    question = request(prober.interface, plan.ip, arp_probe=plan.arp_probe)
    if question is None:
        raise Inconclusive(
            f"{prober.interface.name} has no source address for {plan.ip}",
            f"see: ip address show dev {prober.interface.name}",
        )
    tries = iter(range(NODE_TRIES))
    through: list[str] = []
    primed: dict[str, float] = {}

    def owner(_: Tick) -> float:
        track.requests.append(time.time())
        prober.send([question])
        return plan.interval

    def node(_: Tick) -> float:
        silent = prober.unanswered(plan.nodes)
        requests = (request(prober.interface, one, arp_probe=plan.arp_probe) for one in silent)
        prober.send([one for one in requests if one is not None])
        return 1.0 if next(tries, NODE_TRIES) < NODE_TRIES - 1 else float("inf")

    def syn(tick: Tick) -> float:
        if tick.holders:
            through[:] = tick.holders
        for mac in through:  # during silence the last owner's, as a client uses its cached MAC
            if tick.now - primed.get(mac, 0.0) > PRIME_EVERY:
                primed[mac] = tick.now
                prober.send(prime_neighbour(prober, plan, mac))
            prober.send_syn(plan.ip, mac, plan.port)
        return plan.tcp_interval

    def unicast(tick: Tick) -> float:
        if not tick.holders:
            return plan.interval / 2  # from now on halfway between two requests, so that replies are told apart
        wanted = [questions.unicast(prober.interface, plan.ip, mac) for mac in tick.holders]
        track.unicasts += len(wanted)
        prober.send([one for one in wanted if one is not None])
        return UNICAST_EVERY

    turns: dict[str, Callable[[Tick], float]] = {"owner": owner}
    if plan.ip.version == 6:
        turns["unicast"] = unicast
    if plan.nodes:
        turns["node"] = node
    if plan.port:
        turns["syn"] = syn
    return turns


def prime_neighbour(prober: Prober, plan: WatchPlan, mac: str) -> list[Question]:
    """Return unicast requests from which an owner learns this machine's MAC.

    It needs the MAC to answer a SYN, and would broadcast a request for it, from which bystanders learn the owner's
    MAC (RFC 826): looking for a stale entry would repair it. The owner's kernel caches the sender only of a request
    for one of its own addresses, which MetalLB's are not; so the node's address is requested as well. IPv6 needs none
    of this, because its solicitations are not broadcast.
    """
    if plan.ip.version != 4:
        return []
    own = {answer.ip for answer in prober.answers if answer.mac == mac and answer.ip in plan.nodes}
    unicasts = (questions.unicast(prober.interface, ip, mac) for ip in (*own, plan.ip))
    return [one for one in unicasts if one is not None]


def request(interface: Interface, ip: Address, *, arp_probe: bool) -> Question | None:
    """Return the ARP probe for an address if wanted and possible, else a request.

    None if the interface has no source address for it.
    """
    return (questions.arp_probe(interface, ip) if arp_probe else None) or questions.request(interface, ip)
