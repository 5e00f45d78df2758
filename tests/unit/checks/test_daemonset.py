"""The daemonset check: which nodes need a pod, and what is wrong with the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import daemonset
from provisioner.kube import Object
from tests.unit.checks.contexts import context, findings
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node, pod, workload

MASTER = {"key": "node-role.kubernetes.io/master", "effect": "NoSchedule"}
TOLERATIONS = [{"key": "node-role.kubernetes.io/master", "operator": "Exists", "effect": "NoSchedule"}]


def ds_pods(*tolerations: dict[str, Any], selector: dict[str, str] | None = None) -> Object:
    made = workload("DaemonSet", "ds-pods", "course", 3)
    made["spec"] = {
        "selector": {"matchLabels": {"app.kubernetes.io/name": "ds-pods"}},
        "template": {"spec": {"tolerations": list(tolerations), "nodeSelector": selector or {}}},
    }
    return made


NODES = [node("master", "192.0.2.10", taints=[MASTER]), node("w1", "192.0.2.11"), node("w2", "192.0.2.12")]
PODS = [pod(f"ds-{where}", where, app="ds-pods") for where in ("master", "w1", "w2")]


def test_one_pod_on_every_node_passes(tmp_path: Path) -> None:
    found = findings(daemonset.CHECK, context(tmp_path, FakeCluster(ds_pods(*TOLERATIONS), *NODES, *PODS)))
    (one,) = found.pop("DAEMONSET_ONE_EACH")
    assert (one.ok, one.detail) == (True, "has exactly one pod on master, w1 and w2")
    assert not found


def test_a_node_whose_taint_is_not_tolerated_needs_no_pod(tmp_path: Path) -> None:
    found = findings(daemonset.CHECK, context(tmp_path, FakeCluster(ds_pods(), *NODES, *PODS[1:])))
    (one,) = found["DAEMONSET_ONE_EACH"]
    assert one.detail == "has exactly one pod on w1 and w2; not on master, whose taints it does not tolerate"


class Joining(FakeCluster):
    """A node was added, and after some reads its pod exists."""

    def nodes(self) -> dict[str, Object]:
        if len(self.reads) > 6 and not any(one["metadata"]["name"] == "ds-w3" for one in self.objects):
            self.objects.append(pod("ds-w3", "w3", app="ds-pods"))
        return super().nodes()


def test_a_node_added_later_is_waited_for(tmp_path: Path) -> None:
    cluster = Joining(ds_pods(*TOLERATIONS), *NODES, node("w3", "192.0.2.13"), *PODS)
    where = context(tmp_path, cluster)
    object.__setattr__(
        where,
        "site",
        where.site.model_copy(update={"cluster": where.site.cluster.model_copy(update={"timeout_scale": 0.02})}),
    )
    (one,) = findings(daemonset.CHECK, where)["DAEMONSET_ONE_EACH"]
    assert one.detail.endswith("w2 and w3")
    assert cluster.progress_lines, "it was waited for"


@pytest.mark.parametrize(
    ("objects", "subject", "words"),
    [
        (PODS[:2], "on w2", "has no pod"),
        ([*PODS, pod("ds-more", "w1", app="ds-pods")], "on w1", "has 2 pods: ds-more and ds-w1"),
        ([*PODS[:2], pod("ds-w2", "w2", app="ds-pods", ready=False)], "on w2", "not ready: running but not ready"),
        ([*PODS[:2], pod("ds-w2", "w2", app="ds-pods", metadata={"deletionTimestamp": "x"})], "on w2", "has no pod"),
        ([*PODS, pod("ds-x", "w9", app="ds-pods")], "on w9", "has a pod that should not be there"),
    ],
)
def test_a_wrong_node_is_named(tmp_path: Path, objects: list[Object], subject: str, words: str) -> None:
    found = findings(daemonset.CHECK, context(tmp_path, FakeCluster(ds_pods(*TOLERATIONS), *NODES, *objects)))
    (one,) = found.pop("DAEMONSET_WRONG")
    assert one.subject == f"DaemonSet course/ds-pods {subject}"
    assert words in one.detail
    assert one.evidence
    assert not found


def test_a_missing_daemonset_and_no_node_for_it_fail(tmp_path: Path) -> None:
    assert "DAEMONSET_NONE" in findings(daemonset.CHECK, context(tmp_path, FakeCluster(*NODES)))
    nowhere = ds_pods(selector={"disk": "ssd"})
    found = findings(daemonset.CHECK, context(tmp_path, FakeCluster(nowhere, *NODES)))
    assert found["DAEMONSET_NO_NODE"][0].detail == "can run on no node (master, w1, w2)"


@pytest.mark.parametrize(
    ("taint", "toleration", "expected"),
    [
        (MASTER, TOLERATIONS[0], True),
        (MASTER, {"operator": "Exists"}, True),
        (MASTER, {"key": MASTER["key"], "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "a", "value": "1", "effect": "NoSchedule"}, {"key": "a", "value": "1"}, True),
        ({"key": "a", "value": "1", "effect": "NoSchedule"}, {"key": "a", "value": "2"}, False),
        ({"key": "a", "effect": "NoSchedule"}, {"key": "b", "operator": "Exists"}, False),
        ({"key": "a", "effect": "PreferNoSchedule"}, {}, True),
        ({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}, {}, True),
    ],
)
def test_tolerations(taint: dict[str, Any], toleration: dict[str, Any], expected: bool) -> None:
    assert daemonset.tolerated(taint, [toleration]) is expected
