"""One scan end to end: where to ask from, the sweep, and the state of each address."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.errors import Inconclusive
from provisioner.l2 import check, diagnosis, owners, targets
from provisioner.l2.facts import Facts
from provisioner.l2.probe import interfaces
from provisioner.l2.probe.capture import Capture
from provisioner.l2.scan import survey
from provisioner.l2.scan.survey import SweptAddress
from provisioner.l2.targets import Address


def scan(
    facts: Facts | None,
    ips: Sequence[Address],
    interface: str = "",
    *,
    pps: int = check.PPS,
    arp_probe: bool = True,
    timeout: float = 1.0,
) -> tuple[Capture, tuple[SweptAddress, ...]]:
    """Sweep addresses; return the capture and the state of each address, with a verdict for those that Services have.

    interface: to ask from, "" for one on the segment. Raises Inconclusive (no CAP_NET_RAW, off the segment, a node).
    """
    machine = interfaces.read()
    place = check.choose_interface(machine, ips, facts, interface)
    if set(ips) <= (own := interfaces.own_addresses(machine)):
        targets.refuse_unusable(ips, facts, own=own)
    if facts is not None and (node := check.on_a_node(interfaces.vantage(place), facts, ips)) is not None:
        raise Inconclusive(" ".join([*node.evidence, node.remedy]))
    services = targets.services_by_ip(facts)
    assigned, others = [ip for ip in ips if ip in services], [ip for ip in ips if ip not in services]
    capture = check.probe_segment(facts, assigned, place, pps=pps, arp_probe=arp_probe, timeout=timeout, others=others)
    known = owners.from_facts(facts, capture.answers) if facts is not None else owners.NodeMacs()
    found = survey.owners_by_address(capture, known)
    results = {}
    if wanted := survey.to_diagnose(capture, facts, ips):
        results = dict(zip(wanted, diagnosis.diagnose_all(capture, facts, wanted), strict=True))
    found |= {ip: result.owners for ip, result in results.items()}
    return capture, survey.classify(ips, capture, facts, results, found)
