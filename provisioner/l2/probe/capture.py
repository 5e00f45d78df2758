"""The segment's side of a diagnosis: every frame received, where it was heard, and what was asked.

Frozen types only: the prober fills them, the diagnosis reads them, tests write them by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """The outcome of a TCP SYN to `ip`:`port` in a frame to the owner `mac`.

    answered_from: the Ethernet source of the answer, "" for silence. unreachable: an ICMP error came back. rtt:
    seconds, None for silence.
    """

    ip: Address
    mac: str
    port: int
    outcome: Outcome
    answered_from: str = ""
    timestamp: float = 0.0
    rtt: float | None = None


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
class Capture:
    """Everything one probe run heard about the addresses asked for, the nodes' own included.

    asked: the kinds of question sent, by address; times: how often each was (absent: not counted); unicast_to: the
    MACs asked directly, by address.
    echo: whether an ICMP echo was answered, by address (absent: none was sent); never a criterion. sent, received:
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
    echo: Mapping[Address, bool] = field(default_factory=dict)
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

    def macs(self, ip: Address) -> tuple[str, ...]:
        """Return the MACs that answered for an address, in order of their first answer."""
        return tuple(dict.fromkeys(answer.mac for answer in self.answers_for(ip)))
