"""Which nodes are eligible: apply every rule to every node, and combine the answers.

The sources are those of predictor.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from provisioner.l2.election.rules import RULES, Election, Ruling, active, advertised, nobody_without_memberlist
from provisioner.l2.facts import Address, Facts, Service
from provisioner.l2.pools import pool_of

Rulings = Mapping[str, Mapping[str, Ruling]]  # node -> rule -> answer


@dataclass(frozen=True)
class Eligibility:
    """The nodes sorted by the rules' answers.

    empty: certainly nobody announces, whatever else is unknown; why: the cause's code, "" if none of the known ones.
    sure, doubtful: candidates, and possible candidates with the missing fact.
    up, up_doubtful: the same if all nodes' speakers were up.
    unknown: missing facts that concern every node.
    """

    empty: bool = False
    why: str = ""
    sure: tuple[str, ...] = ()
    doubtful: Mapping[str, str] = field(default_factory=dict)
    up: tuple[str, ...] = ()
    up_doubtful: tuple[str, ...] = ()
    ruled_out: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def classify(facts: Facts, ip: Address, service: Service) -> Eligibility:
    """Apply every rule to every node."""
    election = Election(facts, ip, service, pool_of(facts, ip))
    if advertised(election).allows is False:
        return Eligibility(True, "NO_L2ADVERTISEMENT")
    serving = active(service)
    rulings = {node.name: {name: rule(election, node) for name, rule in RULES.items()} for node in facts.nodes}
    found = _sort(rulings)
    empty = bool(rulings) and not found.sure and not found.doubtful
    why = _why_empty(rulings) if empty else ""
    if why == "NODE_SELECTOR_EMPTY" and found.up:
        why = ""  # the selectors admit a node whose speaker is down
    if not why and serving is False:
        empty, why = True, "NO_ENDPOINTS"
    if not why and empty:
        why = "SPEAKER_DOWN" if found.up else _why_none_left(rulings)
    without = nobody_without_memberlist(election)
    if not empty and without:
        empty, why = True, "NO_FAILOVER_MEMBERLIST_OFF"
    unknown = []
    if serving is None:
        unknown.append(f"the endpoints of {service.key} are unknown")
    if without is None:
        unknown.append("whether this MetalLB announces anything without memberlist (since 0.15) is unknown")
    if not rulings:
        unknown.append("no nodes are known")
    return replace(found, empty=empty, why=why, unknown=() if empty else tuple(unknown))


def _sort(rulings: Rulings) -> Eligibility:
    sure: list[str] = []
    up: list[str] = []
    up_doubtful: list[str] = []
    doubtful: dict[str, str] = {}
    out: dict[str, str] = {}
    for node, answers in rulings.items():
        others = [answer.allows for name, answer in answers.items() if name != "speaker"]
        if False not in others:
            (up_doubtful if None in others else up).append(node)
        no = next((answer.why for answer in answers.values() if answer.allows is False), "")
        maybe = next((answer.why for answer in answers.values() if answer.allows is None), "")
        if no:
            out[node] = no
        elif maybe:
            doubtful[node] = maybe
        else:
            sure.append(node)
    return Eligibility(
        sure=tuple(sure), doubtful=doubtful, up=tuple(up), up_doubtful=tuple(up_doubtful), ruled_out=out
    )


_ALIVE = ("speaker", "network", "cordon")


def _any_passes(rulings: Rulings, *rules: str) -> bool:
    return any(all(answers[rule].allows is not False for rule in rules) for answers in rulings.values())


def _why_empty(rulings: Rulings) -> str:
    """Return the configuration fault that leaves no live node, "" if there is none."""
    if not _any_passes(rulings, *_ALIVE):
        return ""
    if not _any_passes(rulings, *_ALIVE, "exclude label"):
        return "EXCLUDE_LABEL"
    return "" if _any_passes(rulings, *_ALIVE, "exclude label", "selectors") else "NODE_SELECTOR_EMPTY"


def _why_none_left(rulings: Rulings) -> str:
    """Return why no node is left although the configuration admits some."""
    if _any_passes(rulings, *_ALIVE):
        return "LOCAL_NO_CANDIDATE"
    return "" if _any_passes(rulings, "speaker") else "SPEAKER_DOWN"
