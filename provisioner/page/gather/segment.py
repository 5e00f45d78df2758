"""Who answers for which address: a sweep of pools, external IPs and the nodes' own addresses, or an earlier one."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any, get_args

from provisioner import __version__
from provisioner.errors import ProvisionerError
from provisioner.l2 import check, sweeping, targets
from provisioner.l2.collect import collector
from provisioner.l2.facts import Facts
from provisioner.l2.scan import table
from provisioner.l2.targets import Address as IP
from provisioner.page.document import Address, Owner, Segment, Source, StateName
from provisioner.page.gather.earlier import Saved
from provisioner.page.gather.parts import Context, missing, part

MOST = 1024  # addresses that are swept without being asked to; ten seconds
# As the remedy of a sweep that is not possible from here.
ELSEWHERE = (
    "on a machine on the segment: provisioner l2 scan -o json >scan.json; then here: "
    "provisioner report --from scan.json"
)


def facts_of(context: Context, note: Callable[[str], None]) -> tuple[Facts | None, Source]:
    """Return the cluster's facts, and whether they could be had."""
    if context.problem:
        return None, Source("missing", why=context.problem)
    began = time.monotonic()
    try:
        facts = collector.from_cluster(context.cluster, context.hosts, context.site, metrics=False, note=note)
    except ProvisionerError as error:
        return None, missing(error)
    return facts, part(lambda source: source, began)


def wanted(facts: Facts, vip: str = "") -> tuple[tuple[IP, ...], tuple[str, ...]]:
    """Return the addresses to ask for, and what is left out: every pool, external IP, node, and the API's own."""
    own = [*check.node_addresses(facts), *([ip_address(vip)] if vip else [])]
    external = [*targets.services_by_ip(facts)]
    ips: list[IP] = [*external]
    notes = []
    for name, held in targets.pool_ranges(facts).items():
        size = sum(one.size for one in held)
        if len(ips) + size > MOST:
            notes.append(
                f"pool {name} has {size} addresses: only those in use were asked for; "
                f"provisioner l2 scan pool:{name} asks for all"
            )
            continue
        ips += targets.for_scan([f"pool:{name}"], facts).ips
    return tuple(dict.fromkeys([*ips, *own])), tuple(notes)


def sweep(context: Context, facts: Facts, notes: tuple[str, ...]) -> Segment:
    """Ask the segment. facts: the cluster's, or those of hosts.toml."""
    began = time.monotonic()
    vip = context.site.cluster.vip
    ips, left_out = wanted(facts, vip)
    try:
        capture, addresses = sweeping.scan(facts, ips, timeout=min(4.0, context.site.timeout(1)))
    except ProvisionerError as error:
        source = missing(error)
        why = f"{source.why}{f'; {source.remedy}' if source.remedy else ''}"
        return Segment(Source("missing", why=why, remedy=ELSEWHERE), notes=notes)
    body = table.document(capture, addresses, __version__)
    found = addresses_of(body, {vip: "the API's own address"} if vip else {})
    place = str(body["run"].get("source_ip") or "")
    dropped = ("the kernel dropped frames here, so silence proves nothing",) if capture.dropped else ()
    where = f"{platform.node()} {place}".strip()
    return part(
        lambda source: Segment(
            source, str(body["run"].get("interface", "")), where, found, (*notes, *left_out, *dropped)
        ),
        began,
    )


def earlier_segment(saved: Saved) -> Segment:
    """Return the addresses of an l2report/v1. Raises ValueError, KeyError or TypeError for a malformed one."""
    run = saved.body.get("run", {})
    started = str(run.get("started") or "")
    when = datetime.fromisoformat(started).timestamp() if started else saved.when
    problem = str(saved.body.get("problem") or "")
    return Segment(
        Source("earlier", when=when, file=saved.file),
        str(run.get("interface", "")),
        str(run.get("source_ip", "")),
        addresses_of(saved.body, {}),
        (problem,) if problem else (),
    )


def addresses_of(body: Mapping[str, Any], named: Mapping[str, str]) -> tuple[Address, ...]:
    """Return the addresses of an l2report/v1 of scan or check; Services without one are left to the checks.

    named: notes for addresses.
    """
    found = []
    for entry in body["results"]:
        if not entry["ip"]:
            continue
        ip = str(ip_address(entry["ip"]))
        found.append(
            Address(
                ip,
                _state(entry),
                tuple(_owner(owner) for owner in entry["owners"]),
                str(entry.get("service", "")),
                str(entry.get("pool", "")),
                named.get(ip) or str(entry.get("note", "")),
                str(entry.get("verdict", "")),
                tuple(map(str, entry.get("evidence", ()))),
                str(entry.get("remedy", "")),
                str(entry.get("command", "")),
            )
        )
    return tuple(sorted(found, key=lambda one: (ip_address(one.ip).version, int(ip_address(one.ip)))))


def _state(entry: Mapping[str, Any]) -> StateName:
    """Return the state of a scan's entry, or what a check's verdict comes to."""
    state = entry.get("state")
    for known in get_args(StateName):
        if state == known:
            return known  # type: ignore[no-any-return]
    verdict = str(entry["verdict"])
    if verdict == "OK":
        return "right"
    return "unclear" if verdict.startswith(("UNKNOWN", "INCONCLUSIVE", "SEGMENT_ISOLATED")) else "wrong"


def _owner(entry: Mapping[str, Any]) -> Owner:
    node = str(entry.get("node") or "")
    nodes = [str(one) for one in entry.get("nodes") or ()]
    name = f"{node} {entry.get('nic') or ''}".strip() if node else " or ".join(nodes)
    only = node or (nodes[0] if len(nodes) == 1 else "")
    return Owner(str(entry["mac"]), name, only, str(entry.get("vendor") or ""))
