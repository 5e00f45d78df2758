"""Failovers on real machines, timed by `l2 watch`: a worker loses power, a speaker is deleted, a node is drained.

Each ends by restoring a snapshot of the lab as it was. The tests assert which events are seen, and in which order; how
long they take depends on the emulated machines and is printed.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from provisioner.lab import lifecycle
from tests.e2e import drive

pytestmark = pytest.mark.drill

WORKERS = ("worker1", "worker2")
SNAPSHOT = "failover"
PICTURES = drive.LAB / "failover"
# An emulated machine may pause for a second or two without any fault, which is not to be timed here.
PATIENCE = ("--gap", "5", "--stable-for", "10", "--timeout", "900")


@pytest.fixture(scope="module", autouse=True)
def snapshot() -> None:
    """Snapshot the lab once for all failovers."""
    saved = drive.lab("snapshot", SNAPSHOT)
    assert saved.status == 0, saved.text
    PICTURES.mkdir(exist_ok=True)


@pytest.fixture(autouse=True)
def restored(snapshot: None) -> Iterator[None]:
    """Restore the lab after each test, also a failed one."""
    yield
    ran = drive.lab("restore", SNAPSHOT)
    assert ran.status == 0, ran.text


def test_a_worker_loses_its_power() -> None:
    """Another node takes the address over, sends five pairs of gratuitous ARP, and serves."""
    ip, worker = _owned_by_a_worker()
    lab = lifecycle.find(drive.LAB)
    report = failover("power-off", ip, worker, lambda: lifecycle.power_off(lab, worker))
    change = _moved(report, worker)
    assert change["overlap_s"] == 0, "a machine without power answers nothing"
    assert change["silence_at_least_s"] > 1, "memberlist cannot have noticed sooner"
    assert change["tcp_outage_s"] is not None
    assert change["tcp_outage_s"] > 1


def test_a_speaker_is_deleted() -> None:
    """It leaves memberlist, so the address moves at once, unless its replacement takes it first."""
    ip, worker = _owned_by_a_worker()
    pod = _speaker(worker)
    report = failover(
        "speaker-deleted", ip, worker, lambda: drive.kubectl(f"-n metallb-system delete pod {pod} --wait=false")
    )
    change = report["changes"][0]
    assert change["kind"] in ("moved", "interrupted"), change
    if change["kind"] == "moved":
        _announced(change)
    # kube-proxy forwards without the speaker, so a client that knows the MAC still reaches the node.
    assert change["first_tcp_outcome"] == "open"


def test_a_node_is_drained() -> None:
    """With externalTrafficPolicy Local the address follows the pods, although the speaker stays on a drained node."""
    drive.kubectl("""-n course patch service lb-one -p '{"spec": {"externalTrafficPolicy": "Local"}}'""")
    ip = _ip("course", "lb-one")
    drive.until(f"a worker to answer for {ip}", lambda: _owner(ip) in WORKERS, 300)
    worker = _owner(ip)
    other = next(name for name in WORKERS if name != worker)
    drive.until(f"a ready pod of lb-one on {other}", lambda: other in _nodes_with_a_ready_pod("lb-one"), 300)
    # The evictions start at once; that the last pod is gone takes minutes here, and does not matter.
    evict = f"drain {worker} --ignore-daemonsets --delete-emptydir-data --force --timeout=60s"
    report = failover(
        "drained", ip, worker, lambda: drive.kubectl(evict, unless=("global timeout reached", "did not complete"))
    )
    change = _moved(report, worker)
    assert _name(report, change["to"]) == other, "only that node has a ready pod"


def failover(name: str, ip: str, owner: str, act: Callable[[], object], port: int = 80) -> dict[str, Any]:
    """Watch an address from the operator's machine while `act` does something to its owner; return the report.

    `act` runs once the owner answers and serves; the watch ends when the address is stable again.
    """
    drive.say(f"{name}: watching {ip} on {owner}")
    picture = PICTURES / f"{name}.svg"
    argv = drive.on_site("l2", "watch", ip, "--until-stable", *PATIENCE, "--port", str(port), "--svg", str(picture))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=drive.ROOT) as watch:
        try:
            lines = _lines(watch)
            seen: list[str] = []
            # Not matched by node name, which a slow machine may not have reported yet.
            while not (any(" answers" in line for line in seen) and any(line.endswith(": open") for line in seen)):
                line = lines.get(timeout=120)
                assert line is not None, "the watch ended early:\n" + "\n".join(seen)
                seen.append(line)
            act()
            drive.say(f"{name}: done to {owner}; waiting for the address to be stable")
            assert watch.stdout is not None
            output = watch.stdout.read()
            status = watch.wait()
        finally:
            watch.kill()
    report: dict[str, Any] = json.loads(output)
    (PICTURES / f"{name}.json").write_text(output)
    drive.say(f"{name}: {report['title']}")
    for event in report["events"]:
        drive.say(f"  {event['t']:+8.3f} s  {event['text']}")
    assert status == 0, json.dumps({key: report[key] for key in ("verdict", "evidence", "changes")}, indent=2)
    assert report["verdict"] == "OK"
    assert report["run"]["ended_by"] == "stable"
    assert _name(report, report["changes"][0]["from"]) == owner
    assert report["title"] in picture.read_text()
    return report


def _lines(process: subprocess.Popen[str]) -> queue.Queue[str | None]:
    """Return a queue of a process's lines on stderr, then None."""
    found: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            drive.say(f"  {line.rstrip()}")
            found.put(line.rstrip())
        found.put(None)

    threading.Thread(target=read, daemon=True).start()
    return found


def _moved(report: dict[str, Any], worker: str) -> dict[str, Any]:
    """Assert that the address moved from a worker to another node and serves there."""
    change: dict[str, Any] = report["changes"][0]
    assert change["kind"] == "moved", change
    taker = _name(report, change["to"])
    assert taker not in (worker, ""), report["owners"]
    assert next(owner["node"] for owner in report["owners"] if owner["mac"] == change["to"]), "the new owner is a node"
    assert change["old_last_reply"] is not None
    assert change["new_first_reply"] is not None
    assert change["silence_s"] >= change["silence_at_least_s"] >= 0
    assert change["first_tcp_answer"] is not None, "the new owner serves"
    assert change["first_tcp_outcome"] == "open"
    _announced(change)
    return change


def _announced(change: dict[str, Any]) -> None:
    """Assert that the new owner sent gratuitous ARP as MetalLB does."""
    assert change["first_gratuitous"] is not None
    assert change["gratuitous_expected"] == 5
    assert change["gratuitous_pairs"] >= 3, "a busy machine may lose some"


def _name(report: dict[str, Any], mac: str | None) -> str:
    return next((str(owner["node"]) for owner in report["owners"] if owner["mac"] == mac), "")


def _owned_by_a_worker() -> tuple[str, str]:
    """Return an external IP of the workloads and the worker that announces it.

    The Services have pods on every worker, and any node may announce their addresses.
    """
    ips = [_ip("course", name) for name in ("lb-one", "lb-two")]
    owned = {ip: _owner(ip) for ip in ips}
    found = next(((ip, owner) for ip, owner in owned.items() if owner in WORKERS), None)
    assert found is not None, f"no worker announces an external IP: {owned}"
    return found


def _owner(ip: str) -> str:
    """Return the only node that answers for an address, "" for none or several."""
    ran = drive.operator("l2", "scan", "--offline", ip, quiet=True)
    document = json.loads(ran.text[ran.text.index("{") : ran.text.rindex("}") + 1])
    (result,) = (one for one in document["results"] if one["ip"] == ip)
    return str(result["owners"][0]["node"]) if len(result["owners"]) == 1 else ""


def _ip(namespace: str, name: str) -> str:
    return drive.kubectl(f"-n {namespace} get service {name} -o jsonpath={{.status.loadBalancer.ingress[0].ip}}")


def _speaker(node: str) -> str:
    pods = json.loads(drive.kubectl(f"-n metallb-system get pods --field-selector spec.nodeName={node} -o json"))[
        "items"
    ]
    (name,) = (str(pod["metadata"]["name"]) for pod in pods if pod["metadata"]["labels"].get("component") == "speaker")
    return name


def _nodes_with_a_ready_pod(app: str) -> set[str]:
    pods = json.loads(drive.kubectl(f"-n course get pods -l app.kubernetes.io/name={app} -o json"))["items"]
    return {
        str(pod["spec"]["nodeName"])
        for pod in pods
        if any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
    }
