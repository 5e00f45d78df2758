"""Restoring what a check changed, and the report when the API does not allow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from provisioner.checks import pods, restore
from provisioner.errors import ClusterError, ProvisionerError
from provisioner.kube import Cluster
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import workload


def failing(times: int) -> tuple[Callable[[], None], list[int]]:
    """Return a function that the API refuses that many times, and the list of its calls."""
    calls: list[int] = []

    def do() -> None:
        calls.append(len(calls))
        if len(calls) <= times:
            raise ClusterError("the API does not answer", tail="a line of its log")

    return do, calls


def restored(cluster: FakeCluster, times: int, error: BaseException | None = None) -> list[int]:
    do, calls = failing(times)
    with restore.restoring(cast(Cluster, cluster), "it to be back", do, lambda: "it stands at 0", "restore it"):
        if error:
            raise error
    return calls


@pytest.mark.parametrize(("times", "attempts"), [(0, 1), (5, 6)])
def test_restoring_is_retried_until_the_api_is_back(times: int, attempts: int) -> None:
    assert len(restored(FakeCluster(), times)) == attempts


@pytest.mark.parametrize("error", [ClusterError("no answer"), ValueError("a defect"), KeyboardInterrupt()])
def test_an_exception_propagates_after_restoring(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        restored(FakeCluster(), 5, error)
    assert raised.value is error


def test_what_remains_is_reported() -> None:
    cluster = FakeCluster()
    expected = r"^it stands at 0: waited .* \(the API does not answer\); restore it$"
    with pytest.raises(restore.NotRestored, match=expected) as raised:
        restored(cluster, 999)
    assert raised.value.remedy == "restore it"
    assert cluster.progress_lines[-1].startswith("it stands at 0: "), "and is logged"


def test_the_first_error_is_kept() -> None:
    first = ProvisionerError("the volume is full", "look at it")
    expected = r"^it stands at 0: .*; and before that: the volume is full; restore it; look at it$"
    with pytest.raises(restore.NotRestored, match=expected) as raised:
        restored(FakeCluster(), 999, first)
    assert raised.value.__cause__ is first
    assert raised.value.remedy == "restore it; look at it"


@pytest.mark.parametrize("first", [KeyboardInterrupt(), GeneratorExit(), ValueError("a defect")])
def test_ctrl_c_and_defects_propagate_with_a_note(first: BaseException) -> None:
    """They end the run, which a ProvisionerError would not."""
    cluster = FakeCluster()
    with pytest.raises(type(first)) as raised:
        restored(cluster, 999, first)
    assert raised.value is first
    assert raised.value.__notes__[0].startswith("it stands at 0: ")
    assert cluster.progress_lines[-1].startswith("it stands at 0: ")


def test_after_waiting_in_vain_the_rest_is_tried_once() -> None:
    cluster = FakeCluster()
    do, calls = failing(999)
    expected = r"^two remains: .*; and before that: one remains: .* before that: first; "
    with (
        pytest.raises(restore.NotRestored, match=expected),
        restore.restoring(cast(Cluster, cluster), "two", do, lambda: "two remains"),
        restore.restoring(cast(Cluster, cluster), "one", failing(999)[0], lambda: "one remains"),
    ):
        raise ClusterError("first")
    assert len(calls) == 1


class Away(FakeCluster):
    """An API that refuses to scale back to 3 a number of times."""

    def __init__(self, times: int) -> None:
        self.shape = workload("StatefulSet", "ss-pods", "course", 3)
        super().__init__(self.shape)
        self.times = times
        self.on_merge = lambda kind, name, patch: None

    def merge(self, kind: str, name: str, patch: dict[str, object], **where: object) -> dict[str, object]:
        if patch == {"spec": {"replicas": 3}} and self.times:
            self.times -= 1
            raise ClusterError("the API does not answer")
        return super().merge(kind, name, patch, **where)


def scaled_to_none(cluster: Away, error: Exception | None = None) -> None:
    with pods.restoring_replicas(cast(Cluster, cluster), cluster.shape) as scale:
        scale(0)
        if error:
            raise error


def test_replicas_are_restored_after_an_api_outage() -> None:
    cluster = Away(5)
    scaled_to_none(cluster)
    assert cluster.shape["spec"]["replicas"] == 3


def test_replicas_that_cannot_be_restored_are_reported_with_the_present_number() -> None:
    expected = r"^StatefulSet course/ss-pods was not scaled back, and may have 0 replicas instead of 3: .* that: x; "
    with pytest.raises(restore.NotRestored, match=expected) as raised:
        scaled_to_none(Away(999), ClusterError("x"))
    assert raised.value.remedy == "provisioner apply restores it"
