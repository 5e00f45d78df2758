"""Reading pod objects."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.checks import pods
from provisioner.kube import Object
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod


def waiting(reason: str, message: str = "", **more: Any) -> list[dict[str, Any]]:
    state = {"waiting": {"reason": reason, "message": message}}
    return [{"name": "one", "ready": False, "restartCount": 0, "state": state, **more}]


@pytest.mark.parametrize(
    ("unready", "words", "log"),
    [
        (
            pod("x", "w1", ready=False, containerStatuses=waiting("ImagePullBackOff", "Back-off pulling a:1")),
            "container one is waiting, ImagePullBackOff: Back-off pulling a:1",
            "",
        ),
        (
            pod("x", "w1", ready=False, containerStatuses=waiting("CrashLoopBackOff", restartCount=4)),
            "container one is waiting, CrashLoopBackOff",
            "one: log of course/x one 8 True",
        ),
        (
            pod(
                "x",
                "w1",
                ready=False,
                containerStatuses=[{"name": "one", "ready": False, "restartCount": 3, "state": {"running": {}}}],
            ),
            "container one is not ready and was restarted 3 times",
            "one: log of course/x one 8 False",
        ),
        (
            pod(
                "x",
                "",
                ready=False,
                phase="Pending",
                containerStatuses=None,
                conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}],
            ),
            "not scheduled: 0/3 nodes are available",
            "",
        ),
        (pod("x", "w1", ready=False), "running but not ready", "agnhost: log of course/x agnhost 8 False"),
        (pod("x", "w1", ready=False, phase="Pending", containerStatuses=[]), "pending", ""),
        (
            pod("x", "w1", metadata={"deletionTimestamp": "2026"}),
            "being deleted",
            "agnhost: log of course/x agnhost 8 False",
        ),
        (
            pod(
                "x",
                "w1",
                ready=False,
                containerStatuses=[{"name": "one", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}],
            ),
            "container one exited with status 1 (Error)",
            "one: log of course/x one 8 False",
        ),
    ],
)
def test_why_a_pod_is_not_ready(unready: Object, words: str, log: str) -> None:
    assert not pods.ready(unready)
    assert words in pods.why_not_ready(unready)
    explained = pods.explain(FakeCluster(), unready)  # type: ignore[arg-type]
    assert explained == ("Warning Something about course/x", *([log] if log else []))


def test_pods_by_node_and_selector() -> None:
    own = [pod("b", "w2", app="x"), pod("a", "w1", app="x"), pod("c", "w1", app="x"), pod("d", "w3", ready=False)]
    assert {where: one["metadata"]["name"] for where, one in pods.ready_by_node(own).items()} == {"w1": "a", "w2": "b"}
    assert [one["metadata"]["name"] for one in pods.matching(own, {"app.kubernetes.io/name": "x"})] == ["b", "a", "c"]
    assert pods.matching(own, {}) == []
