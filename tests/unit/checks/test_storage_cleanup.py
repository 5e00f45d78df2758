"""Cleaning up after the storage check, and after an earlier run that was killed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import storage, volume_files
from provisioner.checks.restore import NotRestored
from provisioner.errors import ClusterError
from tests.unit.checks.contexts import context, findings
from tests.unit.checks.test_storage import FREE, TOO_LARGE, course, too_large
from tests.unit.checks.volumes import Volumes, claim
from tests.unit.fake_cluster import FakeCluster


def test_claim_and_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    """The claim too, although this run creates none; similar files stay."""
    cluster = course(claim(TOO_LARGE, "Pending", ""))
    shell = Volumes(sv_1="nfs-1", sv_2="nfs-1")
    similar = ["/data/.verify-0123abc", "/data/.verify-0123abcde", "/data/.verify-0123abcX", "/data/verify-0123abcd"]
    shell.files = {("nfs-1", path): "text" for path in ["/data/.verify-0123abcd", "/data/.verify-89abcdef", *similar]}
    cluster.shell = shell
    found = findings(storage.CHECK, context(tmp_path, cluster))
    assert all(one.ok for many in found.values() for one in many)
    assert too_large(cluster) is None
    assert [path for _, path in shell.files] == similar


def test_the_claim_of_a_killed_run_is_deleted_before_waiting_for_pods(tmp_path: Path) -> None:
    cluster = FakeCluster(claim(TOO_LARGE, "Pending", ""))
    assert set(findings(storage.CHECK, context(tmp_path, cluster))) == {"STORAGE_NO_CLAIM"}
    assert too_large(cluster) is None


def test_the_pattern_matches_the_paths() -> None:
    cluster, shell = FakeCluster(), Volumes(sv_1="nfs-1")
    cluster.shell = shell
    shell.files = {("nfs-1", volume_files.path("0123456789abcdef")): "text"}
    volume_files.remove(cluster, "sv-1")  # type: ignore[arg-type]
    assert shell.files == {}


class Refusing(Volumes):
    """A shell that fails to remove files a number of times."""

    times = 0

    def __call__(self, name: str, command: Sequence[str]) -> str:
        if command[-1].startswith("rm ") and self.times:
            self.times -= 1
            raise ClusterError("the API does not answer")
        return super().__call__(name, command)


def test_an_api_outage_leaves_no_file_behind(tmp_path: Path) -> None:
    cluster = course(FREE)
    cluster.shell = shell = Refusing(sv_1="nfs-1", sv_2="nfs-1")
    shell.times = 5
    assert all(one.ok for one in storage.run(context(tmp_path, cluster)))
    assert (shell.times, shell.files) == (0, {})


def test_a_file_that_remains_is_reported(tmp_path: Path) -> None:
    cluster = course(FREE)
    cluster.shell = shell = Refusing(sv_1="nfs-1", sv_2="nfs-1")
    shell.times = 999
    with pytest.raises(
        NotRestored, match=r"^/data/.verify-[0-9a-f]{8} may remain on the volume of shared-volume: "
    ) as raised:
        list(storage.run(context(tmp_path, cluster)))
    assert raised.value.remedy == "the next provisioner verify storage removes it"


def test_a_claim_that_cannot_be_deleted_is_reported(tmp_path: Path) -> None:
    cluster = course(FREE)

    def away(*arguments: Any, **more: Any) -> None:
        raise ClusterError("the API does not answer")

    cluster.delete = away  # type: ignore[method-assign]
    with pytest.raises(
        NotRestored, match=r"claim course/shared-volume-too-large may remain: .*the API does not answer"
    ):
        list(storage.run(context(tmp_path, cluster)))
