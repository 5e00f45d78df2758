"""`l2 check` on a real segment: verdicts by frames, exit statuses, JSON, and the loss of the API."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import hosts_toml
from tests.integration.l2.conftest import Segment, mac

pytestmark = pytest.mark.integration

VIP = "192.0.2.200"


def facts(**changes: Any) -> dict[str, Any]:
    """Return facts with nodes w1 (.11) and w2 (.12), and a service on port 80 that only w1 can announce."""
    made: dict[str, Any] = {
        "schema": "l2facts/v1",
        "metallb": {"version": "0.16.1", "memberlist": True, "ignore_exclude_lb": False, "config": "valid"},
        "kube_proxy": {"mode": "iptables"},
        "others": {"kube_vip": False, "servicelb": False, "cilium_l2": False},
        "nodes": [node("w1", 11), node("w2", 12)],
        "pools": [{"name": "lab", "addresses": ["192.0.2.200-192.0.2.203"]}],
        "advertisements": [
            {"name": "lab", "pools": ["lab"], "node_selectors": [{"matchLabels": {"kubernetes.io/hostname": "w1"}}]}
        ],
        "services": [
            {
                "namespace": "default",
                "name": "web",
                "ingress_ips": [VIP],
                "external_traffic_policy": "Cluster",
                "ports": [{"port": 80}],
                "endpoints": [{"node": "w2", "ready": True}],
                "labels": {},
            }
        ],
    }
    return {**made, **changes}


def node(name: str, number: int, *, nics: bool = True) -> dict[str, Any]:
    """Return a node's facts; its NIC is the namespace's eth1."""
    address = f"192.0.2.{number}"
    return {
        "name": name,
        "internal_ips": [address],
        "ready": True,
        "network_unavailable": False,
        "labels": {"kubernetes.io/hostname": name},
        "speaker": "ready",
        "nics": [{"name": "eth1", "mac": mac(number), "addresses": [f"{address}/24"], "up": True}] if nics else None,
    }


def check(
    segment: Segment, known: dict[str, Any], *words: str, name: str = "prober"
) -> tuple[int, dict[str, Any], str]:
    """Run `provisioner -o json l2 check … --facts` and return status, report and stderr."""
    (segment.folder / "facts.json").write_text(json.dumps(known))
    ended = segment.cli("-o", "json", "l2", "check", *words, "--facts", "facts.json", name=name)
    assert "Traceback" not in ended.stderr
    return ended.returncode, json.loads(ended.stdout), ended.stderr


@contextmanager
def serving(segment: Segment, name: str) -> Iterator[None]:
    """Serve HTTP on port 80 in a host's namespace."""
    program = (
        "import http.server\n"
        "server = http.server.HTTPServer(('', 80), http.server.SimpleHTTPRequestHandler)\n"
        "print('ready', flush=True)\n"
        "server.serve_forever()\n"
    )
    server = subprocess.Popen(
        ["ip", "netns", "exec", f"{segment.prefix}{name}", sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield
    finally:
        server.terminate()
        server.communicate(timeout=10)


@pytest.fixture
def nodes(segment: Segment) -> Iterator[Segment]:
    """Yield the segment with w1, which has and serves the external IP, and w2."""
    segment.host("w1", 11, "192.0.2.11/24", f"{VIP}/32")
    segment.host("w2", 12, "192.0.2.12/24")
    with serving(segment, "w1"):
        yield segment


def test_the_predicted_owner_alone_and_serving_is_ok(nodes: Segment) -> None:
    status, made, _ = check(nodes, facts())
    (result,) = made["results"]
    assert (status, result["verdict"]) == (0, "OK"), result
    assert (result["ip"], result["family"], result["service"], result["pool"]) == (VIP, "ipv4", "default/web", "lab")
    assert result["predicted_leader"] == "w1"
    (owner,) = result["owners"]
    assert (owner["mac"], owner["node"], owner["nic"], owner["matched_by"]) == (mac(11), "w1", "eth1", "inventory")
    assert owner["answered"] == ["Z", "B", "U"]
    assert made["run"]["interface"] == "eth1"
    assert made["run"]["source_mac"] == mac(1)
    assert made["run"]["source_ip"] == "192.0.2.1"
    assert made["run"]["sent"] >= 5
    assert made["run"]["dropped"] == 0


def test_nodes_without_listed_nics_are_recognized_by_their_own_answers(nodes: Segment) -> None:
    known = facts(nodes=[node("w1", 11, nics=False), node("w2", 12, nics=False)])
    status, made, _ = check(nodes, known, "default/web")
    (result,) = made["results"]
    assert (status, result["verdict"]) == (0, "OK"), result
    assert (result["owners"][0]["node"], result["owners"][0]["matched_by"]) == ("w1", "arp")


def test_text_output_agrees_and_has_no_color_without_a_terminal(nodes: Segment) -> None:
    (nodes.folder / "facts.json").write_text(json.dumps(facts()))
    ended = nodes.cli("l2", "check", "--facts", "facts.json")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] == f"OK  {VIP}  (default/web, pool lab)"
    # The warning: a node's kernel has the address.
    assert ended.stdout.splitlines()[-1] == "1 of 1 OK, 1 with warnings.", ended.stdout
    assert f"w1 eth1, {mac(11)}; MAC found on the node" in " ".join(ended.stdout.split())
    assert "\x1b" not in ended.stdout


def test_silence_is_a_fault_with_evidence_and_remedy(segment: Segment) -> None:
    segment.host("w1", 11, "192.0.2.11/24")
    segment.host("w2", 12, "192.0.2.12/24")
    known = facts()
    known["services"][0]["endpoints"] = []
    status, made, _ = check(segment, known)
    (result,) = made["results"]
    assert (status, result["verdict"], result["owners"]) == (1, "NO_ENDPOINTS", [])
    assert result["evidence"]
    assert result["remedy"]
    assert result["command"]


def test_a_foreign_owner_is_a_conflict_named_by_its_mac(segment: Segment) -> None:
    segment.host("w1", 11, "192.0.2.11/24")
    segment.host("w2", 12, "192.0.2.12/24")
    segment.host("printer", 0x63, f"{VIP}/24")
    status, made, _ = check(segment, facts())
    (result,) = made["results"]
    assert (status, result["verdict"]) == (1, "ADDRESS_CONFLICT"), result
    (owner,) = result["owners"]
    assert (owner["mac"], owner["node"], owner["class"]) == (mac(0x63), "", "foreign")


def test_a_refused_port_is_not_serving(nodes: Segment) -> None:
    known = facts()
    known["services"][0]["ports"] = [{"port": 81}]
    status, made, _ = check(nodes, known)
    assert (status, made["results"][0]["verdict"]) == (1, "NOT_SERVING"), made["results"][0]


def test_one_fault_decides_the_exit_status(nodes: Segment) -> None:
    known = facts()
    known["services"].append({"namespace": "shop", "name": "pending", "ingress_ips": []})
    status, made, _ = check(nodes, known)
    verdicts = {result["service"]: result["verdict"] for result in made["results"]}
    assert verdicts["default/web"] == "OK"
    assert verdicts["shop/pending"] == "NO_ADDRESS"
    assert status == 1


@pytest.mark.parametrize("nics", [True, False])
def test_a_check_from_a_node_is_inconclusive(nodes: Segment, nics: bool) -> None:
    known = facts(nodes=[node("w1", 11, nics=nics), node("w2", 12, nics=nics)])
    status, made, _ = check(nodes, known, name="w2")
    (result,) = made["results"]
    assert (status, result["verdict"], result["ip"]) == (2, "INCONCLUSIVE_PROBE_LOCATION", VIP)
    assert "w2" in " ".join(result["evidence"])
    assert made["run"]["sent"] == 0


def test_a_check_from_another_segment_is_inconclusive(nodes: Segment) -> None:
    nodes.host("elsewhere", 70, "198.51.100.7/24")
    status, made, _ = check(nodes, facts(), name="elsewhere")
    (result,) = made["results"]
    assert (status, result["verdict"], result["service"]) == (2, "INCONCLUSIVE_PROBE_LOCATION", "default/web")
    assert "198.51.100.0/24 on eth1" in result["evidence"][0]


def test_a_pool_outside_the_subnet_is_a_verdict(nodes: Segment) -> None:
    known = facts(pools=[{"name": "lab", "addresses": ["198.51.100.200-198.51.100.203"]}])
    known["services"][0]["ingress_ips"] = ["198.51.100.200"]
    status, made, _ = check(nodes, known)
    (result,) = made["results"]
    assert (status, result["verdict"]) == (1, "POOL_OFF_SUBNET"), result


def test_an_unknown_interface_is_refused(nodes: Segment) -> None:
    status, made, _ = check(nodes, facts(), "--interface", "eth7")
    assert status == 2
    assert "no interface eth7 on this machine" in json.dumps(made)


def test_without_facts_owners_are_reported_but_not_called_ok(nodes: Segment) -> None:
    ended = nodes.cli("-o", "json", "l2", "check", VIP)
    (result,) = json.loads(ended.stdout)["results"]
    assert result["owners"][0]["mac"] == mac(11)
    assert (ended.returncode == 0) == (result["verdict"] == "OK")
    assert "PREDICTION_UNKNOWN" in result["warnings"] or result["verdict"] != "OK"


def test_an_address_that_moves_during_the_check_is_no_split_brain(segment: Segment) -> None:
    """Two owners answer the first question; one is gone before the next run."""
    segment.host("w1", 11, "192.0.2.11/24", f"{VIP}/32")
    segment.host("w2", 12, "192.0.2.12/24", f"{VIP}/32")
    seen = (
        "import socket, subprocess\n"
        "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)); s.bind(('eth1', 0x0806))\n"
        "print('ready', flush=True)\n"
        "asked = 0\n"
        "while asked < 2:\n"  # the probe and the request
        f"    frame = s.recv(100); asked += frame[20:22] == b'\\0\\1' and frame[38:42] == bytes((192, 0, 2, 200))\n"
        f"subprocess.run(['ip', 'address', 'delete', '{VIP}/32', 'dev', 'eth1'], check=True)\n"
    )
    leaving = subprocess.Popen(
        ["ip", "netns", "exec", f"{segment.prefix}w2", sys.executable, "-c", seen], stdout=subprocess.PIPE, text=True
    )
    assert leaving.stdout is not None
    assert leaving.stdout.readline() == "ready\n"
    with serving(segment, "w1"):
        _, made, _ = check(segment, facts())
    leaving.communicate(timeout=10)
    assert leaving.returncode == 0
    (result,) = made["results"]
    assert result["verdict"] == "OK", result


def test_two_lasting_owners_are_a_fault(segment: Segment) -> None:
    segment.host("w1", 11, "192.0.2.11/24", f"{VIP}/32")
    segment.host("w2", 12, "192.0.2.12/24", f"{VIP}/32")
    status, made, _ = check(segment, facts())
    (result,) = made["results"]
    assert status == 1
    assert {owner["node"] for owner in result["owners"]} == {"w1", "w2"}


SITE = "[ssh]\nconnect_timeout = 2.0\n"
SITE += hosts_toml.host("w1", "192.0.2.11", "control-plane") + hosts_toml.host("w2", "192.0.2.12", "worker")
SITE += hosts_toml.pool("lab", "192.0.2.200-192.0.2.203")


def test_without_a_reachable_cluster_the_capture_is_still_reported(nodes: Segment) -> None:
    (nodes.folder / "hosts.toml").write_text(SITE)
    ended = nodes.cli("-o", "json", "l2", "check", VIP)
    made = json.loads(ended.stdout)
    assert ended.returncode == 2
    assert "cannot read the cluster: w1: cannot log in" in made["problem"]
    (result,) = made["results"]
    assert (result["owners"][0]["node"], result["owners"][0]["matched_by"]) == ("w1", "arp")
    assert "PREDICTION_UNKNOWN" in result["warnings"]
    everything = nodes.cli("l2", "check")
    assert (everything.returncode, everything.stdout) == (2, "")
    assert everything.stderr.startswith("inconclusive: cannot read the cluster: w1: cannot log in")
    collected = nodes.cli("l2", "collect", "-o", "facts.json")
    assert collected.returncode == 2
    assert not (nodes.folder / "facts.json").exists()


@pytest.mark.parametrize("at", [2, 3])
def test_an_api_lost_midway_leaves_the_capture(nodes: Segment, at: int) -> None:
    """Lost at the counters before or after the probes: never a plain OK."""
    (nodes.folder / "facts.json").write_text(json.dumps(facts()))
    here = [sys.executable, str(Path(__file__).with_name("api_lost_here.py")), "facts.json", str(at)]
    ended = nodes.run("prober", *here, "-o", "json", "l2", "check", check=False)
    assert "Traceback" not in ended.stderr
    assert "inconclusive: lost the cluster during the run: the API at https://192.0.2.10:6443" in ended.stderr
    made = json.loads(ended.stdout)
    assert ended.returncode == 2
    assert made["results"][0]["owners"][0]["node"] == "w1"
    assert "lost the cluster" in made["problem"]


def test_a_scan_with_facts_tells_right_wrong_foreign_and_duplicate(nodes: Segment, tmp_path: Path) -> None:
    nodes.host("printer", 0x63, "192.0.2.201/24")
    nodes.host("twin", 0x64, "192.0.2.202/24")
    nodes.run("printer", "ip", "address", "add", "192.0.2.202/24", "dev", "eth1")
    known = facts()
    known["services"].append({"namespace": "shop", "name": "gone", "ingress_ips": ["192.0.2.203"], "endpoints": []})
    (nodes.folder / "facts.json").write_text(json.dumps(known))
    ended = nodes.cli("-o", "json", "l2", "scan", "192.0.2.0/24", "--facts", "facts.json", "--svg", "map.svg")
    assert ended.returncode == 1, ended.stderr
    states = {result["ip"]: result["state"] for result in json.loads(ended.stdout)["results"]}
    assert len(states) == 254
    assert {ip: state for ip, state in states.items() if state != "free"} == {
        "192.0.2.1": "node",  # this machine
        "192.0.2.11": "node",
        "192.0.2.12": "node",
        VIP: "right",
        "192.0.2.201": "stranger",
        "192.0.2.202": "duplicate",
        "192.0.2.203": "wrong",
    }
    drawn = (nodes.folder / "map.svg").read_text()
    assert "192.0.2.201: foreign host in a pool" in drawn
    text = nodes.cli("l2", "scan", "pool:lab", "--facts", "facts.json").stdout
    row = next(line for line in text.splitlines() if line.startswith("192.0.2.200   "))
    assert row.split()[1:] == ["o", "S", "D", "X"]


def test_an_ipv6_scan(segment: Segment) -> None:
    segment.run("prober", "ip", "address", "add", "2001:db8::1/64", "dev", "eth1", "nodad")
    segment.host("w1", 11, "192.0.2.11/24")
    segment.run("w1", "ip", "address", "add", "2001:db8::200/64", "dev", "eth1", "nodad")
    while segment.run("prober", "ip", "-6", "address", "show", "dev", "eth1", "tentative").stdout:
        time.sleep(0.05)  # the link-local address is unusable until duplicate address detection ends
    found = segment.scan("2001:db8::200-2001:db8::203")
    assert found["2001:db8::200"][0]["mac"] == mac(11)
    assert [ip for ip, owners in found.items() if owners] == ["2001:db8::200"]
