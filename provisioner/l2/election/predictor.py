"""Who announces an address, predicted from facts alone, as each of MetalLB's speakers computes it.

Read from MetalLB's source (speaker/layer2_controller.go, internal/speakerlist) at v0.11.0, v0.12.0, v0.13.3, v0.13.9,
v0.13.12, v0.14.5, v0.14.8, v0.14.9, v0.15.2 and v0.16.1; the version that introduced a rule is from its release notes.
An unknown fact that would decide makes the prediction unknown; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address

from provisioner.l2.election import eligibility, elsewhere
from provisioner.l2.election.eligibility import Eligibility
from provisioner.l2.election.rules import covers, since
from provisioner.l2.facts import Address, Advertisement, Facts, Service
from provisioner.l2.pools import pool_of


@dataclass(frozen=True)
class Prediction:
    """Who should announce an address.

    candidates: the eligible nodes, in the order of the election; empty: nobody announces; None: unknown.
    leader: the first of them, "" for nobody or unknown. It may be certain even if `candidates` is None: the nodes of
    unknown eligibility then come after it.
    why_empty: a verdict code if `candidates` is empty for a known cause: NO_L2ADVERTISEMENT, EXCLUDE_LABEL,
    NODE_SELECTOR_EMPTY, NO_ENDPOINTS, LOCAL_NO_CANDIDATE, SPEAKER_DOWN, NO_FAILOVER_MEMBERLIST_OFF (before 0.15,
    nothing is announced without memberlist).
    ruled_out: node -> why it is no candidate, a sentence. unknown: which facts are missing, sentences.
    would_lead: the leader if all nodes' speakers were up, "" for nobody or unknown.
    because: how the leader is known if not by MetalLB's election, a sentence.
    """

    candidates: tuple[str, ...] | None
    leader: str = ""
    why_empty: str = ""
    ruled_out: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    would_lead: str = ""
    because: str = ""


def order(nodes: Iterable[str], ip: Address) -> tuple[str, ...]:
    """Return nodes in the order of an address's election: by sha256 of "node#address", as bytes; the first wins.

    >>> from ipaddress import IPv4Address
    >>> order(["iris1", "iris2"], IPv4Address("10.20.30.1"))
    ('iris2', 'iris1')
    """
    return tuple(sorted(nodes, key=lambda node: sha256(f"{node}#{ip}".encode()).digest()))


def advertisements_for(facts: Facts, ip: Address, service: Service | None) -> tuple[Advertisement, ...] | None:
    """Return the advertisements that announce an address of a Service, None if unknown.

    Before 0.13 there are none, and an empty tuple means nothing; `predict` takes that into account.
    """
    if facts.advertisements is None or (pool := pool_of(facts, ip)) is None:
        return None
    judged = [(item, covers(item, pool, service)) for item in facts.advertisements]
    if any(verdict is None for _, verdict in judged):
        return None
    return tuple(item for item, verdict in judged if verdict)


def predict(facts: Facts, ip: Address, service: Service | None) -> Prediction:
    """Predict who announces an address. service: the one that has it, None if no Service is known to.

    If the Services are known and none has the address, it has no candidate: nobody may answer.
    """
    if service is None:
        if facts.services is not None:
            return Prediction(())
        return Prediction(None, unknown=("which Service has the address is unknown",))
    if not elsewhere.by_metallb(facts, service):
        found = elsewhere.elected(facts, ip, service)
        if not found.node:
            return Prediction(None, unknown=(found.why,))
        return Prediction((found.node,), found.node, would_lead=found.node, because=found.why)
    nodes = eligibility.classify(facts, ip, service)
    if since(facts, "0.11") is False and nodes.why != "NO_ENDPOINTS":
        return Prediction(None, unknown=("before MetalLB 0.11 the leader depends on the Service's name",))
    # A Service's first address decides the election; the others follow it.
    elected = ip_address(service.ingress_ips[0]) if service.ingress_ips else ip
    return _elect(nodes, elected)


def _elect(nodes: Eligibility, ip: Address) -> Prediction:
    """Elect a leader among the nodes that are, or may be, candidates."""
    would = _first(nodes.up, nodes.up_doubtful, ip)
    if nodes.empty:
        return Prediction((), "", nodes.why, nodes.ruled_out, (), would)
    if nodes.unknown:
        reasons = tuple(dict.fromkeys((*nodes.unknown, *nodes.doubtful.values())))
        return Prediction(None, ruled_out=nodes.ruled_out, unknown=reasons)
    return Prediction(
        None if nodes.doubtful else order(nodes.sure, ip),
        _first(nodes.sure, tuple(nodes.doubtful), ip),
        ruled_out=nodes.ruled_out,
        unknown=tuple(dict.fromkeys(nodes.doubtful.values())),
        would_lead=would,
    )


def _first(sure: tuple[str, ...], doubtful: tuple[str, ...], ip: Address) -> str:
    """Return the first node in the order, "" if there is none or it is doubtful."""
    ordered = order((*sure, *doubtful), ip)
    return ordered[0] if ordered and ordered[0] not in doubtful else ""
