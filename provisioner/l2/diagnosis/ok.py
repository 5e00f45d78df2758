"""Whether an address is proven to be as it should be, and the sentences that prove it."""

from __future__ import annotations

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.connection import connections
from provisioner.l2.diagnosis.sentences import answered, owner
from provisioner.l2.probe.arp import Kind
from provisioner.l2.result import AddressOwner, Confidence
from provisioner.text import join_words, pluralize


def is_ok(case: Case) -> bool:
    """Tell whether it is proven that exactly one owner answers, a node's, and that its Service is served there.

    Each part has to be seen: a port that was not tried, a frame that was lost here and a Service that is not known
    prove nothing.
    """
    seen = case.owner
    if seen is None or not seen.node or seen.owner_class == "foreign" or not {"Z", "B"} & set(seen.answered):
        return False
    if case.capture.dropped or case.unassigned or not _own_answer(case, seen):
        return False
    return case.served(seen.mac) is True or (case.tcp_ports == () and not case.outcomes(seen.mac))


def _own_answer(case: Case, seen: AddressOwner) -> bool:
    """Tell whether an owner is no proxy, which may answer for the node's own address just as well.

    A MAC of a node's own list is the node's. Any other has to have answered a question from nobody, if one was asked.
    """
    return seen.matched_by == "inventory" or "Z" in seen.answered or Kind.PROBE not in case.asked


def confidence(case: Case) -> Confidence:
    """Return how sure OK is: of whose the MAC is, of which Service it is, of a handover that has just ended."""
    seen = case.owner
    proven = seen is not None and (seen.matched_by == "inventory" or "Z" in seen.answered or case.ip.version == 6)
    return "certain" if proven and case.service is not None and case.handover is None else "likely"


def evidence(case: Case) -> tuple[str, ...]:
    """Return the proof that an address is as it should be."""
    seen = case.owner
    assert seen is not None
    said = [answered(case, seen)]
    if case.prediction.leader == seen.node:
        said.append(
            f"{seen.node} is the leader by MetalLB's election among {join_words(case.prediction.candidates or ())}."
        )
    if case.tcp_ports == () and not case.outcomes(seen.mac):
        said.append("Its Service has no TCP port, so whether it is served was not tried.")
    else:
        said.append(connections(case, seen))
        tried = case.outcomes(seen.mac)
        if left := [port for port in case.tcp_ports or () if port not in tried]:
            said.append(f"Not tried: TCP port {join_words(left)}.")
    others = {one.answered_from for one in case.handshakes(seen.mac) if one.answered_from not in ("", seen.mac)}
    if others:
        said.append(f"The connection's answer came from {join_words(sorted(others))}: another way back than there.")
    return tuple(said)


def handover_note(case: Case) -> str:
    """Return the sentence on a handover that was seen; "" without one."""
    if case.handover is None or case.left is None or case.owner is None:
        return ""
    lasting = (
        f"for {case.handover.overlap:.2f} s both answered" if case.handover.overlap else "they never answered together"
    )
    since = pluralize(case.handover.questions, "question")
    return (
        f"{owner(case.left)} handed {case.ip} over to {owner(case.owner)} during the run: {lasting}, and the last "
        f"{since} {owner(case.owner)} answered alone."
    )
