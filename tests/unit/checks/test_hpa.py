"""The hpa check: metrics, and real load on a local server in place of the pods."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import hpa, load_generator, scale_target
from provisioner.checks.metrics import PATH
from provisioner.engine import rollout
from provisioner.kube import Object
from tests.unit.checks.contexts import context, findings
from tests.unit.checks.test_http import NODES, on_loopback, serving
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod, service, workload


def scaler(percent: int | None, pods: int = 1) -> Object:
    status = {"currentReplicas": pods, "desiredReplicas": pods}
    status |= {} if percent is None else {"currentCPUUtilizationPercentage": percent}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "hpa-pods"}
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "hpa-pods", "namespace": "course"},
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": 1,
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 50,
        },
        "status": status,
    }


def deployment(replicas: int = 1, ready: int | None = None) -> list[Object]:
    """Return the Deployment and its pods, `ready` of which are ready, all by default."""
    ready = replicas if ready is None else ready
    own = [pod(f"hpa-pods-{number}", "w1", app="hpa-pods", ready=number <= ready) for number in range(1, replicas + 1)]
    return [workload("Deployment", "hpa-pods", "course", replicas, ready), *own]


def pod_metrics(*names: str) -> dict[str, Any]:
    usage = {"usage": {"cpu": "1234567n", "memory": "5Mi"}}
    return {"items": [{"metadata": {"name": name}, "containers": [usage]} for name in names]}


OK = {"METRICS_PODS": True, "HPA_METRIC": True}
METRICS = pod_metrics("hpa-pods-1", "hpa-pods-2", "hpa-pods-3")


@pytest.mark.parametrize(
    ("objects", "metrics", "codes"),
    [
        ([scaler(0), *deployment()], METRICS, {**OK, "HPA_NO_ENTRANCE": False}),
        ([scaler(0, 3), *deployment(3)], METRICS, {**OK, "NOT_TRIED": True}),
        # The autoscaler reports three of three; one of the pods is ready.
        ([scaler(0, 3), *deployment(3, 1)], METRICS, {**OK, "HPA_PODS_NOT_READY": False}),
        # It has just decided on more pods and not updated the Deployment yet.
        ([scaler(0, 2), *deployment(1)], METRICS, {**OK, "HPA_PODS_NOT_READY": False}),
        ([scaler(0)], METRICS, {**OK, "HPA_PODS_NOT_READY": False}),
        ([scaler(None)], METRICS, {"METRICS_PODS": True, "HPA_NO_METRIC": False}),
        ([], METRICS, {"METRICS_PODS": True, "HPA_NONE": False}),
        ([scaler(3)], None, {"METRICS_MISSING": False}),
        ([scaler(3)], {"items": []}, {"METRICS_MISSING": False}),
        ([scaler(3)], {"items": None}, {"METRICS_MISSING": False}),
        ([scaler(3)], "404 page not found", {"METRICS_MISSING": False}),
    ],
)
def test_findings_by_the_state_of_the_autoscaler(
    tmp_path: Path, objects: list[Object], metrics: Any, codes: dict[str, bool]
) -> None:
    cluster = FakeCluster(*objects)
    if metrics is not None:
        cluster.answers[PATH] = metrics
    found = findings(hpa.CHECK, context(tmp_path, cluster))
    assert {code: one.ok for code, (one,) in found.items()} == codes
    if "METRICS_MISSING" in found:
        assert found["METRICS_MISSING"][0].evidence == ("there is no APIService v1beta1.metrics.k8s.io",)


def test_a_users_own_autoscaler_is_not_judged(tmp_path: Path) -> None:
    theirs = scaler(None)
    theirs["metadata"] = {"name": "theirs", "namespace": "course"}
    cluster = FakeCluster(theirs, scaler(0))
    cluster.answers[PATH] = METRICS
    found = findings(hpa.CHECK, context(tmp_path, cluster))
    assert "HPA_NO_METRIC" not in found
    assert "theirs" not in str(found)


def test_a_pod_that_is_not_ready_before_the_load_is_explained(tmp_path: Path) -> None:
    cluster = FakeCluster(scaler(0, 2), *deployment(2, 1))
    cluster.answers[PATH] = METRICS
    (one,) = findings(hpa.CHECK, context(tmp_path, cluster))["HPA_PODS_NOT_READY"]
    assert one.subject == "HorizontalPodAutoscaler course/hpa-pods"
    assert one.detail == "wants 2 pods, 1 of which are ready before any load (hpa-pods-2: running but not ready)"
    assert one.evidence == (
        "hpa-pods-2: Warning Something about course/hpa-pods-2",
        "hpa-pods-2: agnhost: log of course/hpa-pods-2 agnhost 8 False",
    )


# --- under load -----------------------------------------------------------------------------------------------------


class Scaling(FakeCluster):
    """An autoscaler that follows the load, and a Deployment that follows the autoscaler.

    While requests arrive it wants `to` pods, each of which takes `starts` reads to be ready; all but `never` of them
    become ready. late: it wants one more pod after the load has ended. It wants one pod again after `after` reads
    without requests.
    """

    def __init__(
        self,
        port: int,
        *,
        scales: bool = True,
        after: int = 3,
        pods: int = 1,
        to: int = 2,
        starts: int = 0,
        never: int = 0,
        late: bool = False,
    ) -> None:
        ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": port}]
        balancer = service("hpa-pods", kind="LoadBalancer", ports=ports)
        super().__init__(balancer, scaler(0, pods), *deployment(pods))
        self.answers[PATH] = METRICS
        self.scales, self.after, self.to, self.starts, self.never, self.late = scales, after, to, starts, never, late
        self.requests = self.seen = self.quiet = 0
        self.ages: dict[int, int] = {}  # reads since the pod with that number was requested
        self.loaded_when_ready: bool | None = None  # whether requests still arrived when another pod became ready
        self.counting = threading.Lock()

    def respond(self, path: str, host: str) -> tuple[int, str]:
        if path == "/hostname":
            return 200, "hpa-pods-1"
        assert path == load_generator.PATH
        with self.counting:
            self.requests += 1
        return 200, "{}"

    def list(self, kind: str, *arguments: Any, **more: Any) -> list[Object]:
        if kind == "HorizontalPodAutoscaler":
            self._sync()
        return super().list(kind, *arguments, **more)

    def _sync(self) -> None:
        (own,) = [one for one in self.objects if one["kind"] == "HorizontalPodAutoscaler"]
        desired, percent = int(own["status"]["desiredReplicas"]), 1
        loaded = self.requests > self.seen
        if loaded:
            self.quiet = 0
            desired, percent = (max(self.to, desired), 180) if self.scales else (desired, 30)
        else:
            self.quiet += 1
            if self.quiet == 1:
                percent = 180  # metrics are older than the end of the load
            if self.quiet == 2 and self.late and self.requests:
                desired += 1
            if self.quiet > self.after:
                desired = 1
        self.seen = self.requests
        own["status"] = scaler(percent, desired)["status"]
        self._follow(desired, loaded)

    def _follow(self, desired: int, loaded: bool) -> None:
        self.ages = {number: self.ages.get(number, -1) + 1 for number in range(2, desired + 1)}
        ready = [number for number, age in self.ages.items() if age >= self.starts and number <= desired - self.never]
        if ready and self.loaded_when_ready is None:
            self.loaded_when_ready = loaded
        others = [one for one in self.objects if one["kind"] not in ("Deployment", "Pod")]
        made = deployment(desired, desired)
        for one in made[1:]:
            number = int(one["metadata"]["name"].rpartition("-")[2])
            if number > 1 and number not in ready:
                one["status"] = pod("x", "w1", ready=False)["status"]
        made[0]["status"]["readyReplicas"] = 1 + len(ready)
        self.objects = [*others, *made]


def under_load(
    folder: Path, full: bool = False, scale: float = 0.1, **how: Any
) -> tuple[dict[str, list[Any]], Scaling]:
    cluster: Scaling | None = None

    def respond(path: str, host: str) -> tuple[int, str]:
        assert cluster is not None
        return cluster.respond(path, host)

    with serving(NODES["w1"], respond) as port:
        cluster = Scaling(port, **how)
        where = on_loopback(folder, cluster, scale)
        object.__setattr__(where, "full", full)
        found = findings(hpa.CHECK, where)
        sent = cluster.requests
        time.sleep(0.2)  # long enough for a request that must not come
        assert cluster.requests == sent, "the load has ended"
    return found, cluster


def plan_is_empty(cluster: FakeCluster) -> bool:
    """Tell whether the next plan has nothing to wait for."""
    (live,) = [one for one in cluster.objects if one["kind"] == "Deployment"]
    return list(rollout.wait_for_rollout(cluster, [live])) == []  # type: ignore[arg-type]


def test_pods_are_added_under_load_and_scaling_in_is_skipped(tmp_path: Path) -> None:
    found, cluster = under_load(tmp_path, after=1_000_000)
    (rises,) = found["HPA_RISES"]
    assert rises.detail.startswith("went from 1 to 2 ready pods after ")
    assert cluster.requests > 0
    (skipped,) = found["NOT_TRIED"]
    assert skipped.detail == "scaling back down to 1, about five minutes after the load, needs --full"
    assert "HPA_FALLS" not in found


def test_the_load_lasts_until_another_pod_is_ready(tmp_path: Path) -> None:
    """What the autoscaler wants at once does not count before it runs."""
    found, cluster = under_load(tmp_path, starts=3, after=1_000_000)
    assert found["HPA_RISES"][0].ok
    assert cluster.loaded_when_ready
    assert cluster.ages[2] >= 3


def test_the_last_pod_that_the_autoscaler_adds_is_waited_for(tmp_path: Path) -> None:
    """Its metrics are older than the end of the load; the next plan must have nothing to wait for all the same."""
    found, cluster = under_load(tmp_path, late=True, starts=2, after=1_000_000)
    assert found["HPA_RISES"][0].ok
    assert "HPA_PODS_NOT_READY" not in found
    assert sorted(cluster.ages) == [2, 3], "it did add another one"
    assert plan_is_empty(cluster)


def test_added_pods_that_do_not_become_ready_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpa, "SCALE_UP", 10.0)
    monkeypatch.setattr(scale_target, "REST", 5.0)
    found, _ = under_load(tmp_path, never=1, after=1_000_000)
    assert not found.keys() & {"HPA_RISES", "HPA_NOT_RISEN", "HPA_FALLS"}
    (one,) = found["HPA_PODS_NOT_READY"]
    assert not one.ok
    assert one.detail.startswith("wants 2 pods, 1 of which are ready after ")
    assert one.detail.endswith(" s of load (hpa-pods-2: running but not ready)")
    assert one.evidence[0].startswith("load on 127.0.0.11:")
    assert one.evidence[1] == "hpa-pods-2: Warning Something about course/hpa-pods-2"


def test_one_ready_pod_passes_and_another_that_is_not_ready_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale_target, "REST", 5.0)
    found, _ = under_load(tmp_path, to=3, never=1, after=1_000_000)
    assert found["HPA_RISES"][0].detail.startswith("went from 1 to 2 ready pods")
    (one,) = found["HPA_PODS_NOT_READY"]
    assert one.detail == "wants 3 pods, 2 of which are ready after the load (hpa-pods-3: running but not ready)"


def test_full_waits_for_scaling_down(tmp_path: Path) -> None:
    found, cluster = under_load(tmp_path, full=True)
    assert found["HPA_RISES"][0].ok
    assert found["HPA_FALLS"][0].detail.startswith("went down to 1 ready pod ")
    assert "NOT_TRIED" not in found
    assert plan_is_empty(cluster)


def test_pods_removed_before_the_autoscaler_is_stable_count(tmp_path: Path) -> None:
    """On a slow site that may take as long as scaling down."""
    found, _ = under_load(tmp_path, full=True, after=1)
    assert found["HPA_FALLS"][0].ok


def test_full_waits_until_an_earlier_load_is_over(tmp_path: Path) -> None:
    found, cluster = under_load(tmp_path, full=True, pods=3)
    assert found["HPA_RISES"][0].detail.startswith("went from 1 to 2 ready pods")
    assert cluster.requests


def test_pods_that_are_not_added_or_not_removed_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpa, "SCALE_UP", 10.0)
    found, _ = under_load(tmp_path, scales=False)
    (one,) = found["HPA_NOT_RISEN"]
    assert not one.ok
    assert "has 1 ready pod, no more than before, after " in one.detail
    assert one.evidence[0].startswith("load on 127.0.0.11:")
    assert one.evidence[1] == "Warning Something about course/hpa-pods"
    monkeypatch.setattr(hpa, "SCALE_DOWN", 10.0)
    found, _ = under_load(tmp_path, full=True, after=1_000_000)
    assert "still wants 2 pods, 2 of which are ready, " in found["HPA_NOT_FALLEN"][0].detail


class Falling(FakeCluster):
    """A Deployment with the given replicas and ready pods at each read; the last pair stays."""

    def __init__(self, *states: tuple[int, int]) -> None:
        super().__init__()
        self.states = list(states)

    def list(self, kind: str, *arguments: Any, **more: Any) -> list[Object]:
        if kind == "HorizontalPodAutoscaler":
            replicas, ready = self.states.pop(0) if self.states[1:] else self.states[0]
            self.objects = [scaler(0, replicas), *deployment(replicas, ready)]
        return super().list(kind, *arguments, **more)


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([(3, 2), (3, 3), (1, 1)], "HPA_FALLS"),
        ([(3, 3), (3, 2)], "HPA_PODS_NOT_READY"),
        ([(3, 3)], "HPA_NOT_FALLEN"),
    ],
)
def test_a_failing_pod_is_not_scaling_down(tmp_path: Path, states: list[tuple[int, int]], code: str) -> None:
    cluster = Falling(*states)
    finding, target = hpa._scale_down(on_loopback(tmp_path, cluster, 0.002), scaler(0, 3), 3, time.monotonic())
    assert (finding.ok, finding.code) == (code == "HPA_FALLS", code)
    assert target.ready == states[-1][1]


def test_load_ends_at_its_limit_and_with_its_block() -> None:
    requests: list[str] = []

    def respond(path: str, host: str) -> tuple[int, str]:
        requests.append(path)
        return 200, "{}"

    def idle() -> bool:
        before = len(requests)
        time.sleep(0.2)
        return len(requests) == before

    with serving(NODES["w1"], respond) as port:
        with load_generator.running(NODES["w1"], port, limit=0.2, timeout=5) as load:
            deadline = time.monotonic() + 30
            while not idle():
                assert time.monotonic() < deadline, "it goes on past its limit"
        assert load.answered == len(requests) > 0
        with load_generator.running(NODES["w1"], port, limit=3600, timeout=5):
            pass
        assert idle()
    with load_generator.running(NODES["w1"], port, limit=3600, timeout=5) as load:
        deadline = time.monotonic() + 30
        while not load.failed:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert str(load).endswith(" failed (connection refused)")
