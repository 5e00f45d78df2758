"""The configmap check: the file of a running pod, and the environment of a new one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import configmap, pods
from provisioner.checks.restore import NotRestored
from provisioner.errors import ClusterError
from provisioner.kube import Object
from tests.unit.checks.contexts import context, findings
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod, workload


class Kubelet(FakeCluster):
    """A pod with a file and an environment from a ConfigMap.

    file: whether a change reaches the file. env: whether it wrongly reaches the environment too. fresh: whether a new
    pod has the new value. returns: whether a deleted pod is replaced.
    """

    def __init__(self, *, file: bool = True, env: bool = False, fresh: bool = True, returns: bool = True) -> None:
        config: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "cm-pods", "namespace": "course"},
        }
        config["data"] = {"greeting": "hello"}
        super().__init__(config, pod("cm-1", "w1", app="cm-pods"))
        self.config, self.file, self.env, self.fresh, self.returns = config, file, env, fresh, returns
        self.started = "hello"
        self.values: list[str] = []
        self.restarts = 0
        self.synced = 0
        self.slow = False  # whether a new pod is ready only after some reads
        self.pending = 0
        self.shell = self.answer
        self.on_merge = self.count_merge
        self.on_delete = self.restart

    def count_merge(self, kind: str, name: str, patch: Object) -> None:
        if kind == "ConfigMap":
            self.values.append(patch["data"]["greeting"])
        else:
            assert (kind, name) == ("Pod", f"cm-{self.restarts + 1}")
            assert [*patch["metadata"]["annotations"]] == ["provisioner/looked-at"]
            self.synced += 1

    def restart(self, kind: str, name: str) -> None:
        self.restarts += 1
        self.objects = [one for one in self.objects if one["kind"] != "Pod"]
        self.pending = 3 if self.slow else 0
        if self.returns:
            self.objects.append(pod(f"cm-{self.restarts + 1}", "w1", app="cm-pods", ready=not self.slow))
        if self.fresh:
            self.started = self.config["data"]["greeting"]

    def list(self, kind: str, *arguments: Any, **more: Any) -> list[Object]:
        if kind == "Pod" and self.pending:
            self.pending -= 1
            if not self.pending:
                name = f"cm-{self.restarts + 1}"
                self.objects = [one for one in self.objects if one["kind"] != "Pod"] + [pod(name, "w1", app="cm-pods")]
        return super().list(kind, *arguments, **more)

    def answer(self, name: str, command: Sequence[str]) -> str:
        now = self.config["data"]["greeting"]
        if command == ("cat", "/etc/course/greeting"):
            return str(now if self.file else "hello")
        assert command == ("sh", "-c", 'printf "%s\\n" "$GREETING"')
        return f"{now if self.env else self.started}\n"


def checked(folder: Path, cluster: Kubelet, full: bool = False) -> dict[str, Any]:
    where = context(folder, cluster)
    object.__setattr__(where, "full", full)
    found = findings(configmap.CHECK, where)
    assert cluster.config["data"] == {"greeting": "hello"}, "it is restored"
    return {code: one for code, (one,) in found.items()}


def test_a_change_reaches_the_file_at_once_and_the_environment_after_a_restart(tmp_path: Path) -> None:
    cluster = Kubelet()
    found = checked(tmp_path, cluster)
    assert [*found] == ["CONFIGMAP_FILE", "NOT_TRIED", "CONFIGMAP_ENV_OLD", "CONFIGMAP_ENV_RESTARTED"]
    assert all(one.ok for one in found.values())
    assert found["NOT_TRIED"].detail.startswith("waiting for the kubelet's periodic sync")
    assert "the environment needs a restart" in found["CONFIGMAP_ENV_OLD"].detail
    assert "rollout restart deployment cm-pods" in found["CONFIGMAP_ENV_OLD"].detail
    assert cluster.started == "hello", "no environment keeps the test's value"
    assert (cluster.synced, cluster.restarts, cluster.values[1:]) == (1, 2, ["hello"])


def test_the_new_pod_is_waited_for(tmp_path: Path) -> None:
    """Otherwise the next plan finds the Deployment incomplete."""
    cluster = Kubelet()
    cluster.slow = True
    cluster.objects.append(workload("Deployment", "cm-pods", "course"))
    where = context(tmp_path, cluster)
    object.__setattr__(where.site, "cluster", where.site.cluster.model_copy(update={"timeout_scale": 0.01}))
    assert all(one.ok for one in configmap.run(where))
    assert [pods.ready(one) for one in cluster.list("Pod", "course")] == [True]


def test_a_pod_that_is_not_replaced_at_the_end_fails(tmp_path: Path) -> None:
    cluster = Kubelet(file=False, returns=False)
    found = checked(tmp_path, cluster)
    assert {*found} == {"CONFIGMAP_FILE_OLD", "CONFIGMAP_NO_POD"}


def test_full_waits_for_the_kubelets_periodic_sync(tmp_path: Path) -> None:
    cluster = Kubelet()
    found = checked(tmp_path, cluster, full=True)
    assert found["CONFIGMAP_FILE"].detail.endswith("was updated (by the kubelet's periodic sync)")
    assert "NOT_TRIED" not in found
    assert cluster.synced == 0


@pytest.mark.parametrize(
    ("cluster", "code", "words"),
    [
        (Kubelet(file=False), "CONFIGMAP_FILE_OLD", "still has 'hello'"),
        (Kubelet(env=True), "CONFIGMAP_ENV_CHANGED", "the pod was restarted meanwhile"),
        (
            Kubelet(fresh=False),
            "CONFIGMAP_ENV_STALE",
            "did not reach $GREETING even after a restart: pod cm-2 has 'hello'",
        ),
        (Kubelet(returns=False), "CONFIGMAP_NO_POD", "has no ready pod: none exists"),
    ],
)
def test_a_failure_is_reported_and_the_value_restored(tmp_path: Path, cluster: Kubelet, code: str, words: str) -> None:
    found = checked(tmp_path, cluster)
    assert not found[code].ok
    assert words in found[code].detail
    assert found[code].evidence
    assert sum(not one.ok for one in found.values()) == 1


def test_a_failed_exec_is_raised_and_the_value_restored(tmp_path: Path) -> None:
    cluster = Kubelet()

    def broken(name: str, command: Sequence[str]) -> str:
        if cluster.config["data"] == {"greeting": "hello"}:
            return "hello\n"
        raise ClusterError("cannot run a command", tail="container not found")

    cluster.shell = broken
    with pytest.raises(ClusterError, match="cannot run a command"):
        checked(tmp_path, cluster)
    assert cluster.config["data"] == {"greeting": "hello"}, "it is restored"
    assert cluster.restarts == 1, "so is the environment, which may have the test's value"


def test_a_pod_with_the_value_of_a_killed_run_is_replaced_first(tmp_path: Path) -> None:
    cluster = Kubelet()
    cluster.started = "hello-0badcafe"
    found = checked(tmp_path, cluster)
    assert [*found] == [
        "CONFIGMAP_POD_RENEWED",
        "CONFIGMAP_FILE",
        "NOT_TRIED",
        "CONFIGMAP_ENV_OLD",
        "CONFIGMAP_ENV_RESTARTED",
    ]
    assert all(one.ok for one in found.values())
    replaced = found["CONFIGMAP_POD_RENEWED"].detail
    assert replaced.startswith("has 'hello', but $GREETING in pod cm-1 was 'hello-0badcafe', as after a change")
    assert replaced.endswith("pod cm-2 replaced it")
    assert "in pod cm-2 is still 'hello', as expected" in found["CONFIGMAP_ENV_OLD"].detail
    assert (cluster.restarts, cluster.started) == (3, "hello")


def test_a_new_pod_with_the_value_of_a_killed_run_fails(tmp_path: Path) -> None:
    cluster = Kubelet(fresh=False)
    cluster.started = "hello-0badcafe"
    found = checked(tmp_path, cluster)
    assert [*found] == ["CONFIGMAP_ENV_STALE"]
    assert "pod cm-2 has 'hello-0badcafe'" in found["CONFIGMAP_ENV_STALE"].detail
    assert cluster.values == [], "nothing was changed"


def test_an_environment_that_changes_to_another_value_fails(tmp_path: Path) -> None:
    """Neither the old value nor the new one."""
    cluster = Kubelet()

    def answer(name: str, command: Sequence[str]) -> str:
        if command[0] == "sh" and cluster.values:
            return "good day\n"
        return cluster.answer(name, command)

    cluster.shell = answer
    one = checked(tmp_path, cluster)["CONFIGMAP_ENV_CHANGED"]
    assert not one.ok
    assert "is 'good day' instead of 'hello'" in one.detail


def test_a_value_of_several_lines_passes(tmp_path: Path) -> None:
    cluster = Kubelet()
    cluster.config["data"]["greeting"] = cluster.started = "hello\nworld\n"
    found = findings(configmap.CHECK, context(tmp_path, cluster))
    assert [*found] == ["CONFIGMAP_FILE", "NOT_TRIED", "CONFIGMAP_ENV_OLD", "CONFIGMAP_ENV_RESTARTED"]
    assert cluster.config["data"] == {"greeting": "hello\nworld\n"}


class Unsteady(Kubelet):
    """An API that refuses to restore a number of times: writes of the old value, or deletions after that."""

    def __init__(self, *, writes: int = 0, deletions: int = 0) -> None:
        super().__init__(file=False)
        self.writes, self.deletions = writes, deletions

    def merge(self, kind: str, name: str, patch: Object, **where: Any) -> Object:
        if kind == "ConfigMap" and patch["data"]["greeting"] == "hello" and self.writes:
            self.writes -= 1
            raise ClusterError("the API does not answer")
        return super().merge(kind, name, patch, **where)

    def delete(self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1", **more: Any) -> None:
        if self.deletions:
            self.deletions -= 1
            raise ClusterError("the API does not answer")
        super().delete(kind, name, namespace, api_version)


@pytest.mark.parametrize("how", [{"writes": 5}, {"deletions": 5}, {"writes": 5, "deletions": 5}])
def test_everything_is_restored_after_an_api_outage(tmp_path: Path, how: dict[str, int]) -> None:
    cluster = Unsteady(**how)
    assert [*checked(tmp_path, cluster)] == ["CONFIGMAP_FILE_OLD"]
    assert (cluster.started, cluster.restarts) == ("hello", 1)


def test_a_value_that_cannot_be_restored_is_reported(tmp_path: Path) -> None:
    """The pod is not replaced then: a new one would have the test's value, and the present one may have the old."""
    cluster = Unsteady(writes=999)
    with pytest.raises(
        NotRestored, match=r"^ConfigMap course/cm-pods may have 'hello-[0-9a-f]{8}' instead of 'hello': "
    ) as raised:
        findings(configmap.CHECK, context(tmp_path, cluster))
    assert raised.value.remedy == "provisioner apply restores it"
    assert (cluster.restarts, cluster.started) == (0, "hello")


def test_a_pod_that_cannot_be_replaced_is_reported(tmp_path: Path) -> None:
    cluster = Unsteady(deletions=999)
    with pytest.raises(
        NotRestored, match=r"GREETING in the pods of Deployment course/cm-pods may still be 'hello-"
    ) as raised:
        findings(configmap.CHECK, context(tmp_path, cluster))
    assert "rollout restart deployment cm-pods" in raised.value.remedy
    assert cluster.config["data"] == {"greeting": "hello"}


def test_a_missing_configmap_or_pod_fails(tmp_path: Path) -> None:
    assert "CONFIGMAP_NONE" in findings(configmap.CHECK, context(tmp_path, FakeCluster()))
    cluster = Kubelet()
    cluster.objects = [cluster.config]
    (one,) = findings(configmap.CHECK, context(tmp_path, cluster))["CONFIGMAP_NO_POD"]
    assert one.evidence == ("Warning Something about course/cm-pods",)
    assert cluster.values == [], "nothing was changed"
