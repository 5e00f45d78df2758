"""Failovers on real machines, timed by `l2 watch`: a worker without power, a deleted speaker, a drained node.

Each begins where the lab stands and ends with a snapshot put back, so that the lab is left as it was found.
What is asserted is what must be seen, in which order; how long it takes is the emulated machines' affair, and printed.
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
# An emulated machine may pause for a second or two without any fault; that is not what is to be timed here.
PATIENCE = ("--gap", "5", "--stable-for", "10", "--timeout", "900")


@pytest.fixture(scope="module", autouse=True)
def snapshot() -> None:
    """Save the lab as it stands, once for all failovers."""
    saved = drive.lab("snapshot", SNAPSHOT)
    assert saved.status == 0, saved.text
    PICTURES.mkdir(exist_ok=True)


@pytest.fixture(autouse=True)
def put_back(snapshot: None) -> Iterator[None]:
    """Put the lab back after each, also after one that failed: the next must not find its ruins."""
    yield
    restored = drive.lab("restore", SNAPSHOT)
    assert restored.status == 0, restored.text


def test_a_worker_loses_its_power() -> None:
    """Its neighbour takes the address over, tells everybody in five pairs, and serves."""
    ip, worker = _owned_by_a_worker()
    lab = lifecycle.find(drive.LAB)
    told = failover("power-off", ip, worker, lambda: lifecycle.power_off(lab, worker))
    change = _moved(told, worker)
    assert change["overlap_s"] == 0, "a machine without power answers nothing"
    assert change["silence_at_least_s"] > 1, "memberlist cannot have noticed sooner"
    assert change["tcp_outage_s"] is not None
    assert change["tcp_outage_s"] > 1


def test_a_speaker_is_deleted() -> None:
    """It says goodbye to the others, so that the address moves at once, or its successor goes on with it."""
    ip, worker = _owned_by_a_worker()
    pod = _speaker(worker)
    told = failover(
        "speaker-deleted", ip, worker, lambda: drive.kubectl(f"-n metallb-system delete pod {pod} --wait=false")
    )
    change = told["changes"][0]
    assert change["kind"] in ("moved", "interrupted"), change
    if change["kind"] == "moved":
        _announced(change)
    # Forwarding is kube-proxy's affair: a client that knows the MAC goes on through the node without its speaker.
    assert change["first_tcp_outcome"] == "open"


def test_a_node_is_drained() -> None:
    """With externalTrafficPolicy Local the address follows its pods; the speaker itself stays on a drained node."""
    drive.kubectl("""-n course patch service lb-one -p '{"spec": {"externalTrafficPolicy": "Local"}}'""")
    ip = _ip("course", "lb-one")
    drive.until(f"a worker to answer for {ip}", lambda: _owner(ip) in WORKERS, 300)
    worker = _owner(ip)
    other = next(name for name in WORKERS if name != worker)
    drive.until(f"a ready pod of lb-one on {other}", lambda: other in _nodes_with_a_ready_pod("lb-one"), 300)
    # The evictions are asked for at once; that the last pod is gone takes minutes here, and nothing hangs on it.
    evict = f"drain {worker} --ignore-daemonsets --delete-emptydir-data --force --timeout=60s"
    told = failover(
        "drained", ip, worker, lambda: drive.kubectl(evict, unless=("global timeout reached", "did not complete"))
    )
    change = _moved(told, worker)
    assert _name(told, change["to"]) == other, "only that node has a ready pod"


def failover(name: str, ip: str, owner: str, act: Callable[[], object]) -> dict[str, Any]:
    """Watch an address from the operator's machine while something is done to its owner; return the report.

    The act begins once the owner has been seen answering and serving, the watch ends by itself.
    """
    drive.say(f"{name}: watching {ip} on {owner}")
    picture = PICTURES / f"{name}.svg"
    argv = drive.on_site("l2", "watch", ip, "--until-stable", *PATIENCE, "--port", "80", "--svg", str(picture))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=drive.ROOT) as watch:
        try:
            lines = _lines(watch)
            seen: list[str] = []
            # Not by name: a node may be slow to answer for its own address.
            while not (any(" answers" in line for line in seen) and any(line.endswith(": open") for line in seen)):
                line = lines.get(timeout=120)
                assert line is not None, "the watch ended before it began:\n" + "\n".join(seen)
                seen.append(line)
            act()
            drive.say(f"{name}: done to {owner}; waiting for the address to settle")
            assert watch.stdout is not None
            output = watch.stdout.read()
            status = watch.wait()
        finally:
            watch.kill()
    told: dict[str, Any] = json.loads(output)
    (PICTURES / f"{name}.json").write_text(output)
    drive.say(f"{name}: {told['title']}")
    for event in told["events"]:
        drive.say(f"  {event['t']:+8.3f} s  {event['text']}")
    assert status == 0, json.dumps({key: told[key] for key in ("verdict", "evidence", "changes")}, indent=2)
    assert told["verdict"] == "OK"
    assert told["run"]["ended_by"] == "stable"
    assert _name(told, told["changes"][0]["from"]) == owner
    assert told["title"] in picture.read_text()
    return told


def _lines(process: subprocess.Popen[str]) -> queue.Queue[str | None]:
    """Return a queue of what a process says on stderr; None at its end."""
    found: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            drive.say(f"  {line.rstrip()}")
            found.put(line.rstrip())
        found.put(None)

    threading.Thread(target=read, daemon=True).start()
    return found


def _moved(told: dict[str, Any], worker: str) -> dict[str, Any]:
    """Assert that the address went from a worker to another node with all that belongs to it."""
    change: dict[str, Any] = told["changes"][0]
    assert change["kind"] == "moved", change
    taker = _name(told, change["to"])
    assert taker not in (worker, ""), told["owners"]
    assert next(owner["node"] for owner in told["owners"] if owner["mac"] == change["to"]), "the new owner is a node"
    assert change["old_last_reply"] is not None
    assert change["new_first_reply"] is not None
    assert change["silence_s"] >= change["silence_at_least_s"] >= 0
    assert change["first_tcp_answer"] is not None, "the service is reached through the new owner"
    assert change["first_tcp_outcome"] == "open"
    _announced(change)
    return change


def _announced(change: dict[str, Any]) -> None:
    """Assert that the new owner told everybody, in the way of MetalLB."""
    assert change["first_gratuitous"] is not None
    assert change["gratuitous_expected"] == 5
    assert change["gratuitous_pairs"] >= 3, "some may get lost on a busy machine, most do not"


def _name(told: dict[str, Any], mac: str | None) -> str:
    return next((str(owner["node"]) for owner in told["owners"] if owner["mac"] == mac), "")


def _owned_by_a_worker() -> tuple[str, str]:
    """Return an external IP of the workloads and the worker that answers for it.

    Of Services whose pods are on every worker, and whose address any node may announce.
    """
    ips = [_ip("course", name) for name in ("lb-one", "lb-two")]
    owned = {ip: _owner(ip) for ip in ips}
    found = next(((ip, owner) for ip, owner in owned.items() if owner in WORKERS), None)
    assert found is not None, f"no external IP is a worker's: {owned}"
    return found


def _owner(ip: str) -> str:
    """Return the node that alone answers for an address, "" while that is nobody or more than one."""
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
