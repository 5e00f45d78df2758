"""A sweep as a table for people, and as l2report/v1 for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from provisioner.l2 import report, terminal
from provisioner.l2.probe.capture import Capture
from provisioner.l2.result import AddressOwner
from provisioner.l2.scan import survey
from provisioner.l2.scan.survey import AddressState, SweptAddress


def render(addresses: Sequence[SweptAddress], *, color: bool = False) -> str:
    """Return one line per owner of each address, and one for each external IP without a reply."""
    lines = [("ADDRESS", "STATE", "OWNER", "MAC", "ANSWERED", "SERVICE", "VERDICT")]
    colors = [""]
    for address in addresses:
        if address.state is AddressState.FREE or not (address.owners or address.service or address.note):
            continue
        owners = [
            (
                _owner(owner, "" if address.state is AddressState.UNCLEAR else address.note),
                owner.mac,
                " ".join(sorted(owner.answered, key="ZBU".find)),
            )
            for owner in address.owners
        ]
        for number, (who, mac, answered) in enumerate(owners or [("-", "", "")]):
            label = address.note if address.state is AddressState.NODE else address.state.label
            state, service, verdict = (label, address.service, address.verdict) if number == 0 else ("", "", "")
            lines.append((str(address.ip), state, who, mac, answered, service, verdict))
            colors.append("red" if address.state.fault else "yellow" if address.state is AddressState.UNCLEAR else "")
    if len(lines) == 1:
        return ""
    # A column without entries is left out.
    widths = [
        max(len(line[column]) for line in lines) if any(line[column] for line in lines[1:]) else 0
        for column in range(7)
    ]
    texts = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True) if width).rstrip()
        for line in lines
    ]
    return "\n".join(
        terminal.style(text, name) if color and name else text for text, name in zip(texts, colors, strict=True)
    )


def _owner(owner: AddressOwner, note: str) -> str:
    """Return an owner without its MAC, which has its own column."""
    if owner.nodes or owner.node:
        return survey.owner_label(owner)
    return f"unknown ({owner.vendor})" if owner.vendor else "-" if note else "unknown"


def summary(addresses: Sequence[SweptAddress], command: str = "provisioner l2 check {}") -> str:
    """Return the last lines: how many addresses are silent, the faults by state, and the next command.

    command: the next command, with {} for an address.
    """
    silent = sum(address.probed and not address.owners for address in addresses)
    line = f"{silent} of {len(addresses)} addresses silent."
    counts = {state: sum(address.state is state for address in addresses) for state in AddressState}
    if faults := [f"{state.label} ({count})" for state, count in counts.items() if state.fault and count]:
        line += f"\nFaults: {', '.join(faults)}."
    if counts[AddressState.UNCLEAR]:
        line += f"\nInconclusive: {counts[AddressState.UNCLEAR]}."
    suspects = [address for address in addresses if address.state.fault]
    suspects += [address for address in addresses if address.state is AddressState.UNCLEAR]
    return f"{line}\nnext: {command.format(suspects[0].ip)}" if suspects else line


def document(capture: Capture, addresses: Sequence[SweptAddress], version: str, problem: str = "") -> dict[str, Any]:
    """Return a sweep as l2report/v1 with a `state` and a `note` per address.

    `verdict` is "" for those not diagnosed.
    """
    return report.document(capture, (), version, problem) | {"results": [_entry(address) for address in addresses]}


def _entry(address: SweptAddress) -> dict[str, Any]:
    state = address.state.name.lower()
    if address.result is not None:
        return {**report.result_entry(address.result), "state": state, "note": address.note}
    return {
        "ip": str(address.ip),
        "family": f"ipv{address.ip.version}",
        "service": address.service,
        "pool": address.pool,
        "verdict": "",
        "state": state,
        "note": address.note,
        "owners": [report.owner_entry(owner) for owner in address.owners],
    }
