"""The result of a diagnosis: one verdict per address with its evidence; l2report/v1 consists of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OwnerClass = Literal["speaker", "kernel", "foreign", "unknown"]
Confidence = Literal["certain", "likely", "possible"]

# Verdicts on where this machine is, from which nothing follows about an address.
INCONCLUSIVE = frozenset({"INCONCLUSIVE_PROBE_LOCATION", "SEGMENT_ISOLATED"})


@dataclass(frozen=True)
class AddressOwner:
    """A MAC that answers for an address. node, nic: "" if the MAC is not a node's, or is ambiguous.

    nodes: every node the MAC may belong to. matched_by: inventory, arp, eui64, vendor or "". vendor: from the OUI, for
    a MAC that is not a node's. answered: kinds of request (Z, B, U). rtt_us: microseconds, one per reply.
    """

    mac: str
    node: str = ""
    nic: str = ""
    nodes: tuple[str, ...] = ()
    owner_class: OwnerClass = "unknown"
    matched_by: str = ""
    vendor: str = ""
    answered: tuple[str, ...] = ()
    rtt_us: tuple[int, ...] = ()


@dataclass(frozen=True)
class ReachedPort:
    """What became of the connections to one port of a Service. asked: the protocol that a UDP port was asked in.

    opened: how many of `tried` succeeded; resent: how many only when sent again. tried is 0 for a port that was not.
    """

    port: int
    protocol: str
    tried: int
    opened: int
    resent: int = 0
    asked: str = ""


@dataclass(frozen=True)
class ReachedService:
    """A Service in question at an address, and its ports."""

    service: str
    ports: tuple[ReachedPort, ...]


@dataclass(frozen=True)
class Result:
    """The verdict on one address, or on a Service without one (ip is "" then).

    evidence: sentences, the decisive one first; alternatives: other codes that the evidence allows. remedy: a
    sentence; command: the next command to run. unanswered: a Service has the address, it was requested on the segment
    where it is announced, and no reply came: a fault even if the verdict is UNKNOWN. covers: what an OK covers.
    reached: the Services in question. notes: codes of what is normal and needs no attention. alternative_remedies:
    the remedy of each alternative. changes: whether the command changes something. culprit: what the cause is about
    ("node w1", "pool lab"), the same for all addresses that share it; "" if it is about this address alone.
    """

    ip: str
    family: Literal["ipv4", "ipv6", ""]
    service: str
    pool: str
    verdict: str
    confidence: Confidence
    evidence: tuple[str, ...]
    remedy: str = ""
    command: str = ""
    warnings: tuple[str, ...] = ()
    predicted_leader: str = ""
    owners: tuple[AddressOwner, ...] = ()
    alternatives: tuple[str, ...] = ()
    unanswered: bool = False
    covers: str = ""
    reached: tuple[ReachedService, ...] = ()
    notes: tuple[str, ...] = ()
    alternative_remedies: tuple[str, ...] = ()
    changes: bool = False
    culprit: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether the address works; warnings are allowed."""
        return self.verdict == "OK"

    @property
    def inconclusive(self) -> bool:
        """Tell whether nothing can be concluded: neither OK nor a fault."""
        return self.verdict in INCONCLUSIVE or (self.verdict == "UNKNOWN" and not self.unanswered)
