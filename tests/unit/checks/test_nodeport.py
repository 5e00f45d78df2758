"""The nodeport check: scaling the Deployment, and a second Service with the same port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import nodeport
from provisioner.checks.restore import NotRestored
from provisioner.errors import ClusterError
from provisioner.kube import Object
from tests.unit.checks.contexts import findings
from tests.unit.checks.test_http import (
    NODES,
    Respond,
    node_port,
    np_service,
    on_loopback,
    taking_turns,
    with_one_service,
)
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod, service, workload


def deployment(replicas: int = 3) -> Object:
    return workload("Deployment", "np-pods", "course", replicas)


class Scaling(FakeCluster):
    """A Deployment whose pods follow its replicas; only `most` become ready, and only the first `reached` answer."""

    def __init__(self, port: int, *, most: int = 99, reached: int = 99) -> None:
        super().__init__(np_service(port), deployment())
        self.most, self.reached = most, reached
        self.sizes: list[int] = []
        self.turn = 0
        self.on_merge = lambda kind, name, patch: self.scale(patch["spec"]["replicas"])
        self.scale(3)

    def scale(self, replicas: int) -> None:
        self.sizes.append(replicas)
        others = [one for one in self.objects if one["kind"] != "Pod"]
        own = [pod(f"np-{number}", "w1", app="np-pods", ready=number < self.most) for number in range(replicas)]
        self.objects = others + own

    def respond(self, path: str, host: str) -> tuple[int, str]:
        ready = [one for one in self.list("Pod", "course") if one["status"]["containerStatuses"][0]["ready"]]
        self.turn += 1
        return 200, ready[: self.reached][self.turn % min(len(ready), self.reached)]["metadata"]["name"]


def checked(folder: Path, **how: int) -> tuple[list[object], Scaling]:
    cluster: Scaling | None = None

    def respond(path: str, host: str) -> tuple[int, str]:
        assert cluster is not None
        return cluster.respond(path, host)

    both: dict[str, Respond] = dict.fromkeys(NODES, respond)
    with node_port(both) as port:
        cluster = Scaling(port, **how)
        found = findings(nodeport.CHECK, on_loopback(with_one_service(folder), cluster, 0.02))
    return [one for many in found.values() for one in many], cluster


def test_the_deployment_is_scaled_out_and_back(tmp_path: Path) -> None:
    found, cluster = checked(tmp_path)
    assert all(one.ok for one in found)  # type: ignore[attr-defined]
    (scaled,) = (one for one in found if "scaled to 6" in str(one))
    assert "leads to np-0, np-1, np-2, np-3, np-4 and np-5, scaled to 6," in str(scaled)
    assert cluster.sizes == [3, 6, 3]


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        (
            {"most": 5},
            "NODEPORT_NOT_SCALED",
            "has 5 of 6 pods ready after scaling (np-5: running but not ready)",
        ),
        ({"reached": 5}, "NODEPORT_POD_UNSEEN", "never led to np-5, scaled to 6, in "),
    ],
)
def test_the_deployment_is_scaled_back_after_a_failure(
    tmp_path: Path, how: dict[str, int], code: str, words: str
) -> None:
    found, cluster = checked(tmp_path, **how)
    (one,) = (one for one in found if not one.ok)  # type: ignore[attr-defined]
    assert one.code == code  # type: ignore[attr-defined]
    assert words in one.detail  # type: ignore[attr-defined]
    assert one.evidence  # type: ignore[attr-defined]
    assert cluster.sizes == [3, 6, 3]


class Careless(FakeCluster):
    """An API that allocates a nodePort twice."""

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        self.hold(manifest)
        return manifest


class Vanishing(Scaling):
    """An API that goes away while the Deployment is scaled up, and refuses to scale it back `refused` times."""

    refused = 0

    def list(self, *arguments: Any, **more: Any) -> list[Object]:
        if self.sizes[-1] == 6:
            raise ClusterError("the API went away")
        return super().list(*arguments, **more)

    def merge(self, kind: str, name: str, patch: Object, **where: Any) -> Object:
        if self.sizes[-1] == 6 and self.refused:
            self.refused -= 1
            raise ClusterError("it is still away")
        self.sizes.append(patch["spec"]["replicas"])
        return patch


def test_the_deployment_is_scaled_back_after_an_api_outage(tmp_path: Path) -> None:
    cluster = Vanishing(1)
    cluster.refused = 5
    with pytest.raises(ClusterError, match=r"^the API went away$"):
        findings(nodeport.CHECK, on_loopback(tmp_path, cluster, 0.001))
    assert cluster.sizes == [3, 6, 3]
    cluster.refused = 999
    expected = "^Deployment course/np-pods was not scaled back, and may have 6 replicas instead of 3: .* went away; "
    with pytest.raises(NotRestored, match=expected):
        findings(nodeport.CHECK, on_loopback(tmp_path, cluster, 0.001))


def test_a_pod_that_is_not_ready_fails_although_the_others_answer(tmp_path: Path) -> None:
    """One of three is ready: the responses are right, but two pods are missing."""
    own = [pod("np-a", "w1", app="np-pods"), pod("np-b", "w2", app="np-pods", ready=False)]
    with node_port(dict.fromkeys(NODES, taking_turns("np-a"))) as port:
        cluster = FakeCluster(np_service(port), deployment(), *own)
        found = findings(nodeport.CHECK, on_loopback(with_one_service(tmp_path), cluster))
    (one,) = found["NODEPORT_PODS_NOT_READY"]
    assert (one.ok, one.subject) == (False, "Service course/np-pods")
    assert one.detail == "has 1 of 3 pods ready (np-b: running but not ready)"
    assert "agnhost: log of course/np-b agnhost 8 False" in one.evidence
    assert found["NODEPORT_PODS"][0].ok


def test_pods_that_were_never_created_fail(tmp_path: Path) -> None:
    own = [pod("np-a", "w1", app="np-pods"), pod("np-old", "w2", app="np-pods", phase="Failed")]
    with node_port(dict.fromkeys(NODES, taking_turns("np-a"))) as port:
        cluster = FakeCluster(np_service(port), deployment(), *own)
        found = findings(nodeport.CHECK, on_loopback(with_one_service(tmp_path), cluster))
    (one,) = found["NODEPORT_PODS_NOT_READY"]
    assert one.detail == "has 1 of 3 pods ready"
    assert one.evidence == ("Warning Something about course/np-pods",)


def test_a_users_own_nodeport_is_not_checked(tmp_path: Path) -> None:
    theirs = service("theirs", kind="NodePort", ports=[{"port": 22, "nodePort": 30022}])
    with node_port(dict.fromkeys(NODES, taking_turns("np-a"))) as port:
        cluster = FakeCluster(theirs, np_service(port), deployment(1), pod("np-a", "w1", app="np-pods"))
        found = findings(nodeport.CHECK, on_loopback(with_one_service(tmp_path), cluster))
    assert "course/theirs" not in str([one for code, many in found.items() if code != "NODEPORT_HELD" for one in many])


def test_a_port_that_is_allocated_twice_fails_and_is_released(tmp_path: Path) -> None:
    cluster = Careless(np_service(30080))
    (one,) = findings(nodeport.CHECK, on_loopback(tmp_path, cluster, 0.001))["NODEPORT_GIVEN_TWICE"]
    assert not one.ok
    assert cluster.get("Service", nodeport.DUPLICATE, "course") is None

    def refuse(manifest: Object) -> Object:
        raise ClusterError("the API refused to apply Service np-pods-twice: quota exceeded (403)", tail="a quota")

    cluster.apply = refuse  # type: ignore[method-assign, assignment]
    (one,) = findings(nodeport.CHECK, on_loopback(tmp_path, cluster, 0.001))["NODEPORT_OTHER_REFUSAL"]
    assert "quota exceeded" in one.detail
    assert one.remedy
    assert one.evidence == ("a quota", "Warning Something about course/np-pods")


def test_a_refused_port_without_a_holder_fails(tmp_path: Path) -> None:
    """The API server does that for minutes after a Service was deleted."""
    cluster = FakeCluster(np_service(30080))

    def refuse(manifest: Object) -> Object:
        cluster.objects = [one for one in cluster.objects if one["kind"] != "Service"]
        raise ClusterError("Invalid value: 30080: provided port is already allocated")

    cluster.apply = refuse  # type: ignore[method-assign, assignment]
    found = findings(nodeport.CHECK, on_loopback(tmp_path, cluster, 0.001))
    assert "NODEPORT_HELD" not in found
    (one,) = found["NODEPORT_HOLDER_UNKNOWN"]
    assert (one.ok, one.detail) == (False, "is refused, but no Service holds it")
    assert one.evidence[0].endswith("provided port is already allocated")
    assert one.evidence[1] == "Warning Something about course/np-pods"


def test_a_second_service_that_cannot_be_deleted_is_reported(tmp_path: Path) -> None:
    cluster = Careless(np_service(30080))

    def away(*arguments: Any, **more: Any) -> None:
        raise ClusterError("the API does not answer")

    cluster.delete = away  # type: ignore[method-assign]
    with pytest.raises(NotRestored, match="Service course/np-pods-twice may remain, with nodePort 30080"):
        findings(nodeport.CHECK, on_loopback(tmp_path, cluster, 0.001))
