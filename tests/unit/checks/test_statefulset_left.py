"""What the statefulset check leaves behind: nothing, or it says what; and what it makes of a killed run's leavings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import statefulset
from provisioner.checks.restore import NotRestored
from provisioner.errors import ClusterError
from provisioner.kube import Object
from tests.unit.checks.contexts import context, findings
from tests.unit.checks.test_statefulset import Controller, shell, watched
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import workload


def test_one_that_a_killed_run_left_scaled_to_none_is_told(tmp_path: Path) -> None:
    cluster = FakeCluster(workload("StatefulSet", "ss-pods", "course", 0))
    ((one,),) = findings(statefulset.CHECK, context(tmp_path, cluster)).values()
    assert (one.ok, one.code, one.subject) == (False, "STATEFULSET_NO_PODS", "StatefulSet course/ss-pods")
    assert (one.detail, one.remedy) == ("is scaled to 0 pods", "provisioner apply")
    assert one.evidence == ("Warning Something about course/ss-pods",)


def test_what_a_killed_run_left_in_the_volumes_is_removed(tmp_path: Path) -> None:
    volumes = shell()
    volumes.files = {(f"nfs-{number}", "/data/.verify-0123abcd"): "text" for number in range(3)}
    volumes.files["nfs-1", "/data/note"] = "mine"
    watched(tmp_path, Controller(volumes), scale=0.02)
    assert volumes.files == {("nfs-1", "/data/note"): "mine"}


class Gone(Controller):
    """An API that goes away as soon as the StatefulSet is scaled to none, and answers nothing for some requests."""

    def __init__(self, requests: int) -> None:
        super().__init__(shell())
        self.requests = requests

    def list(self, kind: str, *arguments: Any, **more: Any) -> list[Object]:
        self.answer()
        return super().list(kind, *arguments, **more)

    def merge(self, kind: str, name: str, patch: Object, **where: Any) -> Object:
        self.answer()
        return super().merge(kind, name, patch, **where)

    def answer(self) -> None:
        if self.sizes and self.requests:
            self.requests -= 1
            raise ClusterError("the API does not answer")


def scaled_away(folder: Path, cluster: Gone) -> None:
    where = context(folder, cluster)
    settings = where.site.cluster.model_copy(update={"timeout_scale": 0.02})
    object.__setattr__(where, "site", where.site.model_copy(update={"cluster": settings}))
    list(statefulset.run(where))


def test_an_api_that_is_away_for_a_while_leaves_nothing_behind(tmp_path: Path) -> None:
    cluster = Gone(6)
    with pytest.raises(ClusterError, match=r"^the API does not answer$"):
        scaled_away(tmp_path, cluster)
    assert (cluster.sizes, cluster.shell_of.files) == ([0, 3], {})


def test_an_api_that_stays_away_is_told_with_what_stands_there(tmp_path: Path) -> None:
    cluster = Gone(999)
    with pytest.raises(NotRestored) as told:
        scaled_away(tmp_path, cluster)
    message = told.value.message
    assert "/data/.verify-" in message
    assert "may be left on the volumes of ss-pods-0, ss-pods-1 and ss-pods-2" in message
    assert "StatefulSet course/ss-pods could not be scaled back, and may stand at 0 pods instead of 3" in message
    assert message.endswith("; and before that: the API does not answer")
    assert "provisioner apply" in told.value.remedy
    assert isinstance(told.value.__cause__, NotRestored)


def test_a_file_that_cannot_be_removed_keeps_no_other_from_it(tmp_path: Path) -> None:
    volumes = shell()
    cluster = Controller(volumes)

    def stubborn(name: str, command: Sequence[str]) -> str:
        if name == "ss-pods-0" and command[-1].startswith("rm "):
            raise ClusterError("rm failed")
        return volumes(name, command)

    cluster.shell = stubborn
    with pytest.raises(NotRestored, match="rm failed"):
        watched(tmp_path, cluster, scale=0.02)
    assert {volume for volume, _ in volumes.files} == {"nfs-0"}
