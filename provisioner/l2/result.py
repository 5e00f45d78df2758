"""The result of a diagnosis: one verdict per address with its evidence; l2report/v1 consists of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OwnerClass = Literal["speaker", "kernel", "foreign", "unknown"]
Confidence = Literal["certain", "likely", "possible"]


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
class Result:
    """The verdict on one address, or on a Service without one (ip is "" then).

    evidence: sentences, the decisive one first; alternatives: other codes that the evidence allows. remedy: a
    sentence; command: the next command to run. unanswered: a Service has the address, it was requested on the segment
    where it is announced, and no reply came: a fault even if the verdict is UNKNOWN.
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

    @property
    def ok(self) -> bool:
        """Tell whether the address works; warnings are allowed."""
        return self.verdict == "OK"

    @property
    def inconclusive(self) -> bool:
        """Tell whether nothing can be concluded: neither OK nor a fault."""
        return self.verdict == "INCONCLUSIVE_PROBE_LOCATION" or (self.verdict == "UNKNOWN" and not self.unanswered)
