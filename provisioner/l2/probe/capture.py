"""The segment's side of a diagnosis: every frame received, where it was heard, and what was asked.

Frozen types only: the prober fills them, the diagnosis reads them, tests write them by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Literal

from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.router_adverts import RouterAdvert

Address = IPv4Address | IPv6Address
Outcome = Literal["open", "refused", "unreachable", "silent"]


@dataclass(frozen=True)
class Answer:
    """One reply to one question: `mac` claims `ip`.

    timestamp: Unix time by the kernel; rtt: seconds; length: bytes of the frame without its checksum. source: the
    frame's Ethernet source where it differs from `mac` (a bridge over Wi-Fi rewrites one of them), else "".
    """

    ip: Address
    mac: str
    kind: Kind
    timestamp: float
    rtt: float
    length: int
    source: str = ""


@dataclass(frozen=True)
class Announcement:
    """An unsolicited frame. request: an ARP request (else a reply; NDP: always False).

    broadcast_target: its target MAC is ff:ff:ff:ff:ff:ff. MetalLB's speaker sends one request and one reply like this,
    keepalived 2.2 requests only, kube-vip replies only; Linux puts zeros or its own MAC there.
    """

    ip: Address
    mac: str
    timestamp: float
    request: bool
    broadcast_target: bool
    length: int


@dataclass(frozen=True)
class Handshake:
    """The outcome of one connection, tried in frames to the owner `mac`: a TCP SYN or a UDP question to `ip`:`port`.

    open: a SYN was accepted, a question answered. answered_from: the Ethernet source of the answer, "" for silence.
    unreachable: an ICMP error came back. rtt: seconds, None for silence. tries: how often the SYN or the question was
    sent before the answer; more than once: frames were lost.
    """

    ip: Address
    mac: str
    port: int
    outcome: Outcome
    answered_from: str = ""
    timestamp: float = 0.0
    rtt: float | None = None
    tries: int = 1
    protocol: Literal["TCP", "UDP"] = "TCP"


@dataclass(frozen=True)
class Exchange:
    """What came of asking a Service over TCP through the owner `mac`, in segments of at most `mss` bytes, all with DF.

    asked: HTTP, TLS, or "" if the Service was left to speak first; large: the question filled a whole segment.
    accepted: the question was acknowledged. received: bytes of the answer, in order, in segments of at most `largest`
    bytes; gap: a later part arrived and an earlier one did not; ended: the Service closed or reset the connection.
    """

    ip: Address
    mac: str
    port: int
    asked: Literal["HTTP", "TLS", ""]
    mss: int
    large: bool = False
    accepted: bool = False
    received: int = 0
    largest: int = 0
    gap: bool = False
    ended: bool = False


@dataclass(frozen=True)
class Vantage:
    """Where the questions are sent from. own_macs, own_addresses: those of this machine, on every interface.

    addresses: those of `interface`, with their on-link subnets. neighbours: this machine's neighbor cache before the
    probe; gateways: its routers on this interface.
    """

    interface: str
    mac: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    own_macs: frozenset[str] = frozenset()
    own_addresses: frozenset[Address] = frozenset()
    neighbours: Mapping[Address, str] = field(default_factory=dict)
    gateways: tuple[Address, ...] = ()

    def on_link(self, ip: Address) -> bool:
        """Return whether the address lies in one of the interface's subnets."""
        return any(own.version == ip.version and ip in own.network for own in self.addresses)


@dataclass(frozen=True)
class Via:
    """What came of packets to the addresses in frames to a router. mac: "" if the router did not answer.

    forwards: whether it forwards packets back onto this segment at all, by a packet to a node's own address; None:
    unknown.
    """

    router: Address
    mac: str = ""
    forwards: bool | None = None
    handshakes: tuple[Handshake, ...] = ()


@dataclass(frozen=True)
class Capture:
    """Everything one probe run heard about the addresses asked for, the nodes' own included.

    asked: the kinds of question sent, by address; times: how often each was (absent: not counted); unicast_to: the
    MACs asked directly, by address.
    unicast_times: how often each MAC was, by address (absent: once).
    echo: whether an ICMP echo was answered, by address (absent: none was sent); never a criterion. exchanges: see
    there. via: the connections tried through a router, if one was named. sent, received:
    frames; dropped: frames the kernel dropped for lack of buffer: above 0, silence proves nothing. started: Unix time.
    counted: the speakers' counters in the facts were read just before and after this run; those of a file were not.
    routers: advertisements of VRRP, HSRP and CARP that were heard meanwhile.
    """

    vantage: Vantage
    targets: tuple[Address, ...]
    answers: tuple[Answer, ...] = ()
    announcements: tuple[Announcement, ...] = ()
    handshakes: tuple[Handshake, ...] = ()
    asked: Mapping[Address, frozenset[Kind]] = field(default_factory=dict)
    unicast_to: Mapping[Address, tuple[str, ...]] = field(default_factory=dict)
    times: Mapping[Address, Mapping[Kind, int]] = field(default_factory=dict)
    unicast_times: Mapping[Address, Mapping[str, int]] = field(default_factory=dict)
    echo: Mapping[Address, bool] = field(default_factory=dict)
    exchanges: tuple[Exchange, ...] = ()
    via: Via | None = None
    started: float = 0.0
    sent: int = 0
    received: int = 0
    dropped: int = 0
    pps: int = 0
    counted: bool = False
    routers: tuple[RouterAdvert, ...] = ()

    def answers_for(self, ip: Address) -> tuple[Answer, ...]:
        """Return the answers for one address, in order of arrival."""
        return self._by_ip.get(ip, ())

    @cached_property
    def _by_ip(self) -> Mapping[Address, tuple[Answer, ...]]:
        found: dict[Address, list[Answer]] = {}
        for answer in self.answers:
            found.setdefault(answer.ip, []).append(answer)
        return {ip: tuple(answers) for ip, answers in found.items()}

    @cached_property
    def macs_heard(self) -> tuple[str, ...]:
        """Return every MAC that answered for any address."""
        return tuple(dict.fromkeys(answer.mac for answer in self.answers))

    def macs(self, ip: Address) -> tuple[str, ...]:
        """Return the MACs that answered for an address, in order of their first answer."""
        return tuple(dict.fromkeys(answer.mac for answer in self.answers_for(ip)))


def merge(first: Capture, second: Capture) -> Capture:
    """Return two captures from one place as one; the vantage is the first's, from before any question."""
    addresses = dict.fromkeys([*first.asked, *second.asked])
    asked = {ip: first.asked.get(ip, frozenset()) | second.asked.get(ip, frozenset()) for ip in addresses}
    return replace(
        first,
        targets=tuple(dict.fromkeys([*first.targets, *second.targets])),
        answers=first.answers + second.answers,
        announcements=first.announcements + second.announcements,
        handshakes=first.handshakes + second.handshakes,
        exchanges=first.exchanges + second.exchanges,
        asked=asked,
        times={ip: Counter(first.times.get(ip, {})) + Counter(second.times.get(ip, {})) for ip in asked},
        unicast_to={
            ip: tuple(dict.fromkeys([*first.unicast_to.get(ip, ()), *second.unicast_to.get(ip, ())]))
            for ip in dict.fromkeys([*first.unicast_to, *second.unicast_to])
        },
        unicast_times={
            ip: Counter(first.unicast_times.get(ip, {})) + Counter(second.unicast_times.get(ip, {}))
            for ip in dict.fromkeys([*first.unicast_times, *second.unicast_times])
        },
        echo={ip: first.echo.get(ip, False) or second.echo.get(ip, False) for ip in [*first.echo, *second.echo]},
        sent=first.sent + second.sent,
        received=first.received + second.received,
        dropped=first.dropped + second.dropped,
    )
