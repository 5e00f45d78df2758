"""The autoscaler's check: figures, and a real load of real requests on a server that stands for the pods."""

from __future__ import annotations

import doctest
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import hpa, load
from provisioner.objects import Object

from .memory import Memory, context, findings, pod, service
from .test_checks_http import NODES, on_loopback, serving


def scaler(percent: int | None, pods: int = 1) -> Object:
    status = {"currentReplicas": pods} | ({} if percent is None else {"currentCPUUtilizationPercentage": percent})
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "hpa-pods", "namespace": "course"},
        "spec": {"minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50},
        "status": status,
    }


FIGURES = {
    "items": [{"metadata": {"name": "hpa-pods-1"}, "containers": [{"usage": {"cpu": "1234567n", "memory": "5Mi"}}]}]
}


@pytest.mark.parametrize(
    ("objects", "metrics", "codes"),
    [
        ([scaler(0)], FIGURES, {"METRICS_PODS": True, "HPA_METRIC": True, "HPA_NO_ENTRANCE": False}),
        ([scaler(0, pods=3)], FIGURES, {"METRICS_PODS": True, "HPA_METRIC": True, "NOT_TRIED": True}),
        ([scaler(None)], FIGURES, {"METRICS_PODS": True, "HPA_NO_METRIC": False}),
        ([], FIGURES, {"METRICS_PODS": True, "HPA_NONE": False}),
        ([scaler(3)], None, {"METRICS_MISSING": False}),
        ([scaler(3)], {"items": []}, {"METRICS_MISSING": False}),
        ([scaler(3)], {"items": None}, {"METRICS_MISSING": False}),
        ([scaler(3)], "404 page not found", {"METRICS_MISSING": False}),
    ],
)
def test_autoscaler(tmp_path: Path, objects: list[Object], metrics: Any, codes: dict[str, bool]) -> None:
    cluster = Memory(*objects)
    cluster.metrics = metrics
    found = findings(hpa.CHECK, context(tmp_path, cluster))
    assert {code: one.ok for code, (one,) in found.items()} == codes
    if "METRICS_MISSING" in found:
        assert found["METRICS_MISSING"][0].evidence == ("there is no APIService v1beta1.metrics.k8s.io",)


def test_a_users_own_autoscaler_is_not_judged(tmp_path: Path) -> None:
    theirs = scaler(None)
    theirs["metadata"] = {"name": "theirs", "namespace": "course"}
    cluster = Memory(theirs, scaler(0))
    cluster.metrics = FIGURES
    found = findings(hpa.CHECK, context(tmp_path, cluster))
    assert "HPA_NO_METRIC" not in found
    assert "theirs" not in str(found)


def test_the_metrics_servers_own_words(tmp_path: Path) -> None:
    api = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "status": {"conditions": [{"type": "Available", "status": "False", "message": "no endpoints"}]},
    }
    server = pod("metrics-server-1", "w1", namespace="kube-system", ready=False)
    server["metadata"]["labels"] = {"k8s-app": "metrics-server"}
    found = findings(hpa.CHECK, context(tmp_path, Memory(api, server, scaler(None))))
    assert found["METRICS_MISSING"][0].evidence == (
        "APIService v1beta1.metrics.k8s.io: Available False: no endpoints",
        "metrics-server-1: running but not ready",
        "log of kube-system/metrics-server-1  8 False",
    )


class Scaling(Memory):
    """An autoscaler that follows the load: more pods while requests come, fewer `after` looks without any."""

    def __init__(self, port: int, *, rises: bool = True, after: int = 3, pods: int = 1) -> None:
        ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": port}]
        super().__init__(service("hpa-pods", kind="LoadBalancer", ports=ports), scaler(0, pods))
        self.metrics = FIGURES
        self.rises, self.after = rises, after
        self.requests = self.seen = self.quiet = 0
        self.counting = threading.Lock()

    def respond(self, path: str, host: str) -> tuple[int, str]:
        if path == "/hostname":
            return 200, "hpa-pods-1"
        assert path == load.PATH
        with self.counting:
            self.requests += 1
        return 200, "{}"

    def list(self, kind: str, *arguments: Any, **more: Any) -> list[Object]:
        found = super().list(kind, *arguments, **more)
        if kind == "HorizontalPodAutoscaler":
            status = found[0]["status"]
            if self.requests > self.seen and self.rises:
                status |= {"currentReplicas": 2, "currentCPUUtilizationPercentage": 180}
                self.quiet = 0
            elif self.quiet >= self.after:
                status |= {"currentReplicas": 1, "currentCPUUtilizationPercentage": 1}
            else:
                self.quiet += 1
            self.seen = self.requests
        return found


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


def test_pods_are_added_under_load_and_the_fall_is_named_as_not_tried(tmp_path: Path) -> None:
    found, cluster = watched(tmp_path)
    (rises,) = found["HPA_RISES"]
    assert rises.detail.startswith("went from 1 to 2 pods after ")
    assert cluster.requests > 0
    (left_out,) = found["NOT_TRIED"]
    assert left_out.detail == "goes back to 1 about five minutes after the load: not waited for without --full"
    assert "HPA_FALLS" not in found


def test_with_full_the_fall_is_waited_for(tmp_path: Path) -> None:
    found, _ = watched(tmp_path, full=True)
    assert found["HPA_RISES"][0].ok
    assert found["HPA_FALLS"][0].detail.startswith("went down to 1 pods ")
    assert "NOT_TRIED" not in found


def test_with_full_an_earlier_load_is_waited_out_first(tmp_path: Path) -> None:
    found, cluster = watched(tmp_path, full=True, pods=3)
    assert found["HPA_RISES"][0].detail.startswith("went from 1 to 2 pods")
    assert cluster.requests


def test_pods_that_do_not_come_or_do_not_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpa, "RISE", 10.0)
    found, _ = watched(tmp_path, rises=False)
    (one,) = found["HPA_NOT_RISEN"]
    assert not one.ok
    assert "has 1 pods as before after " in one.detail
    assert one.evidence[0].startswith("load on 127.0.0.11:")
    assert one.evidence[1] == "Warning Something about course/hpa-pods"
    monkeypatch.setattr(hpa, "FALL", 10.0)
    found, _ = watched(tmp_path, full=True, after=1_000_000)
    assert "has 2 pods still" in found["HPA_NOT_FALLEN"][0].detail


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
        with load.on(NODES["w1"], port, limit=0.2, timeout=5) as sent:
            deadline = time.monotonic() + 30
            while not still(lambda: len(asked)):
                assert time.monotonic() < deadline, "it goes on past its limit"
        assert sent.answered == len(asked) > 0
        with load.on(NODES["w1"], port, limit=3600, timeout=5):
            pass
        assert still(lambda: len(asked))
    with load.on(NODES["w1"], port, limit=3600, timeout=5) as sent:
        deadline = time.monotonic() + 30
        while not sent.failed:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert str(sent).endswith("without an answer (connection refused)")


def test_figures_as_kubectl_top_writes_them() -> None:
    containers: list[Any] = [{"usage": {"cpu": "1234567n", "memory": "5000Ki"}}, {"usage": {"cpu": "12m"}}, {}]
    assert hpa.use(containers) == "14m 4Mi"
    assert hpa.use([{"usage": {"cpu": "0", "memory": "1Gi"}}]) == "0m 1024Mi"
    assert doctest.testmod(hpa).failed == 0
