"""What a check does to put back what it changed, and what is said when the API does not let it."""

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
    """Return something that the API refuses so many times, and the list of its attempts."""
    tried: list[int] = []

    def do() -> None:
        tried.append(len(tried))
        if len(tried) <= times:
            raise ClusterError("the API does not answer", tail="a line of its log")

    return do, tried


def put_back(memory: FakeCluster, times: int, error: BaseException | None = None) -> list[int]:
    do, tried = failing(times)
    with restore.restoring(cast(Cluster, memory), "it to be back", do, lambda: "it stands at 0", "put it back"):
        if error:
            raise error
    return tried


@pytest.mark.parametrize(("times", "attempts"), [(0, 1), (5, 6)])
def test_it_is_tried_until_the_api_is_back(times: int, attempts: int) -> None:
    assert len(put_back(FakeCluster(), times)) == attempts


@pytest.mark.parametrize("error", [ClusterError("no answer"), ValueError("a defect"), KeyboardInterrupt()])
def test_an_error_goes_on_once_all_is_put_back(error: BaseException) -> None:
    with pytest.raises(type(error)) as told:
        put_back(FakeCluster(), 5, error)
    assert told.value is error


def test_what_is_left_is_told() -> None:
    memory = FakeCluster()
    with pytest.raises(
        restore.NotRestored, match=r"^it stands at 0: waited .* \(the API does not answer\); put it back$"
    ) as told:
        put_back(memory, 999)
    assert told.value.remedy == "put it back"
    assert memory.progress_lines[-1].startswith("it stands at 0: "), "and is in the log"


def test_the_first_error_is_not_lost() -> None:
    first = ProvisionerError("the volume is full", "look at it")
    with pytest.raises(
        restore.NotRestored,
        match=r"^it stands at 0: .*; and before that: the volume is full; put it back; look at it$",
    ) as told:
        put_back(FakeCluster(), 999, first)
    assert told.value.__cause__ is first
    assert told.value.remedy == "put it back; look at it"


@pytest.mark.parametrize("first", [KeyboardInterrupt(), GeneratorExit(), ValueError("a defect")])
def test_ctrl_c_and_defects_stay_what_they_are(first: BaseException) -> None:
    """They end the run, which an error of ours would not; what is left is a note, and in the log."""
    memory = FakeCluster()
    with pytest.raises(type(first)) as told:
        put_back(memory, 999, first)
    assert told.value is first
    assert told.value.__notes__[0].startswith("it stands at 0: ")
    assert memory.progress_lines[-1].startswith("it stands at 0: ")


def test_an_api_that_was_waited_for_in_vain_is_tried_once_more_for_the_rest() -> None:
    memory = FakeCluster()
    do, tried = failing(999)
    with (
        pytest.raises(
            restore.NotRestored, match=r"^two is left: .*; and before that: one is left: .* before that: first; "
        ),
        restore.restoring(cast(Cluster, memory), "two", do, lambda: "two is left"),
        restore.restoring(cast(Cluster, memory), "one", failing(999)[0], lambda: "one is left"),
    ):
        raise ClusterError("first")
    assert len(tried) == 1


class Away(FakeCluster):
    """An API that takes no scaling back to 3, for some times."""

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


def test_a_size_is_given_back_after_a_while_without_the_api() -> None:
    cluster = Away(5)
    with pods.scaled_back(cast(Cluster, cluster), cluster.shape) as scale:
        scale(0)
    assert cluster.shape["spec"]["replicas"] == 3


def scaled_in_vain(cluster: Away) -> None:
    with pods.scaled_back(cast(Cluster, cluster), cluster.shape) as scale:
        scale(0)
        raise ClusterError("x")


def test_a_size_that_cannot_be_given_back_is_told_with_the_one_that_is_left() -> None:
    cluster = Away(999)
    told = r"^StatefulSet course/ss-pods could not be scaled back, and may stand at 0 pods instead of 3: .* that: x; "
    with pytest.raises(restore.NotRestored, match=told) as error:
        scaled_in_vain(cluster)
    assert error.value.remedy == "provisioner apply puts it back"
