"""Run the loadbalancer check in this namespace over an API in memory; print its findings as JSON.

Arguments: hosts.toml, then NAME=MAC for each host whose facts are known, then the external IPs after "--".
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from provisioner.checks import loadbalancer
from provisioner.errors import Unreachable
from provisioner.facts import Nic
from tests.unit.checks.memory import Memory, context, service


class Down:
    """A host that cannot be logged in to."""

    @property
    def facts(self) -> Any:
        raise Unreachable("worker1", "connection refused")


def main() -> None:
    """Print one JSON list."""
    split = sys.argv.index("--")
    file, *inventory = sys.argv[1:split]
    hosts: dict[str, Any] = {}
    for entry in inventory:
        name, mac = entry.split("=")
        facts = SimpleNamespace(nics=(Nic("eth1", mac, True, ()),))
        hosts[name] = SimpleNamespace(facts=facts) if mac else Down()
    cluster = Memory(
        *(
            service(f"lb-{number}", kind="LoadBalancer", given=[ip])
            for number, ip in enumerate(sys.argv[split + 1 :], start=1)
        )
    )
    path = Path(file)
    where = context(path.parent, cluster, path.read_text(), hosts)
    print(json.dumps([asdict(one) for one in loadbalancer.run(where)]))


main()
