"""Waiting for a real cluster: events, logs, and the reason of a timeout."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from tests.integration.kube.apiserver import ControlPlane
from tests.integration.kube.reaching import Connect, config_map

pytestmark = pytest.mark.integration


def event(name: str, namespace: str, about: str, message: str, when: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {"kind": "Pod", "name": about, "namespace": namespace},
        "type": "Warning",
        "reason": "BackOff",
        "message": message,
        "lastTimestamp": when,
    }


def test_events_are_sorted_and_filtered_by_object(cluster: Cluster, course: str, name: str) -> None:
    for one in (
        event(f"{name}.2", course, name, "second", "2026-11-22T10:00:02Z"),
        event(f"{name}.1", course, name, "first", "2026-11-22T10:00:01Z"),
        event(f"{name}.3", course, "another", "else", "2026-11-22T10:00:03Z"),
    ):
        cluster.apply(one)
    about = cluster.events(course, name)
    assert about == [f"Warning BackOff Pod/{name}: first", f"Warning BackOff Pod/{name}: second"]
    assert len(cluster.events(course)) >= 3


def test_an_unscheduled_pod_has_no_log_and_runs_no_command(cluster: Cluster, course: str, name: str) -> None:
    containers = [{"name": "c", "image": "registry.k8s.io/pause:3.2"}]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": course},
        "spec": {"containers": containers},
    }
    cluster.wait("the namespace's service account", lambda: cluster.get("ServiceAccount", "default", course), 30)
    cluster.apply(pod)
    assert cluster.logs(course, name) == ""
    assert cluster.logs(course, "gone") == '(no log: pods "gone" not found)'
    with pytest.raises(ClusterError) as raised:
        cluster.exec(course, name, ["true"])
    assert str(raised.value) == (
        f"cannot run a command in pod {course}/{name}: pod {name} does not have a host assigned"
    ), "the API server did not answer"
    cluster.delete("Pod", name, course)


def test_a_wait_returns_what_it_waited_for(cluster: Cluster, course: str, name: str) -> None:
    said: list[str] = []
    cluster.progress = said.append
    polls = itertools.count()

    def poll() -> Object | None:
        if next(polls) == 1:
            cluster.apply(config_map(name, course, {"a": "1"}))
        return cluster.get("ConfigMap", name, course)

    found = cluster.wait("the thing", poll, 30)
    assert found["data"] == {"a": "1"}
    assert said
    assert said[0].startswith("waiting for the thing (")


def test_a_timeout_reports_why(cluster: Cluster, impatient: Any, connect: Connect) -> None:
    config: Any = cluster.kubeconfig()
    import yaml

    short = connect(yaml.safe_dump(config), at=impatient)

    def poll() -> None:
        short.raw("/no/such/path")

    with pytest.raises(ClusterError, match=r"^waited \d+ s for the impossible \(the API refused to GET") as raised:
        short.wait("the impossible", poll, 5, lambda: "pod x: ImagePullBackOff")
    assert raised.value.tail == "pod x: ImagePullBackOff"


def test_an_explanation_that_fails_is_reported(control_plane: ControlPlane, impatient: Any, connect: Connect) -> None:
    short = connect(control_plane.kubeconfig(), at=impatient)
    with pytest.raises(ClusterError, match=r"^waited \d+ s for nothing$") as raised:
        short.wait("nothing", lambda: None, 1, lambda: str(short.raw("/no/such/path")))
    assert raised.value.tail.startswith("(no explanation: the API refused to GET /no/such/path")


def test_a_long_wait_shows_what_it_is_waiting_on(impatient: Any, connect: Connect) -> None:
    said: list[str] = []
    short = connect("", at=impatient)
    short.progress = said.append
    reason = "Warning FailedScheduling Pod/x: 0/3 nodes are available: 3 Insufficient memory."

    def poll() -> bool:
        return bool(said) and said[-1].endswith(f" s): {reason}")

    assert short.wait("a pod", poll, 300, lambda: f"pod x (not scheduled): no container has started\n{reason}")
    assert said[0].endswith(" s)"), "the first progress line has no explanation"
