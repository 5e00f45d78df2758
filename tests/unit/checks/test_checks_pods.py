"""The checks that work in pods: DNS, the shared volume, the StatefulSet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import dns, statefulset, storage
from provisioner.errors import ClusterError
from provisioner.objects import Object

from .memory import Memory, context, findings, pod, service, workload

API = service("kubernetes", namespace="default", clusterIP="10.96.0.1")
OURS = service("np-pods", clusterIP="10.96.7.7")
HEADLESS = service("a-headless", clusterIP="None")
NAMES = {"kubernetes.default.svc.cluster.local": "10.96.0.1", "np-pods.course.svc.cluster.local": "10.96.7.7"}

BIND = """\
Server:\t\t10.96.0.10
Address:\t10.96.0.10#53

Name:\tkubernetes.default.svc.cluster.local
Address: 10.96.0.1

Server:\t\t10.96.0.10
Address:\t10.96.0.10#53

Name:\tnp-pods.course.svc.cluster.local
Address: 10.96.7.7
Name:\tnp-pods.course.svc.cluster.local
Address: fd00::7
"""
BUSYBOX = """\
Server:\t\t10.96.0.10
Address:\t10.96.0.10:53

Name:\tkubernetes.default.svc.cluster.local
Address: 10.96.0.1

*** Can't find kubernetes.default.svc.cluster.local.: No answer

Server:\t\t10.96.0.10
Address:\t10.96.0.10:53

Non-authoritative answer:
Name:\tnp-pods.course.svc.cluster.local
Address: 10.96.7.7
"""
BUSYBOX_SMALL = """\
Server:    10.96.0.10
Address 1: 10.96.0.10 kube-dns.kube-system.svc.cluster.local

Name:      kubernetes.default.svc.cluster.local.
Address 1: 10.96.0.1 kubernetes.default.svc.cluster.local
Server:    10.96.0.10
Address 1: 10.96.0.10 kube-dns.kube-system.svc.cluster.local

Name:      np-pods.course.svc.cluster.local.
Address 1: 10.96.7.7 np-pods.course.svc.cluster.local
"""
# What fails: no server, no such name, and a server whose own address must not be taken for an answer.
TIMED_OUT = ";; connection timed out; no servers could be reached\n"
UNKNOWN_NAME = "Server:\t\t10.96.0.1\nAddress:\t10.96.0.1#53\n\n** server can't find it: NXDOMAIN\n"


@pytest.mark.parametrize("output", [BIND, BUSYBOX, BUSYBOX_SMALL])
def test_nslookup_of_every_kind_is_understood(output: str) -> None:
    found = dns.answers(output)
    assert not dns.unresolved(NAMES, found)
    assert found["kubernetes.default.svc.cluster.local"] == {"10.96.0.1"}


@pytest.mark.parametrize(
    "output", ["", TIMED_OUT, UNKNOWN_NAME, "sh: nslookup: not found\n", BIND.replace("Name", "N")]
)
def test_what_is_no_answer_resolves_nothing(output: str) -> None:
    assert dns.unresolved(NAMES, dns.answers(output)) == list(NAMES)


def test_dns_is_asked_on_every_node_in_one_exec_each(tmp_path: Path) -> None:
    cluster = Memory(API, HEADLESS, OURS, pod("b", "w2"), pod("a", "w1"), pod("c", "w1"), pod("d", "w3", ready=False))
    asked: list[tuple[str, Sequence[str]]] = []

    def shell(name: str, command: Sequence[str]) -> str:
        asked.append((name, command))
        return BIND

    cluster.shell = shell
    found = findings(dns.CHECK, context(tmp_path, cluster))
    assert [one.subject for one in found.pop("DNS_RESOLVES")] == ["DNS on w1", "DNS on w2"]
    assert not found
    script = (
        "nslookup kubernetes.default.svc.cluster.local. 2>&1; nslookup np-pods.course.svc.cluster.local. 2>&1; true"
    )
    assert asked == [("a", ["sh", "-c", script]), ("b", ["sh", "-c", script])]


def test_dns_that_fails_on_one_node(tmp_path: Path) -> None:
    server = pod("coredns-1", "w1", namespace="kube-system")
    server["metadata"]["labels"] = {"k8s-app": "kube-dns"}
    cluster = Memory(API, OURS, pod("a", "w1"), pod("b", "w2"), server)
    cluster.shell = lambda name, command: BIND if name == "a" else TIMED_OUT
    found = findings(dns.CHECK, context(tmp_path, cluster))
    assert [one.subject for one in found["DNS_RESOLVES"]] == ["DNS on w1"]
    (one,) = found["DNS_FAILS"]
    assert one.subject == "DNS on w2"
    assert "kubernetes.default.svc.cluster.local was not resolved, and is 10.96.0.1" in one.detail
    assert one.evidence == (
        TIMED_OUT.strip(),
        "coredns-1 on w1: log of kube-system/coredns-1  3 False",
    )


def test_dns_with_a_wrong_answer_and_with_a_broken_exec(tmp_path: Path) -> None:
    cluster = Memory(API, OURS, pod("a", "w1"))
    cluster.shell = lambda name, command: BIND.replace("10.96.7.7", "10.96.7.8")
    (one,) = findings(dns.CHECK, context(tmp_path, cluster))["DNS_FAILS"]
    assert "np-pods.course.svc.cluster.local gave 10.96.7.8 and fd00::7, and is 10.96.7.7" in one.detail

    def broken(name: str, command: Sequence[str]) -> str:
        raise ClusterError(f"cannot run {len(command)} words in {name}", tail="container not found")

    cluster.shell = broken
    (one,) = findings(dns.CHECK, context(tmp_path, cluster))["DNS_FAILS"]
    assert one.evidence == ("cannot run 3 words in a", "container not found")


def test_dns_without_a_pod_to_ask_from(tmp_path: Path) -> None:
    found = findings(dns.CHECK, context(tmp_path, Memory(API, pod("a", "w1", ready=False))))
    assert found["DNS_NO_POD"][0].evidence == (
        "Warning Something about course/a",
        "agnhost: log of course/a agnhost 8 False",
    )


class Volumes:
    """A shell in pods that share one volume, or not: files by volume and path."""

    def __init__(self, **volume_of_pod: str) -> None:
        self.volume_of_pod = volume_of_pod
        self.files: dict[tuple[str, str], str] = {}
        self.written = 0

    def __call__(self, name: str, command: Sequence[str]) -> str:
        volume = self.volume_of_pod[name.replace("-", "_")]
        if command[0] == "cat":
            if (volume, command[1]) not in self.files:
                raise ClusterError("cat failed", tail="No such file or directory")
            return self.files[volume, command[1]]
        if command[0] == "rm":
            assert command[1] == "-f"
            self.files.pop((volume, command[2]), None)
            return ""
        assert command[:4] == ["sh", "-c", 'printf %s "$1" > "$2"', "sh"]
        if volume == "read-only":
            raise ClusterError("sh failed", tail="Permission denied")
        self.files[volume, command[5]] = command[4]
        self.written += 1
        return ""


def claim(name: str = "shared-volume", phase: str = "Bound", volume: str = "nfs-1") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "course"},
        "spec": {"volumeName": volume} if volume else {},
        "status": {"phase": phase},
    }


def volume(source: dict[str, Any], name: str = "nfs-1") -> Object:
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": source}


NFS = volume({"nfs": {"server": "192.0.2.10", "path": "/srv/nfs/1"}})
DAEMONSET = workload("DaemonSet", "shared-volume", "course", 2)
SHARING = [pod("sv-1", "w1", app="shared-volume"), pod("sv-2", "w2", app="shared-volume")]


def test_storage_shared_between_nodes_and_cleaned_up(tmp_path: Path) -> None:
    cluster = Memory(claim(), NFS, DAEMONSET, *SHARING)
    shell = Volumes(sv_1="nfs-1", sv_2="nfs-1")
    cluster.shell = shell
    found = findings(storage.CHECK, context(tmp_path, cluster))
    assert found["STORAGE_BOUND"][0].detail == "is bound to nfs-1 (192.0.2.10:/srv/nfs/1)"
    assert [(one.ok, one.subject) for one in found["STORAGE_SHARED"]] == [(True, "NFS from w1 to w2")]
    assert "another read on another node" in found["STORAGE_SHARED"][0].detail
    assert (shell.written, shell.files) == (1, {})


@pytest.mark.parametrize(
    ("objects", "shell", "code", "words"),
    [
        ([DAEMONSET, *SHARING], Volumes(), "STORAGE_NO_CLAIM", "does not exist"),
        (
            [claim(phase="Pending", volume=""), DAEMONSET, *SHARING],
            Volumes(),
            "STORAGE_NOT_BOUND",
            "is Pending: no volume fits it",
        ),
        (
            [claim(), volume({"hostPath": {"path": "/x"}}), DAEMONSET, *SHARING],
            Volumes(),
            "STORAGE_NOT_NFS",
            "is bound to nfs-1, which is not on NFS",
        ),
        ([claim(), NFS], Volumes(), "STORAGE_NO_PODS", "has a ready pod on no node, of 1 nodes"),
        (
            [claim(), NFS, DAEMONSET, SHARING[0], pod("sv-2", "w2", app="shared-volume", ready=False)],
            Volumes(),
            "STORAGE_NO_PODS",
            "has a ready pod on w1, of 2 nodes (w2: running but not ready)",
        ),
        (
            [claim(), NFS, workload("DaemonSet", "shared-volume", "course", 1), SHARING[0]],
            Volumes(),
            "STORAGE_ONE_NODE",
            "has a pod on w1 only, and hosts.toml has 2 workers",
        ),
        (
            [claim(), NFS, DAEMONSET, *SHARING],
            Volumes(sv_1="read-only"),
            "STORAGE_WRITE_FAILED",
            "cannot be written from pod sv-1",
        ),
        (
            [claim(), NFS, DAEMONSET, *SHARING],
            Volumes(sv_1="nfs-1", sv_2="another"),
            "STORAGE_READ_DIFFERS",
            "pod sv-2 does not read what was written",
        ),
    ],
)
def test_storage_that_fails(tmp_path: Path, objects: list[Object], shell: Volumes, code: str, words: str) -> None:
    cluster = Memory(*objects)
    cluster.shell = shell
    found = findings(storage.CHECK, context(tmp_path, cluster))
    assert set(found) - {"STORAGE_BOUND"} == {code}
    (one,) = found[code]
    assert not one.ok
    assert words in one.detail
    assert one.remedy
    assert not shell.files


def test_storage_on_the_csi_driver() -> None:
    csi = {"driver": "nfs.csi.k8s.io", "volumeAttributes": {"server": "nas", "share": "/x"}}
    assert storage.nfs_source(volume({"csi": csi})) == "nas:/x"
    assert storage.nfs_source(volume({"csi": csi | {"driver": "ebs.csi.aws.com"}})) == ""


def member(uid: str, where: str = "w1", claim_name: str = "data-ss-pods-0", *, ready: bool = True) -> Object:
    volumes = [{"name": "token"}, {"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}]
    return pod("ss-pods-0", where, ready=ready, metadata={"uid": uid}, spec={"volumes": volumes})


def returning(after: Object | None, shell: Volumes, *, emptied: bool = False) -> Memory:
    cluster = Memory(member("1"), claim("data-ss-pods-0"), claim("data-other", volume="nfs-2"))
    cluster.shell = shell

    def deleted(kind: str, name: str) -> None:
        assert (kind, name) == ("Pod", "ss-pods-0")
        cluster.objects = [one for one in cluster.objects if one["kind"] != "Pod"] + ([after] if after else [])
        if emptied:
            shell.files.clear()

    cluster.on_delete = deleted
    return cluster


@pytest.mark.parametrize(("where", "words"), [("w1", "on w1, with data-ss-pods-0"), ("w2", "from w1 to w2, with")])
def test_a_pod_that_returns(tmp_path: Path, where: str, words: str) -> None:
    shell = Volumes(ss_pods_0="nfs-1")
    found = findings(statefulset.CHECK, context(tmp_path, returning(member("2", where), shell)))
    (one,) = found.pop("STATEFULSET_RETURNS")
    assert one.ok
    assert words in one.detail
    assert not found
    assert (shell.written, shell.files) == (1, {})


@pytest.mark.parametrize(
    ("after", "emptied", "code", "words"),
    [
        (None, False, "STATEFULSET_NOT_BACK", "did not come back after it was deleted: it does not exist"),
        (member("1"), False, "STATEFULSET_NOT_BACK", "did not come back"),  # the same one: it was never deleted
        (member("2", ready=False), False, "STATEFULSET_NOT_BACK", "running but not ready"),
        (member("2", claim_name="data-other"), False, "STATEFULSET_OTHER_VOLUME", "with data-other on nfs-2, and had"),
        (member("2"), True, "STATEFULSET_LOST_DATA", "came back with its volume nfs-1, but not with what"),
    ],
)
def test_a_pod_that_does_not(tmp_path: Path, after: Object | None, emptied: bool, code: str, words: str) -> None:
    cluster = returning(after, Volumes(ss_pods_0="nfs-1"), emptied=emptied)
    found = findings(statefulset.CHECK, context(tmp_path, cluster))
    (one,) = found.pop(code)
    assert not one.ok
    assert words in one.detail
    assert one.evidence or code == "STATEFULSET_OTHER_VOLUME"
    assert not found


def test_a_stateful_pod_that_is_not_there_or_cannot_write(tmp_path: Path) -> None:
    (one,) = findings(statefulset.CHECK, context(tmp_path, Memory()))["STATEFULSET_NOT_READY"]
    assert one.detail == "is not ready: it does not exist"
    cluster = returning(None, Volumes(ss_pods_0="read-only"))
    (one,) = findings(statefulset.CHECK, context(tmp_path, cluster))["STATEFULSET_WRITE_FAILED"]
    assert one.evidence == ("Permission denied",)
    assert cluster.get("Pod", "ss-pods-0", "course"), "nothing was deleted"
