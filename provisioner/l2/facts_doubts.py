"""What facts say against themselves: contradictions, which no cluster can have, and doubts, which few have.

A file that was cut or edited by hand is the usual reason. Something that a broken cluster can have, such as one MAC on
two nodes or an advertisement of a pool that is gone, is for the diagnosis to find.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from provisioner.l2.facts import Facts
from provisioner.l2.facts_values import quoted


def contradiction(facts: Facts) -> str:
    """Return the first contradiction with its place, "" without one."""
    for number, node in enumerate(facts.nodes):
        if twice := _twice(nic.name for nic in node.nics or ()):
            return f"nodes[{number}].nics: {quoted(twice)} appears twice"
    for number, service in enumerate(facts.services or ()):
        ports = (f"{port.protocol} {port.port}" for port in service.ports)
        if twice := _twice(ports):
            return f"services[{number}].ports: {twice} appears twice, which the API refuses"
    if facts.metallb.config == "valid" and facts.metallb.config_error:
        return "metallb: config is valid, and config_error says why it is not"
    if facts.metrics is None and facts.metrics_after is not None:
        return "metrics_after is there without metrics, from before the check"
    return ""


def doubts(facts: Facts) -> tuple[str, ...]:
    """Return what does not fit together without being impossible: nodes that are named and not among `nodes`."""
    known = {node.name for node in facts.nodes}
    named = {
        "endpoints": [end.node for service in facts.services or () for end in service.endpoints or ()],
        "l2_status": [status.node for status in facts.l2_status or ()],
        "speaker_log": list(facts.speaker_log or ()),
        "metrics": list(facts.metrics or ()),
    }
    return tuple(
        f"{part} of the facts name the node {missing}, which is not among their nodes"
        for part, names in named.items()
        for missing in dict.fromkeys(name for name in names if name and name not in known)
    )


def _twice(names: Iterable[str]) -> str:
    return next((name for name, times in Counter(names).items() if times > 1), "")
