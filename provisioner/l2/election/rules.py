"""The rules by which MetalLB's speakers admit a node to an election; each answers yes, no or unknown.

The sources are those of predictor.py. A missing fact is named in a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from provisioner.l2.facts import Address, Advertisement, Facts, Node, Pool, Service
from provisioner.l2.selectors import any_matches

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"


class Ruling(NamedTuple):
    """A rule's answer for a node. allows: None if unknown; why: a sentence for False and for None."""

    allows: bool | None
    why: str = ""


YES = Ruling(True)


@dataclass(frozen=True)
class Election:
    """An address, its Service and pool, and the facts about them."""

    facts: Facts
    ip: Address
    service: Service
    pool: Pool | None


def since(facts: Facts, version: str) -> bool | None:
    """Return whether MetalLB has at least this version, judged also by objects only newer ones have; None: unknown."""
    wanted = _number(version)
    if facts.metallb.version is not None:
        return _number(facts.metallb.version) >= wanted
    proven = "0"
    if facts.advertisements:
        proven = "0.16" if any(item.service_selectors for item in facts.advertisements) else "0.13"
    if facts.l2_status and _number(proven) < _number("0.14.2"):
        proven = "0.14.2"
    return True if _number(proven) >= wanted else None


def covers(advertisement: Advertisement, pool: Pool, service: Service | None) -> bool | None:
    """Return whether an advertisement covers a pool and a Service; None: unknown labels would decide."""
    in_pool = _covers_pool(advertisement, pool)
    if in_pool is False or not advertisement.service_selectors:
        return in_pool
    selected = any_matches(advertisement.service_selectors, service.labels if service else None)
    return _both(in_pool, selected)


def _speaker(election: Election, node: Node) -> Ruling:
    """Require a live speaker, by memberlist; without memberlist every node counts (since 0.15)."""
    memberlist = election.facts.metallb.memberlist
    if memberlist is False:
        return YES
    if node.speaker is None:
        return Ruling(None, f"whether a speaker runs on {node.name} is unknown")
    if memberlist is None and not (node.speaker == "ready" and since(election.facts, "0.15")):
        return Ruling(None, "whether memberlist is on is unknown")
    if node.ready is False and node.speaker != "missing":
        # The API shows the pod's last state; the process may live on if only the kubelet died.
        return Ruling(None, f"{node.name} is not ready, so whether its speaker is alive is unknown")
    return YES if node.speaker == "ready" else Ruling(False, f"{node.name} has no live speaker (it is {node.speaker})")


def _network(election: Election, node: Node) -> Ruling:
    """Exclude nodes with NetworkUnavailable, since 0.13.10."""
    if node.network_unavailable is False:
        return YES
    return _ruled(
        (since(election.facts, "0.13.10"), node.network_unavailable),
        f"{node.name} has the condition NetworkUnavailable",
        f"whether the network of {node.name} is unavailable is unknown",
    )


def _cordon(election: Election, node: Node) -> Ruling:
    """Exclude cordoned nodes, in 0.14.9 only."""
    if election.facts.metallb.version != "0.14.9":
        return YES
    return _ruled(
        (True, node.unschedulable),
        f"{node.name} is cordoned, which MetalLB 0.14.9 respects",
        f"whether {node.name} is cordoned is unknown",
    )


def _exclude_label(election: Election, node: Node) -> Ruling:
    """Exclude labeled nodes, since 0.14.2, unless (since 0.14.4) `--ignore-exclude-lb` is set."""
    if node.labels is not None and EXCLUDE_LABEL not in node.labels:
        return YES
    labeled = None if node.labels is None else True
    respected = since(election.facts, "0.14.2")
    if since(election.facts, "0.14.4") is not False and election.facts.metallb.ignore_exclude_lb is not False:
        ignored = election.facts.metallb.ignore_exclude_lb
        respected = False if ignored else None if respected is not False else False
    return _ruled(
        (respected, labeled),
        f"{node.name} has the label {EXCLUDE_LABEL}",
        f"whether MetalLB excludes {node.name} for the label {EXCLUDE_LABEL} is unknown",
    )


def _selected(election: Election, node: Node) -> Ruling:
    """Require that an advertisement for the pool and the Service selects the node."""
    announced = advertised(election)
    if announced.allows is None or since(election.facts, "0.13") is False:
        return announced
    verdicts = [
        _both(covers(item, election.pool, election.service), any_matches(item.node_selectors, node.labels))
        for item in election.facts.advertisements or ()
        if election.pool is not None
    ]
    if True in verdicts:
        return YES
    if None in verdicts:
        return Ruling(None, f"the labels by which an advertisement would select {node.name} are unknown")
    return Ruling(False, f"no advertisement for {election.ip} selects {node.name}")


def _local(election: Election, node: Node) -> Ruling:
    """With policy Local, require an endpoint on the node."""
    service = election.service
    if service.external_traffic_policy == "Cluster":
        return YES
    if service.endpoints is None:
        return Ruling(None, f"the endpoints of {service.key} are unknown")
    if any(endpoint.ready and endpoint.node == node.name for endpoint in service.endpoints):
        return YES
    if service.external_traffic_policy is None:
        return Ruling(None, f"the externalTrafficPolicy of {service.key} is unknown")
    return Ruling(False, f"{node.name} has no ready endpoint of {service.key}, which has policy Local")


RULES: Mapping[str, Callable[[Election, Node], Ruling]] = {
    "speaker": _speaker,
    "network": _network,
    "cordon": _cordon,
    "exclude label": _exclude_label,
    "selectors": _selected,
    "local": _local,
}


def advertised(election: Election) -> Ruling:
    """Return whether anything announces the address at all."""
    facts = election.facts
    if reason := _unclear(election):
        return Ruling(None, reason)
    if election.pool is None or since(facts, "0.13") is False:
        bgp = election.pool is not None and election.pool.protocol == "bgp"
        return Ruling(False, f"the pool of {election.ip} is announced by BGP") if bgp else YES
    verdicts = [covers(item, election.pool, election.service) for item in facts.advertisements or ()]
    if True in verdicts:
        return YES
    if None in verdicts:
        return Ruling(None, f"the labels by which an advertisement would select {election.service.key} are unknown")
    return Ruling(False, f"no advertisement covers pool {election.pool.name}")


def _unclear(election: Election) -> str:
    """Return why it is unclear which configuration MetalLB uses, "" if it is clear."""
    facts = election.facts
    if facts.metallb.config in ("invalid", "stale"):
        return "MetalLB refused the current configuration and uses an older one or none"
    if facts.pools is None:
        return "the pools are unknown"
    if election.pool is None:
        return f"{election.ip} is in none of the current pools, so MetalLB uses an older configuration"
    if since(facts, "0.13") is not False and facts.advertisements is None:
        return "the advertisements are unknown"
    # No advertisements are normal before 0.13, and a cause of silence after.
    return "MetalLB's version is unknown" if since(facts, "0.13") is None else ""


def nobody_without_memberlist(election: Election) -> bool | None:
    """Return whether a lack of memberlist keeps all nodes out: the speaker list is then empty, which elects nobody.

    From 0.15 an empty list elects as usual; up to 0.12, policy Local does not use the list.
    """
    if election.facts.metallb.memberlist is not False:
        return False
    before = since(election.facts, "0.15")
    if before is not False:
        return None if before is None else False
    if since(election.facts, "0.13") is False:
        policy = election.service.external_traffic_policy
        return None if policy is None else policy == "Cluster"
    return True


def active(service: Service) -> bool | None:
    """Return whether a Service has a ready endpoint; None: unknown."""
    return None if service.endpoints is None else any(endpoint.ready for endpoint in service.endpoints)


def _covers_pool(advertisement: Advertisement, pool: Pool) -> bool | None:
    if not advertisement.pools and not advertisement.pool_selectors:
        return True
    if pool.name in advertisement.pools:
        return True
    return any_matches(advertisement.pool_selectors, pool.labels) if advertisement.pool_selectors else False


def _both(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def _ruled(conditions: tuple[bool | None, bool | None], no: str, maybe: str) -> Ruling:
    """Exclude a node if both conditions hold; unknown if one may hold and neither is False."""
    both = _both(*conditions)
    if both is None:
        return Ruling(None, maybe)
    return Ruling(False, no) if both else YES


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
