"""The system check: pods, components and MetalLB's speakers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import system
from provisioner.kube import Object
from tests.unit.checks.contexts import SITE, context, findings
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node, pod, workload

NODES = [node("master", "192.0.2.10"), node("w1", "192.0.2.11"), node("w2", "192.0.2.12")]


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


def test_a_healthy_system_passes_in_three_requests(tmp_path: Path) -> None:
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


def test_a_node_without_a_speaker_fails_although_the_daemonset_is_complete(tmp_path: Path) -> None:
    """Its taint excludes the node from the DaemonSet's own count."""
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


def test_a_node_with_two_speakers_fails(tmp_path: Path) -> None:
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
def test_each_missing_component_fails(tmp_path: Path, part: Object) -> None:
    found = findings(system.CHECK, context(tmp_path, FakeCluster(*(one for one in SYSTEM if one is not part))))
    (one,) = found["SYSTEM_PART_MISSING"]
    assert not one.ok
    assert one.subject.split("/")[0] == part["metadata"]["namespace"]
    assert part["metadata"]["name"].startswith(one.subject.split("/")[1])
    assert one.evidence == (f"Warning Something about {part['metadata']['namespace']}/",)


def test_components_that_the_site_disables_are_not_missing(tmp_path: Path) -> None:
    text = SITE.replace("[cluster]", '[cluster]\nnetwork = "bridge"')
    text += "[metrics]\nenabled = false\n[ingress]\nenabled = false\n[metallb]\nenabled = false\n"
    text = text.replace('[[metallb.pools]]\nname = "lab"\naddresses = ["192.0.2.200-192.0.2.210"]\n', "")
    found = findings(system.CHECK, context(tmp_path, FakeCluster(*SYSTEM[:3:2]), text))
    assert not found


def test_an_unhealthy_pod_and_an_incomplete_workload_fail_with_evidence(tmp_path: Path) -> None:
    unhealthy = speaker("w2", ready=False)
    short = workload("DaemonSet", "speaker", "metallb-system", 3, ready=2)
    objects = [one for one in SYSTEM if one["metadata"]["name"] not in ("speaker", "speaker-w2")]
    found = findings(system.CHECK, context(tmp_path, FakeCluster(*objects, unhealthy, short)))
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
        ({"observedGeneration": 0}, "was changed, and its controller has not observed that yet"),
        ({"updatedReplicas": 1}, "has 1 of 2 pods up to date"),
        ({"readyReplicas": None}, ""),
    ],
)
def test_what_a_workload_lacks(changes: dict[str, Any], words: str) -> None:
    short = workload("Deployment", "one", "kube-system", 2)
    short["status"] = {key: value for key, value in (short["status"] | changes).items() if value is not None}
    assert system.shortage(short) == (words or "has 0 of 2 pods ready")
