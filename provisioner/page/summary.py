"""The page's first screen: one line for each part, and what needs attention, the worst first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from provisioner.page.document import Certificate, Checked, Document, Source
from provisioner.text import join_words, pluralize

Level = Literal["fault", "warning", "unknown", "ok"]
ORDER: tuple[Level, ...] = ("fault", "warning", "unknown", "ok")
TITLES = {
    "nodes": "Nodes",
    "segment": "Segment",
    "pools": "Address pools",
    "checks": "Checks",
    "failovers": "Failovers",
    "versions": "Versions",
    "certificates": "Certificates",
    "drift": "Drift",
    "backup": "Backup",
}
DAY = 86400.0
# As the check of certificates: days, and share of the period.
SOON, SOON_SHARE = 30.0, 0.1
LATER, LATER_SHARE = 90.0, 0.25


@dataclass(frozen=True)
class Tile:
    """A part at a glance. part: a key of TITLES."""

    part: str
    level: Level
    headline: str
    detail: str = ""


@dataclass(frozen=True)
class Attention:
    """Something to look at. subject and text read as one sentence."""

    part: str
    level: Level
    subject: str
    text: str
    code: str = ""
    remedy: str = ""


def tiles(document: Document) -> tuple[Tile, ...]:
    """Return a tile for each part."""
    makers = (_nodes, _segment, _pools, _checks, _failovers, _versions, _certificates, _drift)
    return (*(make(document) for make in makers), Tile("backup", "unknown", "None known"))


def verdict(document: Document) -> tuple[Level, str]:
    """Return the whole report in a few words."""
    found = attention(document)
    faults = sum(one.level == "fault" for one in found)
    warnings = sum(one.level == "warning" for one in found)
    lost = len(document.missing)
    words = [pluralize(faults, "fault")] if faults else []
    words += [pluralize(warnings, "thing") + " to look at"] if warnings else []
    words += [f"{pluralize(lost, 'part')} missing"] if lost else []
    if words:
        level: Level = "fault" if faults else "warning" if warnings else "unknown"
        return level, join_words(words)
    skipped = [TITLES[name].lower() for name, one in document.sources.items() if one.state == "skipped"]
    skipped = [name for name in skipped if name != "failovers"]
    if skipped:
        return "unknown", f"No fault found, without {join_words(skipped)}"
    return "ok", "In order"


def attention(document: Document) -> tuple[Attention, ...]:
    """Return what needs attention: each thing once, though several parts may tell of it."""
    found = [*_attention(document)]
    return tuple(sorted(found, key=lambda one: ORDER.index(one.level)))


def _attention(document: Document) -> Iterator[Attention]:
    problem = document.problem
    if problem:
        yield Attention("nodes", "fault", "The Kubernetes API", f"is not available: {problem}", "API_UNREACHABLE")
    for one in document.checks.findings:
        if not one.ok and not (problem and one.code == "API_UNREACHABLE"):
            yield Attention("checks", level_of(one), one.subject, one.detail, one.code, one.remedy)
    yield from _unchecked(document)
    if number := len(document.drift.differences):
        verb = "differs" if number == 1 else "differ"
        yield Attention("drift", "warning", pluralize(number, "thing"), f"{verb} from hosts.toml")
    for name, source in document.missing.items():
        if not (problem and source.why == problem):
            yield Attention(name, "unknown", TITLES[name], f"is not available: {source.why}", remedy=source.remedy)


def _unchecked(document: Document) -> Iterator[Attention]:
    """Yield the faults that no check has told of."""
    covered = {one.check for one in document.checks.findings}
    judged = {one.subject.partition(" ")[0] for one in document.checks.findings if one.code.startswith("L2_")}
    for row in document.nodes.rows if document.nodes.source.had and "nodes" not in covered else ():
        if not row.ready:
            level: Level = "warning" if row.status.startswith("Ready") else "fault"
            yield Attention("nodes", level, row.name, f"is {row.status}")
    for address in document.segment.addresses:
        if address.fault and address.ip not in judged:
            text = address.evidence[0] if address.evidence else STATES[address.state]
            yield Attention("segment", "fault", address.ip, text, address.verdict, address.remedy)
    for one in document.certificates.found if "certificates" not in covered else ():
        if certificate_level(one, document.taken) == "fault":
            yield Attention("certificates", "fault", one.host, f"{one.name} {remaining(one, document.taken)}")


STATES = {
    "free": "free",
    "right": "assigned, answered by the right node",
    "wrong": "assigned, faulty",
    "stranger": "a foreign host in a pool",
    "duplicate": "answered by two or more",
    "node": "a node, a router or this machine",
    "taken": "in use",
    "unclear": "inconclusive",
}


def level_of(finding: Checked) -> Level:
    """Return how bad a finding is."""
    if finding.ok:
        return "ok"
    return "unknown" if finding.inconclusive else "fault"


def certificate_level(certificate: Certificate, now: float) -> Level:
    """Return how soon a certificate expires, by the limits of the check of certificates."""
    if certificate.ends is None or certificate.begins is None:
        return "fault"
    left, period = certificate.ends - now, certificate.ends - certificate.begins
    if left < min(SOON * DAY, SOON_SHARE * period):
        return "fault"
    return "warning" if left < min(LATER * DAY, LATER_SHARE * period) else "ok"


def remaining(certificate: Certificate, now: float) -> str:
    """Return when a certificate expires, in words."""
    if certificate.ends is None:
        return "cannot be read"
    days = int(abs(certificate.ends - now) // DAY)
    text = pluralize(days, "day") if days else "less than a day"
    return f"expires in {text}" if certificate.ends > now else f"expired {text} ago"


def _absent(part: str, source: Source) -> Tile | None:
    if source.state == "missing":
        return Tile(part, "unknown", "Not available")
    if source.state == "skipped":
        return Tile(part, "unknown", "Left out" if source.why.startswith("left out") else "None known")
    return None


def _nodes(document: Document) -> Tile:
    if absent := _absent("nodes", document.nodes.source):
        return absent
    rows = document.nodes.rows
    ready = sum(row.status.startswith("Ready") for row in rows)
    level: Level = "ok" if all(row.ready for row in rows) else "warning" if ready == len(rows) else "fault"
    cordoned = sum("cordoned" in row.status for row in rows)
    return Tile("nodes", level, f"{ready} of {len(rows)} Ready", f"{cordoned} cordoned" if cordoned else "")


def _segment(document: Document) -> Tile:
    if absent := _absent("segment", document.segment.source):
        return absent
    addresses = document.segment.addresses
    faults = sum(one.fault for one in addresses)
    unclear = sum(one.state == "unclear" for one in addresses)
    right = sum(one.state == "right" for one in addresses)
    if faults:
        return Tile("segment", "fault", f"{faults} faulty {'address' if faults == 1 else 'addresses'}")
    if unclear:
        return Tile("segment", "unknown", f"{unclear} inconclusive")
    if silent := sum(one.note.startswith("node ") and not one.owners for one in addresses):
        return Tile("segment", "fault", f"{pluralize(silent, 'node')} without an answer")
    if not right:
        return Tile("segment", "unknown", "No external IP known")
    return Tile("segment", "ok", f"{right} external {'IP' if right == 1 else 'IPs'} right")


def _pools(document: Document) -> Tile:
    pools = document.pools.pools
    if not document.pools.source.had:
        return _absent("pools", document.pools.source) or Tile("pools", "unknown", "Unknown")
    used = [len(pool.used) for pool in pools if pool.used is not None]
    size = sum(pool.size for pool in pools)
    level: Level = "warning" if any(pool.used is not None and len(pool.used) >= pool.size for pool in pools) else "ok"
    return Tile("pools", level, f"{sum(used)} of {size} in use" if used else pluralize(len(pools), "pool"))


def _checks(document: Document) -> Tile:
    if absent := _absent("checks", document.checks.source):
        return absent
    findings = document.checks.findings
    failed = sum(not one.ok and not one.inconclusive for one in findings)
    unclear = sum(one.inconclusive for one in findings)
    passed = sum(one.ok and not one.skipped for one in findings)
    level: Level = "fault" if failed else "unknown" if unclear else "ok"
    head = f"{failed} failed" if failed else f"{unclear} inconclusive" if unclear else f"{passed} passed"
    return Tile("checks", level, head, f"{passed} passed" if failed or unclear else "")


def _failovers(document: Document) -> Tile:
    found = document.failovers
    if (absent := _absent("failovers", found.source)) and not found.watched:
        return absent
    if found.lanes or found.events:
        faults = sum(lane.faults for lane in found.lanes)
        seen: Level = "warning" if faults else "ok"
        return Tile("failovers", seen, f"{pluralize(faults, 'fault')} on the wire")
    if found.watched:
        return Tile("failovers", "ok", f"{len(found.watched)} recorded")
    return Tile("failovers", "ok", "Nothing reported")


def _versions(document: Document) -> Tile:
    if absent := _absent("versions", document.versions.source):
        return absent
    newer = sum(one.newer for one in document.versions.components)
    kubernetes = next((one.running[-1] for one in document.versions.components if one.running), document.kubernetes)
    return Tile("versions", "ok", f"Kubernetes {kubernetes}", f"newer known: {newer}" if newer else "")


def _certificates(document: Document) -> Tile:
    if absent := _absent("certificates", document.certificates.source):
        return absent
    found = document.certificates.found
    levels = [certificate_level(one, document.taken) for one in found]
    worst: Level = next((level for level in ORDER if level in levels), "unknown")
    dated = [one for one in found if one.ends is not None]
    if not dated:
        return Tile("certificates", worst, "None found")
    first = min(dated, key=lambda one: one.ends or 0.0)
    return Tile("certificates", worst, f"First {remaining(first, document.taken)}")


def _drift(document: Document) -> Tile:
    if absent := _absent("drift", document.drift.source):
        return absent
    number, unseen = len(document.drift.differences), len(document.drift.unseen)
    level: Level = "warning" if number else "unknown" if unseen else "ok"
    head = pluralize(number, "difference") if number else "No difference seen" if unseen else "No difference"
    return Tile("drift", level, head, f"{unseen} not seen" if unseen else "")


def clock(when: float) -> str:
    """Return a Unix time for people, in the local time zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(when))
    except (OverflowError, ValueError, OSError):  # a certificate may be valid for ever
        return "unknown"
