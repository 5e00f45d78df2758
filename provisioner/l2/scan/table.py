"""A sweep as a table for people and as l2report/v1 for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from provisioner.l2 import report
from provisioner.l2.probe.capture import Capture
from provisioner.l2.result import OwnerSeen
from provisioner.l2.scan import survey
from provisioner.l2.scan.survey import Spot, State


def table(spots: Sequence[Spot], *, colour: bool = False) -> str:
    """Return a line for each owner of each address, and one for an external IP that nobody answers for."""
    lines = [("ADDRESS", "STATE", "OWNER", "MAC", "ANSWERED", "SERVICE", "VERDICT")]
    hues = [""]
    for spot in spots:
        if spot.state is State.FREE or not (spot.owners or spot.service or spot.note):
            continue
        owners = [
            (
                _whose(owner, "" if spot.state is State.UNCLEAR else spot.note),
                owner.mac,
                " ".join(sorted(owner.answered, key="ZBU".find)),
            )
            for owner in spot.owners
        ]
        for number, (who, mac, answered) in enumerate(owners or [("-", "", "")]):
            words = spot.note if spot.state is State.NODE else spot.state.words
            state, service, verdict = (words, spot.service, spot.verdict) if number == 0 else ("", "", "")
            lines.append((str(spot.ip), state, who, mac, answered, service, verdict))
            hues.append("red" if spot.state.fault else "yellow" if spot.state is State.UNCLEAR else "")
    if len(lines) == 1:
        return ""
    # A column that would hold nothing but its heading is left out.
    widths = [
        max(len(line[column]) for line in lines) if any(line[column] for line in lines[1:]) else 0
        for column in range(7)
    ]
    return "\n".join(
        report.paint(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True) if width).rstrip(),
            hue,
            colour and bool(hue),
        )
        for line, hue in zip(lines, hues, strict=True)
    )


def _whose(owner: OwnerSeen, note: str) -> str:
    """Return an owner without its MAC, which has a column of its own."""
    if owner.nodes or owner.node:
        return survey.name(owner)
    return f"unknown, by {owner.vendor}" if owner.vendor else "-" if note else "unknown"


def summary(spots: Sequence[Spot], command: str = "provisioner l2 check {}") -> str:
    """Return the last lines: how many addresses are silent, how many are in which state, and what to type next.

    command: the next one, with {} for an address.
    """
    silent = sum(spot.asked and not spot.owners for spot in spots)
    if silent == len(spots):
        line = f"All {len(spots)} addresses are silent." if len(spots) > 1 else f"{spots[0].ip} is silent."
    else:
        line = f"{silent} of {len(spots)} addresses are silent."
    counts = {state: sum(spot.state is state for spot in spots) for state in State}
    if faults := [f"{state.words} ({count})" for state, count in counts.items() if state.fault and count]:
        line += f"\nFaults: {', '.join(faults)}."
    if counts[State.UNCLEAR]:
        line += f"\nCannot be told: {counts[State.UNCLEAR]}."
    doubtful = [spot for spot in spots if spot.state.fault] or [spot for spot in spots if spot.state is State.UNCLEAR]
    return f"{line}\nnext: {command.format(doubtful[0].ip)}" if doubtful else line


def document(capture: Capture, spots: Sequence[Spot], version: str, problem: str = "") -> dict[str, Any]:
    """Return a sweep as l2report/v1 with a `state` at each address; `verdict` is "" where none was passed."""
    made = report.document(capture, (), version, problem)
    made["results"] = [_entry(spot) for spot in spots]
    return made


def _entry(spot: Spot) -> dict[str, Any]:
    state = spot.state.name.lower()
    if spot.result is not None:
        return {**report.one(spot.result), "state": state}
    return {
        "ip": str(spot.ip),
        "family": f"ipv{spot.ip.version}",
        "service": spot.service,
        "pool": spot.pool,
        "verdict": "",
        "state": state,
        "owners": [report.owner(owner) for owner in spot.owners],
    }
