"""A check of 2000 Services: how long it takes beyond the pacing of the frames that it sends.

One node answers for all addresses and serves each, so the time is this program's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tests.bench.segment import Segment, quiet_namespaces

COUNT = 2000
PPS = 200  # the default
FIRST = IPv4Address("198.18.8.1")  # RFC 2544's network for benchmarks
PREFIX = 20
SERVER = """
import selectors, socket
listener = socket.create_server(("0.0.0.0", 80), backlog=4096)
print("serving", flush=True)
while True:
    listener.accept()[0].close()
"""


def run() -> None:
    """Print the time of a check as a multiple of its pacing."""
    if os.geteuid() != 0:
        print("l2 check of many Services: skipped, requires root (network namespaces)", flush=True)
        return
    with cluster() as prober, tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(facts(), file)
        file.flush()
        asking = ("-o", "json", "l2", "check", "--facts", file.name, "--pps", str(PPS))
        seconds, text = prober.run(sys.executable, "-m", "provisioner", *asking, ok=(0, 1))
    report = json.loads(text)
    # Each open connection is reset at once, which is not paced.
    resets = sum(port["opened"] for result in report["results"] for one in result["services"] for port in one["ports"])
    paced = report["run"]["sent"] - resets
    pacing = paced / PPS
    verdicts = Counter(result["verdict"] for result in report["results"])
    print(
        f"l2 check of {COUNT} Services, {PPS} packets/s: {seconds / pacing:.2f} x its pacing ({seconds:.1f} s for"
        f" {paced} paced frames, {seconds - pacing:.1f} s beyond; {dict(verdicts)} in"
        f" {len(report['causes'])} groups)",
        flush=True,
    )


@contextmanager
def cluster() -> Iterator[Segment]:
    """Provide a prober and a node that owns every address."""
    with quiet_namespaces("node") as (prober, node):
        _inside(prober, "ip", "address", "add", f"198.18.0.1/{PREFIX}", "dev", "eth1")
        _inside(node, "ip", "address", "add", f"198.18.0.11/{PREFIX}", "dev", "eth1")
        _inside(node, "ip", "route", "add", "local", "198.18.8.0/21", "dev", "lo")
        _inside(node, "ip", "link", "set", "lo", "up")
        words = ["ip", "netns", "exec", node, sys.executable, "-uc", SERVER]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                server.stdout.readline()
                yield Segment(prober, {})
            finally:
                server.terminate()


def facts() -> dict[str, Any]:
    """Return the facts of a cluster with one node, one pool and COUNT Services."""
    node = {
        "name": "n1",
        "internal_ips": ["198.18.0.11"],
        "ready": True,
        "network_unavailable": False,
        "unschedulable": False,
        "labels": {},
        "speaker": "ready",
        "nics": [],
    }
    last = FIRST + COUNT - 1
    pool = {
        "name": "lab",
        "addresses": [f"{FIRST}-{last}"],
        "auto_assign": True,
        "avoid_buggy_ips": False,
        "labels": {},
    }
    advertisement = {"name": "lab", "pools": ["lab"], "node_selectors": [], "interfaces": [], "service_selectors": []}
    known: dict[str, Any] = json.loads(
        (Path(__file__).parents[1] / "integration" / "l2" / "cases" / "ndp-unicast-unanswered.json").read_text()
    )
    services = [service(number) for number in range(COUNT)]
    return {
        **known,
        "nodes": [node],
        "pools": [pool],
        "advertisements": [advertisement],
        "services": services,
        "speaker_log": {},
    }


def service(number: int) -> dict[str, Any]:
    """Return one of the Services, with one TCP port and a ready endpoint."""
    return {
        "namespace": "bench",
        "name": f"web-{number}",
        "ingress_ips": [str(FIRST + number)],
        "load_balancer_class": None,
        "external_traffic_policy": "Cluster",
        "ports": [{"port": 80, "protocol": "TCP"}],
        "endpoints": [{"node": "n1", "ready": True}],
        "events": [],
        "labels": {},
    }


def _inside(namespace: str, *words: str) -> None:
    subprocess.run(["ip", "netns", "exec", namespace, *words], check=True)


if __name__ == "__main__":
    run()
