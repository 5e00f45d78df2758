"""Labels, taints and readiness of nodes; server-side apply of labels is tested on a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import ClusterError, NotYet
from provisioner.kube import Object
from provisioner.steps import nodes
from provisioner.steps.nodes import STEP, TAINTS_ANNOTATION
from tests import hosts_toml
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node
from tests.unit.steps.doubles import POOL, RecordingHost, carry_out, fleet_for, site_at, summaries

TAINTS = ["dedicated=storage:NoSchedule", "example.org/slow:PreferNoSchedule"]
TAINTED = (
    hosts_toml.host("master", "192.168.56.10", "control-plane")
    + hosts_toml.host("worker1", "192.168.56.11", "worker", taints=TAINTS)
    + POOL
)


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    return fleet_for(STEP, site_at(tmp_path, hosts=TAINTED))["master"]


ROLE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
OLD_ROLE = {"key": "node-role.kubernetes.io/master", "effect": "NoSchedule"}


def cluster(*taints: dict[str, str]) -> FakeCluster:
    worker = {**node("worker1"), "spec": {"taints": [*taints]} if taints else {}}
    held = FakeCluster({**node("master"), "spec": {"taints": [ROLE]}}, worker)
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
        pytest.param([{**SLOW, "value": ""}, NOT_READY, STORAGE], [], id="other order, other taints too"),
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
            id="an unwanted value",
        ),
    ],
)
def test_taints(host: RecordingHost, have: list[dict[str, str]], expected: list[str]) -> None:
    assert summaries(STEP, host, cluster(*have)) == expected


def test_a_taint_replaces_the_one_of_its_key_and_effect(host: RecordingHost) -> None:
    api = cluster({**STORAGE, "value": "other"}, NOT_READY, {**STORAGE, "effect": "NoExecute"})
    carry_out(STEP, host, api)
    ((kind, name, patch),) = api.merged
    assert (kind, name) == ("Node", "worker1")
    assert patch == {
        "metadata": {
            "annotations": {TAINTS_ANNOTATION: "dedicated=storage:NoSchedule,example.org/slow:PreferNoSchedule"}
        },
        "spec": {"taints": [NOT_READY, {**STORAGE, "effect": "NoExecute"}, STORAGE, SLOW]},
    }


OLD = {"key": "old", "value": "1", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("have", "noted", "expected", "left", "annotation_after"),
    [
        pytest.param(
            [STORAGE, OLD, SLOW],
            "dedicated=storage:NoSchedule,old=1:NoSchedule,example.org/slow:PreferNoSchedule",
            "remove taint old=1:NoSchedule from worker1",
            [STORAGE, SLOW],
            "dedicated=storage:NoSchedule,example.org/slow:PreferNoSchedule",
            id="ours",
        ),
        pytest.param([STORAGE, OLD, SLOW], "dedicated=storage:NoSchedule", "", None, None, id="not ours"),
        pytest.param([STORAGE, SLOW], "old=1:NoSchedule", "", None, None, id="removed already"),
        pytest.param([{**OLD, "value": "2"}, STORAGE, SLOW], "old=1:NoSchedule", "", None, None, id="changed since"),
        pytest.param([STORAGE, SLOW], "nonsense", "", None, None, id="not a taint"),
        pytest.param(
            [OLD, SLOW],
            "old=1:NoSchedule",
            "taint worker1 with dedicated=storage:NoSchedule; remove taint old=1:NoSchedule from worker1",
            [SLOW, STORAGE],
            "dedicated=storage:NoSchedule",
            id="one removed, one added",
        ),
    ],
)
def test_a_taint_that_left_hosts_toml_is_removed(
    host: RecordingHost,
    have: list[dict[str, str]],
    noted: str,
    expected: str,
    left: list[dict[str, str]] | None,
    annotation_after: str | None,
) -> None:
    """Only if we set it: SLOW is not ours unless the annotation names it."""
    api = cluster(*have)
    api.live("Node", "worker1")["metadata"]["annotations"] = {TAINTS_ANNOTATION: noted}
    assert summaries(STEP, host, api) == ([expected] if expected else [])
    carry_out(STEP, host, api)
    if left is None:
        assert api.merged == []
        return
    ((_, _, patch),) = api.merged
    assert patch == {"metadata": {"annotations": {TAINTS_ANNOTATION: annotation_after}}, "spec": {"taints": left}}


EXCLUDED = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}


@pytest.mark.parametrize(
    ("roles", "keys", "labels", "removed"),
    [
        pytest.param('"control-plane", "worker"', "", EXCLUDED, True, id="takes ordinary pods"),
        pytest.param('"control-plane", "worker"', "", {}, False, id="removed already"),
        pytest.param('"control-plane"', "", EXCLUDED, False, id="only a control plane"),
        pytest.param(
            '"control-plane", "worker"',
            'labels = { "node.kubernetes.io/exclude-from-external-load-balancers" = "" }\n',
            EXCLUDED,
            False,
            id="hosts.toml wants it",
        ),
    ],
)
def test_a_control_plane_that_takes_ordinary_pods_announces_external_ips(
    tmp_path: Path, roles: str, keys: str, labels: dict[str, str], removed: bool
) -> None:
    """kubeadm's label keeps MetalLB from announcing on every control plane."""
    text = TAINTED.replace('roles = ["control-plane"]\n', f"roles = [{roles}]\n{keys}")
    site = site_at(tmp_path, 'kubernetes = "1.37"', hosts=text)
    api = cluster(STORAGE, SLOW)
    api.live("Node", "master")["metadata"]["labels"] = dict(labels)
    api.live("Node", "master")["spec"]["taints"] = [] if "worker" in roles else [ROLE]
    host = fleet_for(STEP, site)["master"]
    carry_out(STEP, host, api)
    wanted = ("Node", "master", {"metadata": {"labels": dict.fromkeys(EXCLUDED)}})
    assert api.merged == ([wanted] if removed else [])


@pytest.mark.parametrize(
    ("release", "roles", "have", "expected", "left"),
    [
        ("1.34.0", '"control-plane"', [ROLE], "", None),
        (
            "1.34.0",
            '"control-plane"',
            [],
            "taint master with node-role.kubernetes.io/control-plane:NoSchedule",
            [ROLE],
        ),
        ("1.20.2", '"control-plane"', [], "taint master with node-role.kubernetes.io/master:NoSchedule", [OLD_ROLE]),
        ("1.24.0", '"control-plane"', [ROLE, OLD_ROLE], "", None),
        ("1.24.0", '"control-plane"', [OLD_ROLE], "", None),
        ("1.34.0", '"control-plane", "worker"', [], "", None),
        (
            "1.34.0",
            '"control-plane", "worker"',
            [NOT_READY, ROLE],
            "remove taint node-role.kubernetes.io/control-plane:NoSchedule from master",
            [NOT_READY],
        ),
        (
            "1.24.0",
            '"control-plane", "worker"',
            [ROLE, OLD_ROLE],
            "remove taint node-role.kubernetes.io/control-plane:NoSchedule, "
            "node-role.kubernetes.io/master:NoSchedule from master",
            [],
        ),
    ],
)
def test_the_control_plane_taint_follows_the_roles(
    tmp_path: Path, release: str, roles: str, have: list[Object], expected: str, left: list[Object] | None
) -> None:
    site = site_at(tmp_path, f'kubernetes = "{release}"', hosts=TAINTED.replace('"control-plane"', roles))
    api = cluster(STORAGE, SLOW)
    api.live("Node", "master")["spec"]["taints"] = have
    host = fleet_for(STEP, site)["master"]
    assert summaries(STEP, host, api) == ([expected] if expected else [])
    carry_out(STEP, host, api)
    assert [patch for _, _, patch in api.merged] == (
        [] if left is None else [{"metadata": {"annotations": {TAINTS_ANNOTATION: None}}, "spec": {"taints": left}}]
    )


def test_the_annotation_is_removed_with_the_last_taint(tmp_path: Path) -> None:
    bare = TAINTED.replace('taints = ["dedicated=storage:NoSchedule", "example.org/slow:PreferNoSchedule"]', "")
    api = cluster(OLD)
    api.live("Node", "worker1")["metadata"]["annotations"] = {TAINTS_ANNOTATION: "old=1:NoSchedule"}
    carry_out(STEP, fleet_for(STEP, site_at(tmp_path, hosts=bare))["master"], api)
    ((_, _, patch),) = api.merged
    assert patch == {"metadata": {"annotations": {TAINTS_ANNOTATION: None}}, "spec": {"taints": []}}


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
    worker = api.live("Node", "worker1")
    worker["status"] = {"conditions": [{"type": "Ready", "status": "False", "message": "cni plugin not initialized"}]}
    assert summaries(STEP, host, api) == ["wait for node worker1 to be Ready"]
    with pytest.raises(ClusterError) as raised:
        carry_out(STEP, host, api)
    assert "Ready=False: cni plugin not initialized" in raised.value.tail
    assert "Warning Something about default/worker1" in raised.value.tail


def test_hosts_that_have_not_joined(host: RecordingHost) -> None:
    with pytest.raises(NotYet) as raised:
        summaries(STEP, host, FakeCluster(node("master")))
    assert str(raised.value) == "the cluster has no node worker1; provisioner apply --from join"
