"""Which nodes stand for election: every rule asked about every node, and what it comes to.

The sources are those of election.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from provisioner.l2.election.rules import RULES, Election, Ruling, active, advertised, nobody_without_memberlist
from provisioner.l2.facts import Address, Facts, Service
from provisioner.l2.pools import pool_of


@dataclass(frozen=True)
class Eligibility:
    """The nodes sorted by what the rules say of them.

    empty: it is certain that nobody announces, whatever else is unknown; why: the code of the cause, "" for none of
    the known ones.
    sure, doubtful: candidates, and nodes that may be, with what is not known of each.
    up, up_doubtful: the same if the speakers of all nodes were up.
    unknown: what is not known and concerns every node.
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
    """Ask every rule about every node."""
    election = Election(facts, ip, service, pool_of(facts, ip))
    if advertised(election).allows is False:
        return Eligibility(True, "NO_L2ADVERTISEMENT")
    serving = active(service)
    said = {node.name: {name: rule(election, node) for name, rule in RULES.items()} for node in facts.nodes}
    found = _sort(said)
    empty = bool(said) and not found.sure and not found.doubtful
    why = _why_empty(said) if empty else ""
    if why == "NODE_SELECTOR_EMPTY" and found.up:
        why = ""  # the selectors admit a node, and only its speaker is not up
    if not why and serving is False:
        empty, why = True, "NO_ENDPOINTS"
    if not why and empty:
        why = "SPEAKER_DOWN" if found.up else _why_none_left(said)
    without = nobody_without_memberlist(election)
    if not empty and without:
        empty, why = True, "NO_FAILOVER_MEMBERLIST_OFF"
    unknown = []
    if serving is None:
        unknown.append(f"the endpoints of {service.key} are not known")
    if without is None:
        unknown.append("whether this MetalLB announces anything without memberlist (since 0.15) is not known")
    if not said:
        unknown.append("no node is known")
    return replace(found, empty=empty, why=why, unknown=() if empty else tuple(unknown))


def _sort(said: Mapping[str, Mapping[str, Ruling]]) -> Eligibility:
    sure: list[str] = []
    up: list[str] = []
    up_doubtful: list[str] = []
    doubtful: dict[str, str] = {}
    out: dict[str, str] = {}
    for node, answers in said.items():
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


def _left(said: Mapping[str, Mapping[str, Ruling]], *rules: str) -> bool:
    return any(all(answers[rule].allows is not False for rule in rules) for answers in said.values())


def _why_empty(said: Mapping[str, Mapping[str, Ruling]]) -> str:
    """Return the configuration's fault for which no live node is left, "" for none."""
    if not _left(said, *_ALIVE):
        return ""
    if not _left(said, *_ALIVE, "exclude label"):
        return "EXCLUDE_LABEL"
    return "" if _left(said, *_ALIVE, "exclude label", "selectors") else "NODE_SELECTOR_EMPTY"


def _why_none_left(said: Mapping[str, Mapping[str, Ruling]]) -> str:
    """Return why no node is left although the configuration admits some."""
    if _left(said, *_ALIVE):
        return "LOCAL_NO_CANDIDATE"
    return "" if _left(said, "speaker") else "SPEAKER_DOWN"
