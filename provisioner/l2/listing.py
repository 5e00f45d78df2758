"""Show a sweep: as a table for people, as JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provisioner.l2.owners import Known
    from provisioner.l2.scan import Sweep
    from provisioner.site import Pool


@dataclass(frozen=True)
class Row:
    """One owner of one address. answered: the kinds of questions, "Z" or "B"; owner: as people read it."""

    ip: str
    mac: str
    owner: str
    node: str
    nic: str
    matched_by: str
    answered: tuple[str, ...]
    rtt_us: tuple[int, ...]
    note: str


def rows(result: Sweep, known: Known) -> list[Row]:
    """Return a row for each owner of each address of a sweep, in the order of its targets."""
    found = []
    for ip in result.targets:
        if ip in result.own:
            found.append(Row(str(ip), result.interface.mac, "this machine", "", "", "", (), (), ""))
        macs = result.owners.get(ip, ())
        for mac in macs:
            owner = known.owner(mac)
            heard = [answer for answer in result.answers if answer.ip == ip and answer.mac == mac]
            found.append(
                Row(
                    ip=str(ip),
                    mac=mac,
                    owner=" and ".join(owner.nodes) or "unknown",
                    node=owner.node,
                    nic=owner.nic,
                    matched_by=owner.matched_by,
                    answered=tuple(dict.fromkeys(answer.kind.value for answer in heard)),
                    rtt_us=tuple(round(answer.rtt * 1e6) for answer in heard),
                    note=f"one of {len(macs)} owners" if len(macs) > 1 else "",
                )
            )
    return found


def table(rows: Sequence[Row], asked: int) -> str:
    """Return rows as text for people. asked: how many addresses were asked for."""
    lines = [("ADDRESS", "MAC", "OWNER", "ANSWERED", "")]
    lines += [(row.ip, row.mac, row.owner, " ".join(row.answered), row.note) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    silent = asked - len({row.ip for row in rows})
    return f"{text}\n{silent} of {asked} addresses are silent." if rows else f"All {asked} addresses are silent."


def report(result: Sweep, rows: Sequence[Row], pps: int, pools: Sequence[Pool] = ()) -> dict[str, Any]:
    """Return a sweep as l2report/v1, without verdicts: a scan passes none."""
    by_ip: dict[str, list[Row]] = {str(ip): [] for ip in result.targets}
    for row in rows:
        by_ip[row.ip].append(row)
    return {
        "schema": "l2report/v1",
        "run": {
            "interface": result.interface.name,
            "source_mac": result.interface.mac,
            "started": result.started,
            "sent": result.sent,
            "received": len(result.answers),
            "dropped": result.dropped,
            "pps": pps,
        },
        "results": [
            {
                "ip": ip,
                "family": "ipv4",
                "pool": next((pool.name for pool in pools if ip in pool), ""),
                "owners": [
                    {
                        "mac": row.mac,
                        "node": row.node,
                        "nic": row.nic,
                        "matched_by": row.matched_by,
                        "answered": list(row.answered),
                        "rtt_us": list(row.rtt_us),
                    }
                    for row in own
                ],
            }
            for ip, own in by_ip.items()
        ],
    }
