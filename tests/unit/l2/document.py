"""Shared by the tests of facts files: the documented file, and a way to change it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from provisioner.l2 import facts_file
from provisioner.l2.facts import Facts

# The specification's document, as `l2 collect` may write it.
DOCUMENT: dict[str, Any] = {
    "schema": "l2facts/v1",
    "metallb": {
        "version": "0.16.1",
        "namespace": "metallb-system",
        "memberlist": True,
        "ignore_exclude_lb": False,
        "config": "valid",
        "config_error": "",
    },
    "kube_proxy": {"mode": "iptables", "strict_arp": False},
    "others": {"kube_vip": False, "servicelb": False, "cilium_l2": False},
    "nodes": [
        {
            "name": "w1",
            "internal_ips": ["192.0.2.11"],
            "ready": True,
            "network_unavailable": False,
            "labels": {},
            "speaker": "ready",
            "nics": [
                {
                    "name": "eth1",
                    "mac": "52:54:00:00:00:11",
                    "addresses": ["192.0.2.11/24"],
                    "up": True,
                    "master": None,
                    "proxy_arp": False,
                }
            ],
        }
    ],
    "pools": [
        {"name": "lab", "addresses": ["192.0.2.200-192.0.2.210"], "auto_assign": True, "avoid_buggy_ips": False}
    ],
    "advertisements": [
        {
            "name": "lab",
            "pools": ["lab"],
            "node_selectors": [{"matchLabels": {"zone": "a"}}],
            "interfaces": [],
            "service_selectors": [],
        }
    ],
    "services": [
        {
            "namespace": "default",
            "name": "web",
            "ingress_ips": ["192.0.2.200"],
            "load_balancer_class": None,
            "external_traffic_policy": "Cluster",
            "allow_shared_ip": None,
            "source_ranges": [],
            "ports": [{"port": 80, "protocol": "TCP"}],
            "endpoints": [{"node": "w1", "ready": True}],
            "events": [{"reason": "nodeAssigned", "node": "w1", "message": ""}],
        }
    ],
    "l2_status": [{"service": "default/web", "node": "w1", "interfaces": []}],
    "speaker_log": {"w1": {"partial_join": False}},
    "metrics": {"w1": {"192.0.2.200": {"requests_received": 0, "responses_sent": 0}}},
}


def load(directory: Path, document: object) -> Facts:
    """Write a document into a directory and load it."""
    path = directory / "facts.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return facts_file.load(path)


def changed(*path: str | int, to: object) -> dict[str, Any]:
    """Return the document with one value set."""
    document = copy.deepcopy(DOCUMENT)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return document
