"""Cleaning up after the statefulset check, and after an earlier run that was killed."""

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
from tests.unit.checks.test_statefulset import Controller, checked, shell
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import workload


def test_a_statefulset_that_a_killed_run_left_at_0_fails(tmp_path: Path) -> None:
    cluster = FakeCluster(workload("StatefulSet", "ss-pods", "course", 0))
    ((one,),) = findings(statefulset.CHECK, context(tmp_path, cluster)).values()
    assert (one.ok, one.code, one.subject) == (False, "STATEFULSET_NO_PODS", "StatefulSet course/ss-pods")
    assert (one.detail, one.remedy) == ("is scaled to 0 pods", "provisioner apply")
    assert one.evidence == ("Warning Something about course/ss-pods",)


def test_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    volumes = shell()
    volumes.files = {(f"nfs-{number}", "/data/.verify-0123abcd"): "text" for number in range(3)}
    volumes.files["nfs-1", "/data/note"] = "mine"
    checked(tmp_path, Controller(volumes), scale=0.02)
    assert volumes.files == {("nfs-1", "/data/note"): "mine"}


class Gone(Controller):
    """An API that does not answer a number of requests once the StatefulSet was scaled to 0."""

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


def run(folder: Path, cluster: Gone) -> None:
    where = context(folder, cluster)
    settings = where.site.cluster.model_copy(update={"timeout_scale": 0.02})
    object.__setattr__(where, "site", where.site.model_copy(update={"cluster": settings}))
    list(statefulset.run(where))


def test_everything_is_restored_after_an_api_outage(tmp_path: Path) -> None:
    cluster = Gone(6)
    with pytest.raises(ClusterError, match=r"^the API does not answer$"):
        run(tmp_path, cluster)
    assert (cluster.sizes, cluster.shell_of.files) == ([0, 3], {})


def test_what_an_api_outage_leaves_behind_is_reported(tmp_path: Path) -> None:
    cluster = Gone(999)
    with pytest.raises(NotRestored) as raised:
        run(tmp_path, cluster)
    message = raised.value.message
    assert "/data/.verify-" in message
    assert "may remain on the volumes of ss-pods-0, ss-pods-1 and ss-pods-2" in message
    assert "StatefulSet course/ss-pods was not scaled back, and may have 0 replicas instead of 3" in message
    assert message.endswith("; and before that: the API does not answer")
    assert "provisioner apply" in raised.value.remedy
    assert isinstance(raised.value.__cause__, NotRestored)


def test_the_other_files_are_removed_when_one_cannot_be(tmp_path: Path) -> None:
    volumes = shell()
    cluster = Controller(volumes)

    def stubborn(name: str, command: Sequence[str]) -> str:
        if name == "ss-pods-0" and command[-1].startswith("rm "):
            raise ClusterError("rm failed")
        return volumes(name, command)

    cluster.shell = stubborn
    with pytest.raises(NotRestored, match="rm failed"):
        checked(tmp_path, cluster, scale=0.02)
    assert {volume for volume, _ in volumes.files} == {"nfs-0"}
