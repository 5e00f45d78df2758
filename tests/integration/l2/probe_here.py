"""Probe from this namespace and print what was heard as JSON. One argument: {"asks": [...], "others": [...], ...}."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from ipaddress import ip_address

from provisioner.errors import ProvisionerError
from provisioner.l2.probe import interfaces
from provisioner.l2.probe.sequence import Ask, probe


def main() -> None:
    """Print one JSON object; a person's mistake is printed as {"error": …}."""
    wanted = json.loads(sys.argv[1])
    asks = [
        Ask(ip_address(one["ip"]), tuple(one.get("ports", ())), tuple(one.get("to", ())), one.get("echo", True))
        for one in wanted.pop("asks")
    ]
    others = [ip_address(text) for text in wanted.pop("others", ())]
    try:
        here = interfaces.choose(interfaces.read(), [], wanted.pop("interface", "eth1"))
        wire = probe(here, asks, others=others, **wanted)
    except ProvisionerError as error:
        print(json.dumps({"error": str(error)}))
        return
    print(
        json.dumps(
            {
                "answers": [{**asdict(one), "kind": one.kind.value} for one in wire.answers],
                "announcements": [asdict(one) for one in wire.announcements],
                "handshakes": [asdict(one) for one in wire.handshakes],
                "asked": {str(ip): sorted(kind.value for kind in kinds) for ip, kinds in wire.asked.items()},
                "echo": {str(ip): came for ip, came in wire.echo.items()},
                "neighbours": {str(ip): mac for ip, mac in wire.vantage.neighbours.items()},
                "gateways": [str(ip) for ip in wire.vantage.gateways],
                "own_macs": sorted(wire.vantage.own_macs),
                "own_addresses": sorted(map(str, wire.vantage.own_addresses)),
                "sent": wire.sent,
                "received": wire.received,
                "dropped": wire.dropped,
                "started": wire.started,
            },
            default=str,
        )
    )


main()
