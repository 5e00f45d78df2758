"""Tell a diagnosis: l2report/v1 for programs, one block an address for people, and the exit status."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from provisioner.l2 import phrases
from provisioner.l2.probe.capture import Capture
from provisioner.l2.result import OwnerSeen, Result

SCHEMA = "l2report/v1"
_LABEL = 10  # columns


def exit_status(results: Iterable[Result]) -> int:
    """Return 0 when all is well (warnings allowed), 1 for a fault, 2 when nothing, or too little, can be told."""
    found = list(results)
    if any(not result.ok and not result.inconclusive for result in found):
        return 1
    return 0 if found and all(result.ok for result in found) else 2


def document(capture: Capture | None, results: Iterable[Result], version: str, problem: str = "") -> dict[str, Any]:
    """Return l2report/v1. capture: None when nothing was sent; problem: why it is incomplete, "" when it is not."""
    made: dict[str, Any] = {
        "schema": SCHEMA,
        "run": _run(capture, version),
        "results": [one(item) for item in results],
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


def one(result: Result) -> dict[str, Any]:
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
        "owners": [owner(item) for item in result.owners],
        "evidence": list(result.evidence),
        "alternatives": list(result.alternatives),
        "remedy": result.remedy,
        "command": result.command,
    }


def owner(seen: OwnerSeen) -> dict[str, Any]:
    """Return one entry of a result's `owners`."""
    return {
        "mac": seen.mac,
        "node": seen.node,
        "nic": seen.nic,
        "nodes": list(seen.nodes),
        "class": seen.owner_class,
        "matched_by": seen.matched_by,
        "vendor": seen.vendor,
        "answered": sorted(seen.answered, key="ZBU".find),
        "rtt_us": list(seen.rtt_us),
    }


def text(results: Sequence[Result], *, colour: bool = False, width: int = 100) -> str:
    """Return the results for a person: faults last, where the eye ends, then a line that counts them."""
    ranked = sorted(results, key=lambda result: (not result.ok) + (not result.ok and not result.inconclusive))
    blocks = ["\n".join(_block(result, colour, width)) for result in ranked]
    return "\n\n".join([*blocks, summary(results, colour)])


def summary(results: Sequence[Result], colour: bool = False) -> str:
    """Return the last line: how many are well, how many are not, and of which kinds."""
    total = len(results)
    well = sum(result.ok for result in results)
    if total and well == total:
        warned = sum(bool(result.warnings) for result in results)
        line = "It is as it should be." if total == 1 else f"All {total} are as they should be."
        return paint(f"{line[:-1]}, with warnings for {warned}." if warned and total > 1 else line, "green", colour)
    counts: dict[str, int] = {}
    for result in results:
        if not result.ok:
            counts[result.verdict] = counts.get(result.verdict, 0) + 1
    named = ", ".join(f"{code} {count}" if count > 1 else code for code, count in counts.items())
    line = "It is not as it should be" if total == 1 else f"{well} of {total} are as they should be"
    faults = any(not result.ok and not result.inconclusive for result in results)
    return paint(f"{line}: {named}." if named else "Nothing was checked.", "red" if faults else "yellow", colour)


def _block(result: Result, colour: bool, width: int) -> list[str]:
    name = result.ip or result.service
    head = [paint(result.verdict, _hue(result), colour, bold=True), paint(name, "", colour, bold=True)]
    about = [part for part in (result.service if result.ip else "", result.pool and f"pool {result.pool}") if part]
    sure = phrases.CONFIDENCE[result.confidence]
    sentence = phrases.VERDICTS.get(result.verdict, "")
    lines = ["  ".join([*head, *([f"({', '.join(about)})"] if about else [])])]
    doubt = f" ({sure}, not certain)" if sure and not result.ok and not result.inconclusive else ""
    lines += textwrap.wrap(sentence + doubt, width, initial_indent="  ", subsequent_indent="  ")
    lines += _section("owner", [owner_words(seen) for seen in result.owners], width)
    if not result.owners and result.ip and result.verdict != "INCONCLUSIVE_PROBE_LOCATION":
        lines += _section("owner", ["nobody answered"], width)
    lines += _section("evidence", result.evidence, width)
    lines += _section("warning", [f"{phrases.WARNINGS.get(code, '')} ({code})" for code in result.warnings], width)
    lines += _section("or", [f"{phrases.VERDICTS.get(code, '')} ({code})" for code in result.alternatives], width)
    if not result.ok or result.warnings:
        lines += _section("remedy", [result.remedy] if result.remedy else [], width)
        # A command is never wrapped: it is there to be copied.
        lines += [f"  {'next':<{_LABEL}}{paint(result.command, 'cyan', colour)}"] if result.command else []
    return lines


def owner_words(seen: OwnerSeen) -> str:
    """Return an owner as a person reads it: node, network card, MAC, and how that is known."""
    if seen.node:
        who = f"{seen.node}{f' {seen.nic}' if seen.nic else ''}"
    elif seen.nodes:
        who = f"{' or '.join(seen.nodes)}"
    else:
        stranger = "no node of the cluster" if seen.owner_class == "foreign" else "unknown machine"
        who = f"{stranger}{f', made by {seen.vendor}' if seen.vendor else ''}"
    known = [phrases.MATCHED.get(seen.matched_by, ""), phrases.CLASSES.get(seen.owner_class, "")]
    if not seen.nodes and not seen.node:
        known = [word for word in known[1:] if seen.owner_class != "foreign"]
    return f"{who}, {seen.mac}" + "".join(f"; {word}" for word in known if word)


def _section(label: str, entries: Iterable[str], width: int) -> list[str]:
    lines = []
    for number, entry in enumerate(entries):
        first = f"  {label if number == 0 else '':<{_LABEL}}"
        lines += textwrap.wrap(
            entry, width, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False
        )
    return lines


def _hue(result: Result) -> str:
    if result.ok:
        return "yellow" if result.warnings else "green"
    return "yellow" if result.inconclusive else "red"


def paint(text: str, hue: str, colour: bool, *, bold: bool = False) -> str:
    """Return text in a colour, or as it is where there are no colours."""
    if not colour:
        return text
    import click

    return click.style(text, fg=hue or None, bold=bold or None)


def columns(terminal: bool) -> int:
    """Return how many columns to write in: the terminal's, 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns if terminal else 100


def colours(environment: Mapping[str, str], terminal: bool) -> bool:
    """Tell whether to use colours: on a terminal only, and not where NO_COLOR (no-color.org) or TERM forbid it."""
    return terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
