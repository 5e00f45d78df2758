"""What a real API server's cluster tells whoever waits for it: events, logs, and why a wait was in vain."""

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


def test_events_come_oldest_first_and_about_one_object(cluster: Cluster, course: str, name: str) -> None:
    for one in (
        event(f"{name}.2", course, name, "second", "2026-11-22T10:00:02Z"),
        event(f"{name}.1", course, name, "first", "2026-11-22T10:00:01Z"),
        event(f"{name}.3", course, "another", "else", "2026-11-22T10:00:03Z"),
    ):
        cluster.apply(one)
    about = cluster.events(course, name)
    assert about == [f"Warning BackOff Pod/{name}: first", f"Warning BackOff Pod/{name}: second"]
    assert len(cluster.events(course)) >= 3


def test_a_pod_that_runs_nowhere_has_no_log_and_runs_no_command(cluster: Cluster, course: str, name: str) -> None:
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
    ), "the API itself answered, so the way to it works"
    cluster.delete("Pod", name, course)


def test_a_wait_returns_what_it_waited_for(cluster: Cluster, course: str, name: str) -> None:
    said: list[str] = []
    cluster.progress = said.append
    looks = itertools.count()

    def look() -> Object | None:
        if next(looks) == 1:
            cluster.apply(config_map(name, course, {"a": "1"}))
        return cluster.get("ConfigMap", name, course)

    found = cluster.wait("the thing", look, 30)
    assert found["data"] == {"a": "1"}
    assert said
    assert said[0].startswith("waiting for the thing (")


def test_a_wait_in_vain_says_why(cluster: Cluster, impatient: Any, connect: Connect) -> None:
    config: Any = cluster.kubeconfig()
    import yaml

    short = connect(yaml.safe_dump(config), at=impatient)

    def look() -> None:
        short.raw("/no/such/path")

    with pytest.raises(ClusterError, match=r"^waited \d+ s for the impossible \(the API refused to GET") as raised:
        short.wait("the impossible", look, 5, lambda: "pod x: ImagePullBackOff")
    assert raised.value.tail == "pod x: ImagePullBackOff"


def test_an_explanation_that_fails_is_told_too(control_plane: ControlPlane, impatient: Any, connect: Connect) -> None:
    short = connect(control_plane.kubeconfig(), at=impatient)
    with pytest.raises(ClusterError, match=r"^waited \d+ s for nothing$") as raised:
        short.wait("nothing", lambda: None, 1, lambda: str(short.raw("/no/such/path")))
    assert raised.value.tail.startswith("(no explanation: the API refused to GET /no/such/path")


def test_a_long_wait_tells_what_is_in_the_way_before_time_is_up(impatient: Any, connect: Connect) -> None:
    said: list[str] = []
    short = connect("", at=impatient)
    short.progress = said.append
    in_the_way = "Warning FailedScheduling Pod/x: 0/3 nodes are available: 3 Insufficient memory."

    def look() -> bool:
        return bool(said) and said[-1].endswith(f" s): {in_the_way}")

    assert short.wait("a pod", look, 300, lambda: f"pod x (not scheduled): no container has started\n{in_the_way}")
    assert said[0].endswith(" s)"), "nothing is asked in the first moments"
