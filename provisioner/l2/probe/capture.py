"""The segment's side of a diagnosis: every frame that came back, from where it was heard, and what was asked.

Frozen types and nothing else: the prober fills them, the diagnosis reads them, tests write them by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Literal

from provisioner.l2.probe.arp import Kind

Address = IPv4Address | IPv6Address
Outcome = Literal["open", "refused", "unreachable", "silent"]


@dataclass(frozen=True)
class Answer:
    """One reply to one question: `mac` says that it has `ip`.

    timestamp: Unix time by the kernel; rtt: seconds; length: bytes of the frame without its checksum. source: the
    frame's own Ethernet source, where it differs from `mac` (a bridge over Wi-Fi rewrites one of them), else "".
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
    """A gratuitous frame that nobody asked for. request: an ARP request (else a reply; NDP: always False).

    broadcast_target: its target MAC is ff:ff:ff:ff:ff:ff. MetalLB's speaker sends a request and a reply so, keepalived
    2.2 requests only, kube-vip replies only; Linux leaves zeros or its own MAC there.
    """

    ip: Address
    mac: str
    timestamp: float
    request: bool
    broadcast_target: bool
    length: int


@dataclass(frozen=True)
class Handshake:
    """What became of a TCP SYN that was sent to `ip`:`port` in a frame to the owner `mac`.

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
    """Where it was asked from. own_macs: all MACs of this machine; own_addresses: all its addresses, on any NIC.

    addresses: those of the interface, with their on-link subnets. neighbours: this machine's own neighbour cache, as
    it was before the probes; gateways: the routers that it uses on this interface.
    """

    interface: str
    mac: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    own_macs: frozenset[str] = frozenset()
    own_addresses: frozenset[Address] = frozenset()
    neighbours: Mapping[Address, str] = field(default_factory=dict)
    gateways: tuple[Address, ...] = ()

    def on_link(self, ip: Address) -> bool:
        """Tell whether the address lies in one of the interface's subnets."""
        return any(own.version == ip.version and ip in own.network for own in self.addresses)


@dataclass(frozen=True)
class Capture:
    """Everything that a run heard, about the addresses that were asked for and about the nodes' own.

    asked: which kinds of question were sent, by address; times: how often each of them (absent: not counted);
    unicast_to: the MACs that were asked directly, by address.
    echo: whether an ICMP echo came back, by address (absent: none was sent); never a criterion. sent, received:
    frames; dropped: frames that the kernel lost for lack of room: above 0, silence proves nothing. started: Unix time.
    counted: the speakers' counters among the facts were read just before and after this run; those of a file were not.
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
