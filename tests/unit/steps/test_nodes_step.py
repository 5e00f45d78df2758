"""Labels, taints and readiness of nodes; the server-side apply of labels is tested on a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import ClusterError
from provisioner.objects import Object
from provisioner.steps import nodes
from provisioner.steps.nodes import STEP

from .doubles import RecordingCluster, RecordingHost, carry_out, fleet_for, node, site_at, summaries

TAINTED = """
[[hosts]]
name = "master"
address = "192.168.56.10"
roles = ["control-plane"]
[[hosts]]
name = "worker1"
address = "192.168.56.11"
roles = ["worker"]
taints = ["dedicated=storage:NoSchedule", "example.org/slow:PreferNoSchedule"]
[[metallb.pools]]
name = "lab"
addresses = ["192.168.56.200-192.168.56.203"]
"""


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    return fleet_for(STEP, site_at(tmp_path, hosts=TAINTED))["master"]


def cluster(*taints: dict[str, str]) -> RecordingCluster:
    worker = {**node("worker1"), "spec": {"taints": [*taints]} if taints else {}}
    held = RecordingCluster().hold(node("master"), worker)
    held.diffs = lambda manifests: ["" for _ in manifests]  # type: ignore[method-assign]
    return held


STORAGE = {"key": "dedicated", "value": "storage", "effect": "NoSchedule"}
SLOW = {"key": "example.org/slow", "effect": "PreferNoSchedule"}
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule", "timeAdded": "2026-11-22T10:00:00Z"}
BOTH = "taint worker1 with dedicated=storage:NoSchedule, example.org/slow:PreferNoSchedule"


@pytest.mark.parametrize(
    ("have", "expected"),
    [
        pytest.param([], [BOTH], id="none"),
        pytest.param([STORAGE, SLOW], [], id="both"),
        pytest.param([{**SLOW, "value": ""}, NOT_READY, STORAGE], [], id="in another order, among others"),
        pytest.param([STORAGE], ["taint worker1 with example.org/slow:PreferNoSchedule"], id="one of them"),
        pytest.param(
            [{**STORAGE, "value": "other"}, SLOW],
            ["taint worker1 with dedicated=storage:NoSchedule"],
            id="another value",
        ),
        pytest.param(
            [{**STORAGE, "effect": "NoExecute"}, SLOW],
            ["taint worker1 with dedicated=storage:NoSchedule"],
            id="another effect",
        ),
        pytest.param(
            [STORAGE, {**SLOW, "value": "x"}],
            ["taint worker1 with example.org/slow:PreferNoSchedule"],
            id="a value where none is wanted",
        ),
    ],
)
def test_taints(host: RecordingHost, have: list[dict[str, str]], expected: list[str]) -> None:
    assert summaries(STEP, host, cluster(*have)) == expected


def test_a_taint_replaces_its_own_place_and_keeps_the_others(host: RecordingHost) -> None:
    api = cluster({**STORAGE, "value": "other"}, NOT_READY, {**STORAGE, "effect": "NoExecute"})
    carry_out(STEP, host, api)
    ((kind, name, patch),) = api.merged
    assert (kind, name) == ("Node", "worker1")
    assert patch == {"spec": {"taints": [NOT_READY, {**STORAGE, "effect": "NoExecute"}, STORAGE, SLOW]}}


@pytest.mark.parametrize(
    ("text", "taint"),
    [
        ("dedicated=storage:NoSchedule", STORAGE),
        ("example.org/slow:PreferNoSchedule", SLOW),
        ("a=:NoExecute", {"key": "a", "effect": "NoExecute"}),
    ],
)
def test_parse_taint(text: str, taint: dict[str, str]) -> None:
    assert nodes.parse_taint(text) == taint


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([{"type": "Ready", "status": "True"}], True),
        ([{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": "True"}], True),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "Ready", "status": "Unknown"}], False),
        ([{"type": "MemoryPressure", "status": "True"}], False),
        ([], False),
    ],
)
def test_ready(conditions: list[Object], expected: bool) -> None:
    assert nodes.ready({"status": {"conditions": conditions}}) is expected
    assert not nodes.ready({})


def test_each_node_that_is_not_ready_is_waited_for(host: RecordingHost) -> None:
    api = cluster(STORAGE, SLOW)
    worker = api.holds["Node", "", "worker1"]
    worker["status"] = {"conditions": [{"type": "Ready", "status": "False", "message": "cni plugin not initialized"}]}
    assert summaries(STEP, host, api) == ["wait for node worker1 to be Ready"]
    with pytest.raises(ClusterError) as raised:
        carry_out(STEP, host, api)
    assert "Ready=False: cni plugin not initialized" in raised.value.tail
    assert "FailedScheduling default/worker1" in raised.value.tail


def test_hosts_that_are_no_nodes(host: RecordingHost) -> None:
    with pytest.raises(ClusterError) as raised:
        summaries(STEP, host, RecordingCluster().hold(node("master")))
    assert str(raised.value) == "worker1: not a node of the cluster; provisioner apply --from join"
