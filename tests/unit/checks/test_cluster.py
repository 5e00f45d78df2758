"""The checks that only read: nodes and system."""

from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import nodes, pods, system
from provisioner.kube import Object
from tests.unit.checks.contexts import SITE, context, findings
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node, pod, workload

NODES = [node("master", "192.0.2.10"), node("w1", "192.0.2.11"), node("w2", "192.0.2.12")]


def test_nodes_as_they_should_be(tmp_path: Path) -> None:
    cluster = FakeCluster(*NODES)
    found = findings(nodes.CHECK, context(tmp_path, cluster))
    assert [(one.ok, one.subject, one.detail) for one in found.pop("NODE_READY")] == [
        (True, "master", "is Ready at 192.0.2.10 with kubelet 1.20.2"),
        (True, "w1", "is Ready at 192.0.2.11 with kubelet 1.20.2"),
        (True, "w2", "is Ready at 192.0.2.12 with kubelet 1.20.2"),
    ]
    assert not found
    assert len(cluster.reads) == 1


@pytest.mark.parametrize(
    ("changed", "code", "ok", "words"),
    [
        (None, "NODE_MISSING", False, "is no node of the cluster"),
        (node("w2", "192.0.2.12", ready="False"), "NODE_NOT_READY", False, "not Ready: what the kubelet says"),
        (node("w2", "192.0.2.12", ready="Unknown"), "NODE_NOT_READY", False, "is not Ready"),
        (node("w2", "10.0.2.15"), "NODE_WRONG_ADDRESS", False, "has the InternalIP 10.0.2.15, not 192.0.2.12"),
        (node("w2", "192.0.2.12", version="v1.19.9"), "NODE_WRONG_VERSION", False, "runs kubelet 1.19.9"),
        (node("w2", "192.0.2.12", version="v1.20.2-4+deb12u1"), "NODE_READY", True, "with kubelet 1.20.2"),
        (node("w2", "192.0.2.12", unschedulable=True), "NODE_CORDONED", True, "takes no new pods"),
    ],
)
def test_a_node_that_differs(tmp_path: Path, changed: Object | None, code: str, ok: bool, words: str) -> None:
    found = findings(nodes.CHECK, context(tmp_path, FakeCluster(*NODES[:2], *([changed] if changed else []))))
    (one,) = (one for one in found[code] if one.subject == "w2")
    assert one.ok is ok
    assert words in one.detail
    assert bool(one.remedy) is (code != "NODE_READY")
    if code == "NODE_NOT_READY":
        assert one.evidence == ("Warning Something about default/w2",)


def test_a_node_that_no_host_stands_for_is_told(tmp_path: Path) -> None:
    found = findings(nodes.CHECK, context(tmp_path, FakeCluster(*NODES, node("guest", "192.0.2.99"))))
    (one,) = found["NODE_UNKNOWN"]
    assert (one.ok, one.subject) == (True, "guest")


def speaker(where: str, **more: Any) -> Object:
    metadata = {"labels": {"app": "metallb", "component": "speaker"}}
    return pod(f"speaker-{where}", where, namespace="metallb-system", metadata=metadata, **more)


SYSTEM = [
    workload("Deployment", "coredns", "kube-system", 2),
    workload("Deployment", "metrics-server", "kube-system"),
    workload("DaemonSet", "kube-proxy", "kube-system", 3),
    workload("DaemonSet", "kube-flannel-ds", "kube-flannel", 3),
    workload("Deployment", "controller", "metallb-system"),
    workload("DaemonSet", "speaker", "metallb-system", 3),
    workload("Deployment", "haproxy-kubernetes-ingress", "haproxy-controller"),
    pod("coredns-1", "master", namespace="kube-system"),
    *(speaker(where) for where in ("master", "w1", "w2")),
    pod("crd-job", "w1", namespace="haproxy-controller", ready=False, phase="Succeeded"),
    pod("somebody-elses", "w1", namespace="default", ready=False),
]


def test_a_healthy_system_in_three_requests(tmp_path: Path) -> None:
    cluster = FakeCluster(*SYSTEM)
    found = findings(system.CHECK, context(tmp_path, cluster))
    assert [(one.subject, one.detail) for one in found.pop("SYSTEM_READY")] == [
        ("haproxy-controller", "1 pod is ready; complete: haproxy-kubernetes-ingress"),
        ("kube-system", "1 pod is ready; complete: coredns, kube-proxy, metrics-server"),
        ("metallb-system", "3 pods are ready; complete: controller, speaker"),
    ]
    (speakers,) = found.pop("SYSTEM_SPEAKERS")
    assert (speakers.ok, speakers.detail) == (True, "has exactly one pod on each of 3 nodes")
    assert not found
    assert len(cluster.reads) == 3


def test_a_node_that_no_speaker_runs_on_is_told_though_the_daemonset_is_complete(tmp_path: Path) -> None:
    """Its taint takes the node out of the DaemonSet's own count."""
    tainted = node("w2", "192.0.2.12", taints=[{"key": "disk", "value": "ssd", "effect": "NoSchedule"}])
    objects = [one for one in SYSTEM if one["metadata"]["name"] not in ("speaker", "speaker-w2")]
    complete = workload("DaemonSet", "speaker", "metallb-system", 2)
    found = findings(system.CHECK, context(tmp_path, FakeCluster(*objects, complete, *NODES[:2], tainted)))
    (one,) = found["SYSTEM_NO_SPEAKER"]
    assert (one.ok, one.subject) == (False, "DaemonSet metallb-system/speaker")
    assert one.detail.startswith("has no running pod on w2, ")
    assert one.detail.endswith("the node's taints are disk=ssd:NoSchedule")
    assert "taints of w2 in hosts.toml" in one.remedy
    assert one.evidence
    assert "SYSTEM_SPEAKERS" not in found


def test_a_node_with_two_speakers_is_told(tmp_path: Path) -> None:
    second = speaker("w2")
    second["metadata"]["name"] = "speaker-more"
    (one,) = findings(system.CHECK, context(tmp_path, FakeCluster(*SYSTEM, second)))["SYSTEM_SPEAKERS_TWICE"]
    assert one.detail == "has more than one running pod on w2"
    assert one.evidence[0] == "Warning Something about metallb-system/speaker"
    assert "speaker-more: agnhost: log of metallb-system/speaker-more agnhost 8 False" in one.evidence
    assert not [line for line in one.evidence if "speaker-w1" in line]


@pytest.mark.parametrize(
    "part", [one for one in SYSTEM if one["kind"] != "Pod"], ids=lambda one: one["metadata"]["name"]
)
def test_each_part_is_missed(tmp_path: Path, part: Object) -> None:
    found = findings(system.CHECK, context(tmp_path, FakeCluster(*(one for one in SYSTEM if one is not part))))
    (one,) = found["SYSTEM_PART_MISSING"]
    assert not one.ok
    assert one.subject.split("/")[0] == part["metadata"]["namespace"]
    assert part["metadata"]["name"].startswith(one.subject.split("/")[1])
    assert one.evidence == (f"Warning Something about {part['metadata']['namespace']}/",)


def test_what_the_site_does_not_want_is_not_missed(tmp_path: Path) -> None:
    text = SITE.replace("[cluster]", '[cluster]\nnetwork = "bridge"')
    text += "[metrics]\nenabled = false\n[ingress]\nenabled = false\n[metallb]\nenabled = false\n"
    text = text.replace('[[metallb.pools]]\nname = "lab"\naddresses = ["192.0.2.200-192.0.2.210"]\n', "")
    found = findings(system.CHECK, context(tmp_path, FakeCluster(*SYSTEM[:3:2]), text))
    assert not found


def waiting(reason: str, message: str = "", **more: Any) -> list[dict[str, Any]]:
    state = {"waiting": {"reason": reason, "message": message}}
    return [{"name": "one", "ready": False, "restartCount": 0, "state": state, **more}]


@pytest.mark.parametrize(
    ("sick", "words", "log"),
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
def test_why_a_pod_is_not_ready(sick: Object, words: str, log: str) -> None:
    assert not pods.ready(sick)
    assert words in pods.why_not_ready(sick)
    explained = pods.explain(FakeCluster(), sick)  # type: ignore[arg-type]
    assert explained == ("Warning Something about course/x", *([log] if log else []))


def test_a_sick_pod_and_a_short_workload_are_told_with_what_explains_them(tmp_path: Path) -> None:
    sick = speaker("w2", ready=False)
    short = workload("DaemonSet", "speaker", "metallb-system", 3, ready=2)
    objects = [one for one in SYSTEM if one["metadata"]["name"] not in ("speaker", "speaker-w2")]
    found = findings(system.CHECK, context(tmp_path, FakeCluster(*objects, sick, short)))
    (one,) = found["SYSTEM_POD_NOT_READY"]
    assert one.subject == "pod metallb-system/speaker-w2"
    assert one.detail == "on w2 is not ready: running but not ready"
    assert "agnhost: log of metallb-system/speaker-w2 agnhost 8 False" in one.evidence
    (two,) = found["SYSTEM_WORKLOAD_INCOMPLETE"]
    assert (two.subject, two.detail) == ("DaemonSet metallb-system/speaker", "has 2 of 3 pods ready")
    assert "metallb-system" not in [one.subject for one in found["SYSTEM_READY"]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observedGeneration": 0}, "has been changed and its controller has not seen it yet"),
        ({"updatedReplicas": 1}, "has 1 of 2 pods of its current version"),
        ({"readyReplicas": None}, ""),
    ],
)
def test_shortage(changes: dict[str, Any], words: str) -> None:
    short = workload("Deployment", "one", "kube-system", 2)
    short["status"] = {key: value for key, value in (short["status"] | changes).items() if value is not None}
    assert system.shortage(short) == (words or "has 0 of 2 pods ready")


def test_pods_by_node_and_by_selector() -> None:
    own = [pod("b", "w2", app="x"), pod("a", "w1", app="x"), pod("c", "w1", app="x"), pod("d", "w3", ready=False)]
    assert {where: one["metadata"]["name"] for where, one in pods.ready_by_node(own).items()} == {"w1": "a", "w2": "b"}
    assert [one["metadata"]["name"] for one in pods.matching(own, {"app.kubernetes.io/name": "x"})] == ["b", "a", "c"]
    assert pods.matching(own, {}) == []
