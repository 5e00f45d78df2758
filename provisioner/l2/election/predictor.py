"""Who announces an address, predicted from facts alone, as MetalLB's speakers work it out each for itself.

Read in MetalLB's source (speaker/layer2_controller.go, internal/speakerlist) at v0.11.0, v0.12.0, v0.13.3, v0.13.9,
v0.13.12, v0.14.5, v0.14.8, v0.14.9, v0.15.2 and v0.16.1; the version at which a rule begins is its release note's.
A fact that would decide and is not known makes the prediction unknown; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address

from provisioner.l2.election import eligibility
from provisioner.l2.election.eligibility import Eligibility
from provisioner.l2.election.rules import covers, since
from provisioner.l2.facts import Address, Advertisement, Facts, Service
from provisioner.l2.pools import pool_of


@dataclass(frozen=True)
class Prediction:
    """Who should announce an address.

    candidates: the nodes that the election is held among, in its order; empty: nobody announces; None: unknown.
    leader: the first of them; "" for nobody and for unknown. It may be certain where `candidates` is None: the node
    whose candidature is unknown then comes after it.
    why_empty: the verdict's code where `candidates` is empty and one of the known causes is why: NO_L2ADVERTISEMENT,
    EXCLUDE_LABEL, NODE_SELECTOR_EMPTY, NO_ENDPOINTS, LOCAL_NO_CANDIDATE, SPEAKER_DOWN, NO_FAILOVER_MEMBERLIST_OFF
    (before 0.15 nothing is announced at all without memberlist).
    ruled_out: node -> why it is no candidate, a sentence. unknown: what would have to be known, sentences.
    would_lead: who would lead if the speakers of all nodes were up; "" where that is unknown or nobody.
    """

    candidates: tuple[str, ...] | None
    leader: str = ""
    why_empty: str = ""
    ruled_out: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    would_lead: str = ""


def order(nodes: Iterable[str], ip: Address) -> tuple[str, ...]:
    """Return nodes in the order of an address's election: by sha256 of "node#address", as bytes; the first leads.

    >>> from ipaddress import IPv4Address
    >>> order(["iris1", "iris2"], IPv4Address("10.20.30.1"))
    ('iris2', 'iris1')
    """
    return tuple(sorted(nodes, key=lambda node: sha256(f"{node}#{ip}".encode()).digest()))


def advertisements_for(facts: Facts, ip: Address, service: Service | None) -> tuple[Advertisement, ...] | None:
    """Return the advertisements that announce an address of a Service; None where the facts do not tell.

    Before 0.13 there are none, and an empty tuple says nothing; `predict` knows.
    """
    if facts.advertisements is None or (pool := pool_of(facts, ip)) is None:
        return None
    judged = [(item, covers(item, pool, service)) for item in facts.advertisements]
    if any(verdict is None for _, verdict in judged):
        return None
    return tuple(item for item, verdict in judged if verdict)


def predict(facts: Facts, ip: Address, service: Service | None) -> Prediction:
    """Predict who announces an address. service: the one that has it; None: no Service is known to have it.

    An address that no Service has (the Services are known, and none has it) has no candidate: nobody may answer.
    """
    if service is None:
        if facts.services is not None:
            return Prediction(())
        return Prediction(None, unknown=("which Service has the address is not known",))
    standing = eligibility.classify(facts, ip, service)
    if since(facts, "0.11") is False and standing.why != "NO_ENDPOINTS":
        return Prediction(None, unknown=("before MetalLB 0.11 the leader depends on the Service's name",))
    # The election is held for the Service's first address, and all its addresses follow it.
    elected = ip_address(service.ingress_ips[0]) if service.ingress_ips else ip
    return _elect(standing, elected)


def _elect(standing: Eligibility, ip: Address) -> Prediction:
    """Hold the election among the nodes that are, or may be, candidates."""
    would = _first(standing.up, standing.up_doubtful, ip)
    if standing.empty:
        return Prediction((), "", standing.why, standing.ruled_out, (), would)
    if standing.unknown:
        reasons = tuple(dict.fromkeys((*standing.unknown, *standing.doubtful.values())))
        return Prediction(None, ruled_out=standing.ruled_out, unknown=reasons)
    return Prediction(
        None if standing.doubtful else order(standing.sure, ip),
        _first(standing.sure, tuple(standing.doubtful), ip),
        ruled_out=standing.ruled_out,
        unknown=tuple(dict.fromkeys(standing.doubtful.values())),
        would_lead=would,
    )


def _first(sure: tuple[str, ...], doubtful: tuple[str, ...], ip: Address) -> str:
    """Return the node that comes first, "" where there is none or it is doubtful."""
    ordered = order((*sure, *doubtful), ip)
    return ordered[0] if ordered and ordered[0] not in doubtful else ""
