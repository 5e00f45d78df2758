"""Probe from this namespace and print the capture as JSON. One argument: {"asks": [...], "others": [...], ...}."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from ipaddress import ip_address

from provisioner.errors import ProvisionerError
from provisioner.l2.probe import interfaces
from provisioner.l2.probe.probe_target import ProbeTarget
from provisioner.l2.probe.sequence import probe


def main() -> None:
    """Print one JSON object; an expected failure is printed as {"error": …}."""
    wanted = json.loads(sys.argv[1])
    asks = [
        ProbeTarget(
            ip_address(one["ip"]), tuple(one.get("ports", ())), tuple(one.get("to", ())), one.get("echo", True)
        )
        for one in wanted.pop("asks")
    ]
    others = [ip_address(text) for text in wanted.pop("others", ())]
    try:
        here = interfaces.choose(interfaces.read(), [], wanted.pop("interface", "eth1"))
        capture = probe(here, asks, others=others, **wanted)
    except ProvisionerError as error:
        print(json.dumps({"error": str(error)}))
        return
    print(
        json.dumps(
            {
                "answers": [{**asdict(one), "kind": one.kind.value} for one in capture.answers],
                "announcements": [asdict(one) for one in capture.announcements],
                "handshakes": [asdict(one) for one in capture.handshakes],
                "asked": {str(ip): sorted(kind.value for kind in kinds) for ip, kinds in capture.asked.items()},
                "echo": {str(ip): came for ip, came in capture.echo.items()},
                "neighbours": {str(ip): mac for ip, mac in capture.vantage.neighbours.items()},
                "gateways": [str(ip) for ip in capture.vantage.gateways],
                "own_macs": sorted(capture.vantage.own_macs),
                "own_addresses": sorted(map(str, capture.vantage.own_addresses)),
                "sent": capture.sent,
                "received": capture.received,
                "dropped": capture.dropped,
                "started": capture.started,
            },
            default=str,
        )
    )


main()
