"""What a diagnosis says: one verdict an address, with the evidence for it; l2report/v1 is made of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OwnerClass = Literal["speaker", "kernel", "foreign", "unknown"]
Confidence = Literal["certain", "likely", "possible"]


@dataclass(frozen=True)
class OwnerSeen:
    """One MAC that answers for an address. node, nic: "" when it is no node's, or when it cannot be told.

    nodes: every node that the MAC may stand for. matched_by: inventory, arp, eui64, vendor or "". vendor: the maker,
    for a MAC that is no node's. answered: the kinds of question. rtt_us: microseconds, one an answer.
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
    """The verdict on one address, or on a Service that has none (ip is then "").

    evidence: sentences, the decisive one first; alternatives: codes that the evidence allows as well. remedy: a
    sentence; command: the next thing to type. unanswered: a Service has the address, it was asked for from where it is
    announced, and nobody answered: a fault, even where the verdict is UNKNOWN since nothing tells its cause.
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
    owners: tuple[OwnerSeen, ...] = ()
    alternatives: tuple[str, ...] = ()
    unanswered: bool = False

    @property
    def ok(self) -> bool:
        """Tell whether the address is as it should be; warnings are allowed."""
        return self.verdict == "OK"

    @property
    def inconclusive(self) -> bool:
        """Tell whether nothing can be concluded: neither good nor a fault."""
        return self.verdict == "INCONCLUSIVE_PROBE_LOCATION" or (self.verdict == "UNKNOWN" and not self.unanswered)
