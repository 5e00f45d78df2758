"""The loadbalancer check on a real segment: what it says of owners, strangers and silence, and of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import Segment, mac

pytestmark = pytest.mark.integration

SITE = """
[cluster]
timeout_scale = 0.1
[[hosts]]
name = "master"
address = "192.0.2.10"
roles = ["control-plane"]
[[hosts]]
name = "worker1"
address = "192.0.2.11"
roles = ["worker"]
[[metallb.pools]]
name = "lab"
addresses = ["192.0.2.200-192.0.2.203"]
"""
INVENTORY = (f"master={mac(10)}", f"worker1={mac(11)}")


def check(
    segment: Segment, folder: Path, *ips: str, inventory: tuple[str, ...] = INVENTORY, name: str = "prober"
) -> dict[tuple[str, str], dict[str, Any]]:
    """Run the check in a namespace and return its findings by code and subject."""
    (folder / "hosts.toml").write_text(SITE)
    words = [sys.executable, "-m", "tests.integration.l2.loadbalancer_here", str(folder / "hosts.toml")]
    ended = segment.run(name, *words, *inventory, "--", *ips, check=False)
    assert ended.returncode == 0, ended.stderr
    return {(one["code"], one["subject"].split(" (")[0]): one for one in json.loads(ended.stdout)}


@contextmanager
def web_server(segment: Segment, name: str, folder: Path) -> Iterator[None]:
    """Serve /hostname on port 80 of a host."""
    (folder / "hostname").write_text(f"pod-on-{name}")
    server = subprocess.Popen(
        ["ip", "netns", "exec", f"{segment.prefix}{name}", sys.executable, "-u", "-m", "http.server", "80"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert "Serving HTTP" in server.stdout.readline()
        yield
    finally:
        server.terminate()
        server.communicate(timeout=10)


def test_an_external_ip_of_one_node_that_serves(segment: Segment, tmp_path: Path) -> None:
    segment.host("master", 10, "192.0.2.10/24")
    segment.host("worker1", 11, "192.0.2.11/24", "192.0.2.200/32")
    with web_server(segment, "worker1", tmp_path):
        found = check(segment, tmp_path, "192.0.2.200")
    assert all(one["ok"] for one in found.values())
    assert found["LB_ADDRESS", "Service course/lb-1"]["detail"] == "has 192.0.2.200 of pool lab"
    owned = found["L2_OWNED", "192.0.2.200"]
    assert owned["detail"] == f"is answered by {mac(11)} (worker1 eth1) alone"
    assert found["LB_SERVES", "192.0.2.200"]["detail"] == "serves HTTP as pod-on-worker1"
    assert len(found) == 3


def test_two_owners_a_stranger_and_silence(segment: Segment, tmp_path: Path) -> None:
    segment.host("master", 10, "192.0.2.10/24", "192.0.2.200/32")
    segment.host("worker1", 11, "192.0.2.11/24", "192.0.2.200/32")
    segment.host("printer", 99, "192.0.2.201/24")
    found = check(segment, tmp_path, "192.0.2.200", "192.0.2.201", "192.0.2.202")
    twice = found["L2_DUPLICATE", "192.0.2.200"]["detail"]
    assert f"{mac(10)} (master eth1)" in twice
    assert f"{mac(11)} (worker1 eth1)" in twice
    assert found["L2_STRANGER", "192.0.2.201"]["detail"] == f"is answered by {mac(99)} (no node's)"
    assert not found["L2_SILENT", "192.0.2.202"]["ok"]
    for ip in ("192.0.2.200", "192.0.2.201", "192.0.2.202"):
        assert not found["LB_NOT_SERVING", ip]["ok"]


def test_a_node_that_cannot_be_logged_in_to_is_known_by_its_own_arp(segment: Segment, tmp_path: Path) -> None:
    segment.host("worker1", 11, "192.0.2.11/24", "192.0.2.200/32")
    with web_server(segment, "worker1", tmp_path):
        found = check(segment, tmp_path, "192.0.2.200", inventory=("worker1=",))
    assert found["L2_OWNED", "192.0.2.200"]["detail"] == f"is answered by {mac(11)} (worker1) alone"


@pytest.mark.parametrize("inventory", [INVENTORY, ("worker1=",)])
def test_from_a_node_nothing_is_concluded(segment: Segment, tmp_path: Path, inventory: tuple[str, ...]) -> None:
    segment.host("worker1", 11, "192.0.2.11/24")
    found = check(segment, tmp_path, "192.0.2.200", inventory=inventory, name="worker1")
    one = found["L2_INCONCLUSIVE", "192.0.2.200"]
    assert not one["ok"]
    assert "this machine is the node worker1" in one["detail"]
    assert one["remedy"]
