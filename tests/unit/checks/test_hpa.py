"""The autoscaler's check: figures, and a real load of real requests on a server that stands for the pods."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
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


def deployment(asked: int = 1, ready: int | None = None) -> list[Object]:
    """Return the Deployment and its pods, of which so many are ready; all of them, unless told."""
    ready = asked if ready is None else ready
    own = [pod(f"hpa-pods-{number}", "w1", app="hpa-pods", ready=number <= ready) for number in range(1, asked + 1)]
    return [workload("Deployment", "hpa-pods", "course", asked, ready), *own]


def figures(*names: str) -> dict[str, Any]:
    usage = {"usage": {"cpu": "1234567n", "memory": "5Mi"}}
    return {"items": [{"metadata": {"name": name}, "containers": [usage]} for name in names]}


FINE = {"METRICS_PODS": True, "HPA_METRIC": True}
FIGURES = figures("hpa-pods-1", "hpa-pods-2", "hpa-pods-3")


@pytest.mark.parametrize(
    ("objects", "metrics", "codes"),
    [
        ([scaler(0), *deployment()], FIGURES, {**FINE, "HPA_NO_ENTRANCE": False}),
        ([scaler(0, 3), *deployment(3)], FIGURES, {**FINE, "NOT_TRIED": True}),
        # The autoscaler has three of three, as it says itself; of the pods one is ready.
        ([scaler(0, 3), *deployment(3, 1)], FIGURES, {**FINE, "HPA_PODS_NOT_READY": False}),
        # It has just asked for more, and the Deployment does not know yet.
        ([scaler(0, 2), *deployment(1)], FIGURES, {**FINE, "HPA_PODS_NOT_READY": False}),
        ([scaler(0)], FIGURES, {**FINE, "HPA_PODS_NOT_READY": False}),
        ([scaler(None)], FIGURES, {"METRICS_PODS": True, "HPA_NO_METRIC": False}),
        ([], FIGURES, {"METRICS_PODS": True, "HPA_NONE": False}),
        ([scaler(3)], None, {"METRICS_MISSING": False}),
        ([scaler(3)], {"items": []}, {"METRICS_MISSING": False}),
        ([scaler(3)], {"items": None}, {"METRICS_MISSING": False}),
        ([scaler(3)], "404 page not found", {"METRICS_MISSING": False}),
    ],
)
def test_autoscaler(tmp_path: Path, objects: list[Object], metrics: Any, codes: dict[str, bool]) -> None:
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
    cluster.answers[PATH] = FIGURES
    found = findings(hpa.CHECK, context(tmp_path, cluster))
    assert "HPA_NO_METRIC" not in found
    assert "theirs" not in str(found)


def test_the_pod_that_is_not_ready_before_any_load_is_shown(tmp_path: Path) -> None:
    cluster = FakeCluster(scaler(0, 2), *deployment(2, 1))
    cluster.answers[PATH] = FIGURES
    (one,) = findings(hpa.CHECK, context(tmp_path, cluster))["HPA_PODS_NOT_READY"]
    assert one.subject == "HorizontalPodAutoscaler course/hpa-pods"
    assert one.detail == (
        "has asked for 2 pods, of which 1 are ready before any load (hpa-pods-2: running but not ready)"
    )
    assert one.evidence == (
        "hpa-pods-2: Warning Something about course/hpa-pods-2",
        "hpa-pods-2: agnhost: log of course/hpa-pods-2 agnhost 8 False",
    )


# --- under load -----------------------------------------------------------------------------------------------------


class Scaling(FakeCluster):
    """An autoscaler that follows the load, and a Deployment that follows it.

    While requests come it asks for `to` pods, of which each takes `starts` looks to be ready, and all but `never`
    become so. `late`: it asks for one pod more after the load has ended. It asks for one pod again after `after`
    looks without requests.
    """

    def __init__(
        self,
        port: int,
        *,
        rises: bool = True,
        after: int = 3,
        pods: int = 1,
        to: int = 2,
        starts: int = 0,
        never: int = 0,
        late: bool = False,
    ) -> None:
        ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": port}]
        doors = service("hpa-pods", kind="LoadBalancer", ports=ports)
        super().__init__(doors, scaler(0, pods), *deployment(pods))
        self.answers[PATH] = FIGURES
        self.rises, self.after, self.to, self.starts, self.never, self.late = rises, after, to, starts, never, late
        self.requests = self.seen = self.quiet = 0
        self.ages: dict[int, int] = {}  # looks since the pod of that number was asked for
        self.loaded_when_ready: bool | None = None  # whether requests still came when a pod more was ready
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
            self._round()
        return super().list(kind, *arguments, **more)

    def _round(self) -> None:
        (own,) = [one for one in self.objects if one["kind"] == "HorizontalPodAutoscaler"]
        asked, percent = int(own["status"]["desiredReplicas"]), 1
        loaded = self.requests > self.seen
        if loaded:
            self.quiet = 0
            asked, percent = (max(self.to, asked), 180) if self.rises else (asked, 30)
        else:
            self.quiet += 1
            if self.quiet == 1:
                percent = 180  # figures are of before
            if self.quiet == 2 and self.late and self.requests:
                asked += 1
            if self.quiet > self.after:
                asked = 1
        self.seen = self.requests
        own["status"] = scaler(percent, asked)["status"]
        self._follow(asked, loaded)

    def _follow(self, asked: int, loaded: bool) -> None:
        self.ages = {number: self.ages.get(number, -1) + 1 for number in range(2, asked + 1)}
        fit = [number for number, age in self.ages.items() if age >= self.starts and number <= asked - self.never]
        if fit and self.loaded_when_ready is None:
            self.loaded_when_ready = loaded
        others = [one for one in self.objects if one["kind"] not in ("Deployment", "Pod")]
        made = deployment(asked, asked)
        for one in made[1:]:
            number = int(one["metadata"]["name"].rpartition("-")[2])
            if number > 1 and number not in fit:
                one["status"] = pod("x", "w1", ready=False)["status"]
        made[0]["status"]["readyReplicas"] = 1 + len(fit)
        self.objects = [*others, *made]


def watched(folder: Path, full: bool = False, scale: float = 0.1, **how: Any) -> tuple[dict[str, list[Any]], Scaling]:
    cluster: Scaling | None = None

    def respond(path: str, host: str) -> tuple[int, str]:
        assert cluster is not None
        return cluster.respond(path, host)

    with serving(NODES["w1"], respond) as port:
        cluster = Scaling(port, **how)
        where = on_loopback(folder, cluster, scale)
        object.__setattr__(where, "full", full)
        found = findings(hpa.CHECK, where)
        asked = cluster.requests
        time.sleep(0.2)  # long enough for a request that should not come
        assert cluster.requests == asked, "the load has ended"
    return found, cluster


def nothing_left_for_the_plan(cluster: FakeCluster) -> bool:
    """Tell whether the next plan has nothing to wait for."""
    (live,) = [one for one in cluster.objects if one["kind"] == "Deployment"]
    return list(rollout.wait_for_rollout(cluster, [live])) == []  # type: ignore[arg-type]


def test_pods_are_added_under_load_and_the_fall_is_named_as_not_tried(tmp_path: Path) -> None:
    found, cluster = watched(tmp_path, after=1_000_000)
    (rises,) = found["HPA_RISES"]
    assert rises.detail.startswith("went from 1 to 2 ready pods after ")
    assert cluster.requests > 0
    (left_out,) = found["NOT_TRIED"]
    assert left_out.detail == "goes back to 1 about five minutes after the load: not waited for without --full"
    assert "HPA_FALLS" not in found


def test_the_load_goes_on_until_a_pod_more_is_ready(tmp_path: Path) -> None:
    """What the autoscaler asks for at once is no rise before it runs."""
    found, cluster = watched(tmp_path, starts=3, after=1_000_000)
    assert found["HPA_RISES"][0].ok
    assert cluster.loaded_when_ready
    assert cluster.ages[2] >= 3


def test_what_the_autoscaler_asks_for_last_is_waited_for(tmp_path: Path) -> None:
    """Its figures are older than the load's end: the plan that follows has nothing to wait for all the same."""
    found, cluster = watched(tmp_path, late=True, starts=2, after=1_000_000)
    assert found["HPA_RISES"][0].ok
    assert "HPA_PODS_NOT_READY" not in found
    assert sorted(cluster.ages) == [2, 3], "it did ask for another one"
    assert nothing_left_for_the_plan(cluster)


def test_pods_that_are_asked_for_and_do_not_get_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpa, "RISE", 10.0)
    monkeypatch.setattr(scale_target, "REST", 5.0)
    found, _ = watched(tmp_path, never=1, after=1_000_000)
    assert not found.keys() & {"HPA_RISES", "HPA_NOT_RISEN", "HPA_FALLS"}
    (one,) = found["HPA_PODS_NOT_READY"]
    assert not one.ok
    assert one.detail.startswith("has asked for 2 pods, of which 1 are ready after ")
    assert one.detail.endswith(" s of load (hpa-pods-2: running but not ready)")
    assert one.evidence[0].startswith("load on 127.0.0.11:")
    assert one.evidence[1] == "hpa-pods-2: Warning Something about course/hpa-pods-2"


def test_one_pod_more_is_a_rise_and_the_one_that_does_not_get_ready_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale_target, "REST", 5.0)
    found, _ = watched(tmp_path, to=3, never=1, after=1_000_000)
    assert found["HPA_RISES"][0].detail.startswith("went from 1 to 2 ready pods")
    (one,) = found["HPA_PODS_NOT_READY"]
    assert one.detail == (
        "has asked for 3 pods, of which 2 are ready after the load (hpa-pods-3: running but not ready)"
    )


def test_with_full_the_fall_is_waited_for(tmp_path: Path) -> None:
    found, cluster = watched(tmp_path, full=True)
    assert found["HPA_RISES"][0].ok
    assert found["HPA_FALLS"][0].detail.startswith("went down to 1 ready pod ")
    assert "NOT_TRIED" not in found
    assert nothing_left_for_the_plan(cluster)


def test_pods_that_went_before_the_autoscaler_came_to_rest_went(tmp_path: Path) -> None:
    """On a slow site the rest may take as long as the fall."""
    found, _ = watched(tmp_path, full=True, after=1)
    assert found["HPA_FALLS"][0].ok


def test_with_full_an_earlier_load_is_waited_out_first(tmp_path: Path) -> None:
    found, cluster = watched(tmp_path, full=True, pods=3)
    assert found["HPA_RISES"][0].detail.startswith("went from 1 to 2 ready pods")
    assert cluster.requests


def test_pods_that_do_not_come_or_do_not_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpa, "RISE", 10.0)
    found, _ = watched(tmp_path, rises=False)
    (one,) = found["HPA_NOT_RISEN"]
    assert not one.ok
    assert "has 1 ready pod, not more than before, after " in one.detail
    assert one.evidence[0].startswith("load on 127.0.0.11:")
    assert one.evidence[1] == "Warning Something about course/hpa-pods"
    monkeypatch.setattr(hpa, "FALL", 10.0)
    found, _ = watched(tmp_path, full=True, after=1_000_000)
    assert "wants 2 pods still, of which 2 are ready, " in found["HPA_NOT_FALLEN"][0].detail


class Falling(FakeCluster):
    """A Deployment that has, look by look, so many pods asked for and so many of them ready; then as the last."""

    def __init__(self, *looks: tuple[int, int]) -> None:
        super().__init__()
        self.looks = list(looks)

    def list(self, kind: str, *arguments: Any, **more: Any) -> list[Object]:
        if kind == "HorizontalPodAutoscaler":
            asked, ready = self.looks.pop(0) if self.looks[1:] else self.looks[0]
            self.objects = [scaler(0, asked), *deployment(asked, ready)]
        return super().list(kind, *arguments, **more)


@pytest.mark.parametrize(
    ("looks", "code"),
    [
        ([(3, 2), (3, 3), (1, 1)], "HPA_FALLS"),
        ([(3, 3), (3, 2)], "HPA_PODS_NOT_READY"),
        ([(3, 3)], "HPA_NOT_FALLEN"),
    ],
)
def test_a_pod_that_fails_is_no_fall(tmp_path: Path, looks: list[tuple[int, int]], code: str) -> None:
    cluster = Falling(*looks)
    finding, now = hpa._falls(on_loopback(tmp_path, cluster, 0.002), scaler(0, 3), 3, time.monotonic())
    assert (finding.ok, finding.code) == (code == "HPA_FALLS", code)
    assert now.ready == looks[-1][1]


def test_load_ends_with_its_limit_and_with_its_block() -> None:
    asked: list[str] = []

    def respond(path: str, host: str) -> tuple[int, str]:
        asked.append(path)
        return 200, "{}"

    def still(look: Callable[[], int]) -> bool:
        before = look()
        time.sleep(0.2)
        return look() == before

    with serving(NODES["w1"], respond) as port:
        with load_generator.running(NODES["w1"], port, limit=0.2, timeout=5) as sent:
            deadline = time.monotonic() + 30
            while not still(lambda: len(asked)):
                assert time.monotonic() < deadline, "it goes on past its limit"
        assert sent.answered == len(asked) > 0
        with load_generator.running(NODES["w1"], port, limit=3600, timeout=5):
            pass
        assert still(lambda: len(asked))
    with load_generator.running(NODES["w1"], port, limit=3600, timeout=5) as sent:
        deadline = time.monotonic() + 30
        while not sent.failed:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert str(sent).endswith("without an answer (connection refused)")
