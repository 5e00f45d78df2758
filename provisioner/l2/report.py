"""A diagnosis as output: l2report/v1 for programs, one block per address for people, and the exit status."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from provisioner.l2 import grouping, phrases, terminal
from provisioner.l2.grouping import Group
from provisioner.l2.probe.capture import Capture
from provisioner.l2.result import AddressOwner, ReachedService, Result
from provisioner.text import pluralize, printable

SCHEMA = "l2report/v1"
_LABEL = 10  # columns
_NAMED = 6  # addresses of a group that are listed with their Services
_RANGES = 12  # ranges of addresses that are listed
_EXAMPLES = 3  # different coverages of OK that are listed


def exit_status(results: Iterable[Result]) -> int:
    """Return 0 if every result is OK (warnings allowed), 1 for any fault, 2 if inconclusive or without results."""
    found = list(results)
    if any(not result.ok and not result.inconclusive for result in found):
        return 1
    return 0 if found and all(result.ok for result in found) else 2


def document(capture: Capture | None, results: Iterable[Result], version: str, problem: str = "") -> dict[str, Any]:
    """Return l2report/v1. capture: None if nothing was sent; problem: why the run is incomplete, "" if it is not."""
    found = list(results)
    made: dict[str, Any] = {
        "schema": SCHEMA,
        "run": _run(capture, version),
        "results": [result_entry(result) for result in found],
        "causes": [_cause(one) for one in grouping.causes(found)],
    }
    if problem:
        made["problem"] = problem
    return made


def _run(capture: Capture | None, version: str) -> dict[str, Any]:
    if capture is None:
        return {"version": version}
    own = capture.vantage.addresses
    return {
        "version": version,
        "interface": capture.vantage.interface,
        "source_mac": capture.vantage.mac,
        "source_ip": str(own[0].ip) if own else "",
        "started": _time(capture.started),
        "sent": capture.sent,
        "received": capture.received,
        "dropped": capture.dropped,
        "pps": capture.pps,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds") if seconds else ""


def _cause(group: Group) -> dict[str, Any]:
    first = group.first
    return {
        "verdict": group.verdict,
        "culprit": group.culprit,
        "scope": group.scope,
        "addresses": [one.ip for one in group.results if one.ip],
        "services": list(dict.fromkeys(one.service for one in group.results if one.service)),
        "evidence": list(first.evidence),
        "remedy": first.remedy,
        "command": first.command,
    }


def result_entry(result: Result) -> dict[str, Any]:
    """Return one entry of l2report/v1's `results`."""
    return {
        "ip": result.ip,
        "family": result.family,
        "service": result.service,
        "pool": result.pool,
        "verdict": result.verdict,
        "confidence": result.confidence,
        "warnings": list(result.warnings),
        "predicted_leader": result.predicted_leader,
        "owners": [owner_entry(owner) for owner in result.owners],
        "evidence": list(result.evidence),
        "alternatives": list(result.alternatives),
        "remedy": result.remedy,
        "command": result.command,
        "command_changes": result.changes,
        "culprit": result.culprit,
        "covers": result.covers,
        "notes": list(result.notes),
        "services": [_reached(one) for one in result.reached],
    }


def _reached(service: ReachedService) -> dict[str, Any]:
    ports = [
        {
            "port": one.port,
            "protocol": one.protocol,
            "tried": one.tried,
            "opened": one.opened,
            "resent": one.resent,
            "asked": one.asked,
        }
        for one in service.ports
    ]
    return {"service": service.service, "ports": ports}


def owner_entry(owner: AddressOwner) -> dict[str, Any]:
    """Return one entry of a result's `owners`."""
    return {
        "mac": owner.mac,
        "node": owner.node,
        "nic": owner.nic,
        "nodes": list(owner.nodes),
        "class": owner.owner_class,
        "matched_by": owner.matched_by,
        "vendor": owner.vendor,
        "answered": sorted(owner.answered, key="ZBU".find),
        "rtt_us": list(owner.rtt_us),
    }


def render(results: Sequence[Result], *, color: bool = False, width: int = 100) -> str:
    """Return the results for people: faults last, then a summary line."""
    ranked = sorted(results, key=lambda result: (not result.ok) + (not result.ok and not result.inconclusive))
    blocks = [
        "\n".join(_block(one.results[0], color, width) if len(one.results) == 1 else _shared(one, color, width))
        for one in grouping.group(ranked)
    ]
    return "\n\n".join([*blocks, summary(results, color)])


def summary(results: Sequence[Result], color: bool = False) -> str:
    """Return the last line: how many results are OK, and the verdicts of the others."""
    total = len(results)
    ok = sum(result.ok for result in results)
    if total and ok == total:
        warned = sum(bool(result.warnings) for result in results)
        line = f"{total} of {total} OK" + (f", {warned} with warnings." if warned else ".")
        return _paint(line, "green", color)
    counts: dict[str, int] = {}
    for result in results:
        if not result.ok:
            counts[result.verdict] = counts.get(result.verdict, 0) + 1
    codes = ", ".join(f"{code} {count}" if count > 1 else code for code, count in counts.items())
    faults = any(not result.ok and not result.inconclusive for result in results)
    line = f"{ok} of {total} OK: {codes}." if codes else "Nothing was checked."
    return _paint(line, "red" if faults else "yellow", color)


def _block(result: Result, color: bool, width: int) -> list[str]:
    name = result.ip or result.service
    head = [_paint(result.verdict, _color(result), color, bold=True), _paint(name, "", color, bold=True)]
    about = [part for part in (result.service if result.ip else "", result.pool and f"pool {result.pool}") if part]
    lines = ["  ".join([*head, *([f"({', '.join(about)})"] if about else [])])]
    lines += _meaning(result, width)
    lines += _section("covers", [f"{result.covers}."] if result.covers else [], width)
    lines += _section("owner", [describe_owner(owner) for owner in result.owners], width)
    if not result.owners and result.ip and result.verdict not in ("INCONCLUSIVE_PROBE_LOCATION", "ADDRESS_UNUSABLE"):
        lines += _section("owner", ["no reply"], width)
    lines += _section("evidence", result.evidence, width)
    return [*lines, *_advice(result, color, width)]


def _meaning(result: Result, width: int) -> list[str]:
    proven = result.confidence == "certain" or result.ok or result.inconclusive
    sentence = phrases.VERDICTS.get(result.verdict, "") + ("" if proven else f" ({result.confidence})")
    return textwrap.wrap(sentence, width, initial_indent="  ", subsequent_indent="  ")


def _advice(result: Result, color: bool, width: int) -> list[str]:
    """Return the warnings, what else it may be, the remedy and the command."""
    lines = _section("warning", [f"{phrases.WARNINGS.get(code, '')} ({code})" for code in result.warnings], width)
    lines += _section("or", _alternatives(result), width)
    if not result.ok or result.warnings:
        lines += _section("remedy", [result.remedy] if result.remedy else [], width)
        # A command is never wrapped, so that it can be copied. What changes something is not just the next look.
        label = "fix" if result.changes else "next"
        lines += [f"  {label:<{_LABEL}}{_paint(result.command, 'cyan', color)}"] if result.command else []
    return lines


def _alternatives(result: Result) -> list[str]:
    """Return what else it may be; where the cause is unknown, what would mend it matters more than its code."""
    found = []
    for number, code in enumerate(result.alternatives):
        what = phrases.VERDICTS.get(code, "")
        remedy = result.alternative_remedies[number] if number < len(result.alternative_remedies) else ""
        found.append(f"{what} {remedy}".rstrip() if result.verdict == "UNKNOWN" else f"{what} ({code})")
    return found


def _shared(group: Group, color: bool, width: int) -> list[str]:
    """Return one block for results that share a cause: the addresses, and the evidence of one of them."""
    first = group.first
    head = [_paint(group.verdict, _color(first), color, bold=True), _paint(_counted(group), "", color, bold=True)]
    about = [part for part in (group.scope, "" if first.ok else group.culprit) if part]
    if len(about) == 2 and about[1] in about[0]:
        about.pop()
    lines = ["  ".join([*head, *([f"({', '.join(about)})"] if about else [])])]
    lines += _meaning(first, width)
    lines += _section("addresses", _listed(group), width)
    example = first.ip or first.service
    if first.ok:
        covers = dict.fromkeys(one.covers for one in group.results if one.covers)
        shown = [f"{text}." for text in list(covers)[:_EXAMPLES]]
        more = len(covers) - len(shown)
        lines += _section("covers", [*shown, *([f"and {more} other combinations (-o json)."] if more else [])], width)
    else:
        lines += _section("evidence", [f"{example}, for example:", *first.evidence], width)
    return [*lines, *_advice(first, color, width)]


def _counted(group: Group) -> str:
    pending = sum(not one.ip for one in group.results)
    addresses = len(group.results) - pending
    parts = [f"{addresses} addresses" if addresses > 1 else f"{addresses} address"] if addresses else []
    return " and ".join([*parts, *([pluralize(pending, "Service")] if pending else [])])


def _listed(group: Group) -> list[str]:
    """Return the addresses of a group, with their Services if they are few, within some lines."""
    if len(group.results) <= _NAMED:
        return [f"{one.ip}  {one.service}".strip() for one in group.results]
    found = list(group.addresses)
    shown = found[:_RANGES]
    return [
        ", ".join([*shown, *([f"and {len(found) - len(shown)} more (-o json)"] if len(found) > len(shown) else [])])
    ]


def describe_owner(owner: AddressOwner) -> str:
    """Return an owner for people: node, interface, MAC, how they were matched, and what answers there."""
    if owner.node:
        who = f"{owner.node} {owner.nic}".strip()
    elif owner.nodes:
        who = " or ".join(owner.nodes)
    else:
        who = "not a cluster node" if owner.owner_class == "foreign" else "unknown host"
        return f"{who}, {owner.mac}" + (f" ({owner.vendor})" if owner.vendor else "")
    about = (phrases.MATCHED.get(owner.matched_by, ""), phrases.CLASSES.get(owner.owner_class, ""))
    return "; ".join([f"{who}, {owner.mac}", *filter(None, about)])


def _section(label: str, entries: Iterable[str], width: int) -> list[str]:
    lines = []
    for number, entry in enumerate(map(printable, entries)):
        first = f"  {label if number == 0 else '':<{_LABEL}}"
        lines += textwrap.wrap(
            entry, width, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False
        )
    return lines


def _color(result: Result) -> str:
    if result.ok:
        return "yellow" if result.warnings else "green"
    return "yellow" if result.inconclusive else "red"


def _paint(text: str, name: str, color: bool, *, bold: bool = False) -> str:
    return terminal.style(text, name, bold=bold) if color else text
