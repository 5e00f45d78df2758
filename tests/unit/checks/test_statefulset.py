"""The statefulset check: volumes, DNS names and data of its pods, when one is deleted and when all are scaled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import Finding, statefulset
from provisioner.checks.check import Stopped
from provisioner.kube import Object
from tests.unit.checks.contexts import context, findings
from tests.unit.checks.volumes import Volumes, claim
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod, workload

NAMES = ["ss-pods-0", "ss-pods-1", "ss-pods-2"]
SUFFIX = "ss-pods.course.svc.cluster.local"


def address(name: str) -> str:
    return f"10.244.1.{name[-1]}"


def resolved(*names: str) -> str:
    return "".join(f"Name:\t{name}.{SUFFIX}\nAddress: {address(name)}\n" for name in names)


class Controller(FakeCluster):
    """The StatefulSet controller and its nodes, which make one step at each read of the pods.

    Scaling to 0 deletes all pods; scaling up creates them one by one, each ready one read later. order: of creation.
    eager: the next pod is created before the last is ready. moved: the node on which a deleted pod is recreated.
    """

    def __init__(self, shell: Volumes, *, order: Sequence[str] = NAMES, eager: bool = False, moved: str = "") -> None:
        self.uids = 0
        self.shape = workload("StatefulSet", "ss-pods", "course", 3)
        super().__init__(self.shape, *(claim(f"data-{name}", volume=f"nfs-{name[-1]}") for name in NAMES))
        self.shell_of = shell
        self.shell = shell
        self.order, self.eager, self.moved = order, eager, moved
        self.objects += [self.member(name) for name in NAMES]
        self.sizes: list[int] = []
        self.pending: list[str] = []
        self.stays = self.gone = False
        self.away = 0  # for how many reads nothing is created
        self.servers: list[Object] = []  # CoreDNS pods
        self.claims = {name: f"data-{name}" for name in NAMES}
        self.on_merge = lambda kind, name, patch: self.scaled(patch["spec"]["replicas"])
        self.on_delete = self.replace

    def member(self, name: str, where: str = "w1", *, ready: bool = True, claim_name: str = "") -> Object:
        self.uids += 1
        volumes = [
            {"name": "token"},
            {"name": "d", "persistentVolumeClaim": {"claimName": claim_name or f"data-{name}"}},
        ]
        spec = {"volumes": volumes}
        made = pod(name, where, app="ss-pods", ready=ready, metadata={"uid": f"uid {self.uids}"}, spec=spec)
        made["status"]["podIP"] = address(name)
        return made

    def delete(self, kind: str, name: str, *arguments: Any, **more: Any) -> None:
        if not self.stays:
            super().delete(kind, name, *arguments, **more)

    def replace(self, kind: str, name: str) -> None:
        assert kind == "Pod"
        if not self.gone:
            self.objects.append(self.member(name, self.moved or "w1", claim_name=self.claims[name]))

    def scaled(self, replicas: int) -> None:
        self.sizes.append(replicas)
        if replicas == 0 and not self.stays:
            self.objects = [one for one in self.objects if one["kind"] != "Pod"]
        self.pending = [*self.order] if replicas and not self.pods_now() else []

    def pods_now(self) -> list[Object]:
        return [one for one in self.objects if one["kind"] == "Pod"]

    def list(self, kind: str, *arguments: Any, **more: Any) -> list[Object]:
        if kind == "Pod" and arguments == ("kube-system",):
            return self.servers
        if kind == "Pod" and self.away:
            self.away -= 1
        elif kind == "Pod" and self.pending:
            unready = [one for one in self.pods_now() if one["status"]["phase"] != "Running"]
            if unready and not self.eager:
                unready[0]["status"] = self.member(unready[0]["metadata"]["name"])["status"]
                self.pending.remove(unready[0]["metadata"]["name"])
            else:
                for name in self.pending:
                    if not any(one["metadata"]["name"] == name for one in self.pods_now()):
                        made = self.member(name)
                        made["status"]["phase"] = "Pending"
                        self.objects.append(made)
                        break
                else:
                    for one in unready:
                        one["status"] = self.member(one["metadata"]["name"])["status"]
                    self.pending = []
        return super().list(kind, *arguments, **more)


def shell(**more: str) -> Volumes:
    made = Volumes(**({"ss_pods_0": "nfs-0", "ss_pods_1": "nfs-1", "ss_pods_2": "nfs-2"} | more))
    made.names = resolved(*NAMES)
    return made


def checked(folder: Path, cluster: Controller, scale: float = 0.002) -> dict[str, Finding]:
    where = context(folder, cluster)
    settings = where.site.cluster.model_copy(update={"timeout_scale": scale})
    object.__setattr__(where, "site", where.site.model_copy(update={"cluster": settings}))
    found = findings(statefulset.CHECK, where)
    assert cluster.shape["spec"]["replicas"] == 3, "it is scaled back"
    assert all(len(many) == 1 for many in found.values())
    return {code: many[0] for code, many in found.items()}


PASSED = [
    "STATEFULSET_VOLUMES",
    "STATEFULSET_NAMES",
    "STATEFULSET_RETURNS",
    "STATEFULSET_KEEPS_VOLUMES",
    "STATEFULSET_ORDER",
    "STATEFULSET_FINDS_VOLUMES",
]


@pytest.mark.parametrize(("moved", "words"), [("", "on w1, with data-ss-pods-0"), ("w2", "on w2 instead of w1, with")])
def test_a_statefulset_that_works_passes(tmp_path: Path, moved: str, words: str) -> None:
    cluster = Controller(shell(), moved=moved)
    found = checked(tmp_path, cluster, scale=0.1)
    assert [*found] == PASSED
    assert all(one.ok for one in found.values())
    assert "ss-pods-2 has nfs-2 (data-ss-pods-2)" in found["STATEFULSET_VOLUMES"].detail
    assert f"ss-pods-1.{SUFFIX} is 10.244.1.1" in found["STATEFULSET_NAMES"].detail
    assert words in found["STATEFULSET_RETURNS"].detail
    assert found["STATEFULSET_ORDER"].detail.startswith("created ss-pods-0, ss-pods-1, ss-pods-2 in this order")
    assert cluster.sizes == [0, 3, 3]
    assert (cluster.shell_of.written, cluster.shell_of.files) == (3, {}), "the volumes are clean"


def test_a_slow_site_scales_only_with_full(tmp_path: Path) -> None:
    cluster = Controller(shell())
    found = checked(tmp_path, cluster, scale=8.0)
    assert [*found] == ["STATEFULSET_VOLUMES", "STATEFULSET_NAMES", "STATEFULSET_RETURNS", "NOT_TRIED"]
    assert cluster.sizes == []
    assert cluster.shell_of.files == {}, "the volumes are clean"


def test_an_aborted_run_leaves_no_file_behind(tmp_path: Path) -> None:
    """Ctrl-C while a pod is being recreated: its file is removed when it is ready, the others' at once."""
    cluster = Controller(shell())
    where = context(tmp_path, cluster)
    settings = where.site.cluster.model_copy(update={"timeout_scale": 0.05})
    object.__setattr__(where, "site", where.site.model_copy(update={"cluster": settings}))

    def deleted(kind: str, name: str) -> None:
        where.stop.set()
        cluster.objects = [one for one in cluster.objects if one["metadata"]["name"] != name]
        cluster.pending, cluster.away = ["ss-pods-0"], 4

    cluster.on_delete = deleted
    with pytest.raises(Stopped):
        list(statefulset.run(where))
    assert (cluster.shell_of.written, cluster.shell_of.files) == (3, {})


def losing_data(cluster: Controller) -> Controller:
    def deleted(kind: str, name: str) -> None:
        Controller.replace(cluster, kind, name)
        cluster.shell_of.files.clear()

    cluster.on_delete = deleted
    return cluster


def with_state(cluster: Controller, **state: Any) -> Controller:
    for name, value in state.items():
        setattr(cluster, name, value)
    return cluster


def losing_a_claim(cluster: Controller) -> Controller:
    def scaled(kind: str, name: str, patch: Object) -> None:
        cluster.scaled(patch["spec"]["replicas"])
        cluster.objects = [one for one in cluster.objects if one["metadata"]["name"] != "data-ss-pods-1"]

    cluster.on_merge = scaled
    return cluster


@pytest.mark.parametrize(
    ("cluster", "code", "words"),
    [
        (
            with_state(Controller(shell()), gone=True),
            "STATEFULSET_NOT_BACK",
            "was deleted and is not ready again: it does not exist",
        ),
        (with_state(Controller(shell()), stays=True), "STATEFULSET_NOT_BACK", "was deleted and is not ready again"),
        (
            with_state(Controller(shell()), claims={"ss-pods-0": "data-ss-pods-1"}),
            "STATEFULSET_OTHER_VOLUME",
            "was recreated with data-ss-pods-1 on nfs-1 instead of data-ss-pods-0 on nfs-0",
        ),
        (losing_data(Controller(shell())), "STATEFULSET_LOST_DATA", "was recreated with nfs-0, but without what"),
        (losing_a_claim(Controller(shell())), "STATEFULSET_CLAIM_GONE", "data-ss-pods-1 to none"),
        (
            Controller(shell(), order=["ss-pods-1", "ss-pods-0", "ss-pods-2"]),
            "STATEFULSET_DISORDER",
            "in the order ss-pods-1, ss-pods-0, ss-pods-2: ss-pods-1 existed before ss-pods-0 was ready",
        ),
        (Controller(shell(), eager=True), "STATEFULSET_DISORDER", "ss-pods-1 existed before ss-pods-0 was ready"),
    ],
)
def test_a_broken_promise_fails(tmp_path: Path, cluster: Controller, code: str, words: str) -> None:
    found = checked(tmp_path, cluster, scale=0.05 if code == "STATEFULSET_DISORDER" else 0.005)
    one = found[code]
    assert not one.ok
    assert words in one.detail
    assert one.remedy
    if code in ("STATEFULSET_LOST_DATA", "STATEFULSET_OTHER_VOLUME"):
        assert "agnhost: log of course/ss-pods-0 agnhost 8 False" in one.evidence
    if code == "STATEFULSET_OTHER_VOLUME":
        assert "Warning Something about course/data-ss-pods-1" in one.evidence
    assert [*cluster.shell_of.files] == [key for key in cluster.shell_of.files if cluster.gone and key[0] == "nfs-0"]


def test_pods_that_are_not_deleted_or_not_created_fail(tmp_path: Path) -> None:
    cluster = Controller(shell())
    cluster.on_merge = lambda kind, name, patch: None
    assert "was not deleted when" in checked(tmp_path, cluster)["STATEFULSET_STAYS"].detail
    cluster = Controller(shell(), order=["ss-pods-0"])
    found = checked(tmp_path, cluster, scale=0.002)
    assert found["STATEFULSET_NOT_BACK"].subject == "pod course/ss-pods-1"


def test_a_name_that_does_not_resolve_and_a_shared_volume_fail(tmp_path: Path) -> None:
    volumes = shell()
    volumes.names = resolved("ss-pods-0", "ss-pods-2")
    cluster = Controller(volumes)
    cluster.objects = [one for one in cluster.objects if one["metadata"]["name"] != "data-ss-pods-1"]
    cluster.objects.append(claim("data-ss-pods-1", volume="nfs-0"))
    server = pod("coredns-1", "w1", namespace="kube-system")
    server["metadata"]["labels"] = {"k8s-app": "kube-dns"}
    cluster.servers = [server]
    found = checked(tmp_path, cluster)
    unknown, shared = found["STATEFULSET_NAME_UNKNOWN"].evidence, found["STATEFULSET_VOLUMES_SHARED"].evidence
    assert "ss-pods-1: agnhost: log of course/ss-pods-1 agnhost 8 False" in unknown
    assert "coredns-1: agnhost: log of kube-system/coredns-1 agnhost 8 False" in unknown
    assert "Warning Something about course/data-ss-pods-1" in shared
    assert found["STATEFULSET_NAME_UNKNOWN"].detail.endswith(f": ss-pods-1.{SUFFIX}")
    assert "ss-pods-1 has nfs-0" in found["STATEFULSET_VOLUMES_SHARED"].detail


def test_pods_that_are_missing_or_cannot_write_fail(tmp_path: Path) -> None:
    assert "STATEFULSET_NONE" in findings(statefulset.CHECK, context(tmp_path, FakeCluster()))
    cluster = Controller(shell())
    cluster.objects = [one for one in cluster.objects if one["metadata"]["name"] != "ss-pods-1"]
    (one,) = checked(tmp_path, cluster).values()
    assert (one.code, one.subject, one.detail) == (
        "STATEFULSET_NOT_READY",
        "pod course/ss-pods-1",
        "is not ready: it does not exist",
    )
    cluster = Controller(shell(ss_pods_1="read-only"))
    found = checked(tmp_path, cluster)
    assert found["STATEFULSET_WRITE_FAILED"].evidence == (
        "Permission denied",
        "Warning Something about course/ss-pods-1",
        "agnhost: log of course/ss-pods-1 agnhost 8 False",
    )
    assert len(cluster.pods_now()) == 3, "nothing was deleted"
    assert cluster.sizes == []
