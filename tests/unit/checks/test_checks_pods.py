"""The checks that work in pods: DNS and the shared volume."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.checks import dns, storage
from provisioner.errors import ClusterError
from provisioner.objects import Object

from .memory import Memory, context, event, findings, pod, service, workload
from .volumes import Volumes, claim, volume

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


def test_a_users_own_pod_without_nslookup_is_not_asked(tmp_path: Path) -> None:
    theirs = pod("a-theirs", "w1", spec={"containers": [{"name": "web", "image": "example.org/distroless:1"}]})
    ours = pod(
        "np", "w1", spec={"containers": [{"name": "agnhost", "image": "mirror:5000/e2e-test-images/agnhost:2"}]}
    )
    cluster = Memory(API, OURS, theirs, ours)
    cluster.shell = lambda name, command: BIND if name == "np" else "sh: not found"
    assert set(findings(dns.CHECK, context(tmp_path, cluster))) == {"DNS_RESOLVES"}


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


NFS = volume({"nfs": {"server": "192.0.2.10", "path": "/srv/nfs/1"}})
DEPLOYMENT = workload("Deployment", "shared-volume", "course", 2)
SHARING = [pod("sv-1", "w1", app="shared-volume"), pod("sv-2", "w2", app="shared-volume")]


def test_storage_shared_between_nodes_and_cleaned_up(tmp_path: Path) -> None:
    cluster = Memory(claim(), NFS, DEPLOYMENT, *SHARING)
    shell = Volumes(sv_1="nfs-1", sv_2="nfs-1")
    cluster.shell = shell
    found = findings(storage.CHECK, context(tmp_path, cluster))
    assert found["STORAGE_BOUND"][0].detail == "is bound to nfs-1 (192.0.2.10:/srv/nfs/1)"
    assert [(one.ok, one.subject) for one in found["STORAGE_SHARED"]] == [(True, "NFS from w1 to w2")]
    assert "another read on another node" in found["STORAGE_SHARED"][0].detail
    assert (shell.written, shell.files) == (1, {})
    (lines,) = found["STORAGE_LINES"]
    assert (lines.subject, lines.detail) == ("/data/lines in pod sv-1", "has lines of sv-1 and sv-2")
    (large,) = found["STORAGE_TOO_LARGE"]
    assert "stays Pending, as it should: the volumes have 1Gi each" in large.detail
    assert large.detail.endswith("it says: Normal FailedBinding: no volume is large enough")
    assert all(one.ok for many in found.values() for one in many)
    assert cluster.get("PersistentVolumeClaim", "shared-volume-too-large", "course") is None


class Server:
    """The NFS server as far as the check uses it: it shows the end of a file."""

    name = "master"

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[str] = []

    def run(self, command: str, *, check: bool = True) -> Any:
        assert not check
        self.asked.append(command)
        return SimpleNamespace(stdout=self.text, stderr="tail: cannot open")


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("2026-11-22T19:00:00Z sv-1\n2026-11-22T19:00:00Z sv-2\n", ""),
        ("2026-11-22T19:00:00Z sv-1\ngarbled line of sv-2\n", "has no line of sv-2"),
        ("", "has no line of sv-1 and sv-2"),
    ],
)
def test_the_lines_are_in_one_file_on_the_server(tmp_path: Path, text: str, missing: str) -> None:
    cluster = Memory(claim(), NFS, DEPLOYMENT, *SHARING)
    cluster.shell = Volumes(sv_1="nfs-1", sv_2="nfs-1")
    server = Server(text)
    found = findings(storage.CHECK, context(tmp_path, cluster, hosts={"master": server}))
    assert server.asked == ["tail -n 500 /srv/nfs/1/lines"]
    if not missing:
        assert [one.subject for one in found["STORAGE_LINES"]][1] == "/srv/nfs/1/lines on the server master"
    else:
        (one,) = found["STORAGE_LINES_MISSING"]
        assert one.detail == missing
        assert one.evidence


def test_an_event_about_an_earlier_claim_of_that_name_says_nothing(tmp_path: Path) -> None:
    old = event("uid of an earlier run's shared-volume-too-large", "what it said an hour ago")
    cluster = Memory(claim(), NFS, DEPLOYMENT, *SHARING, old)
    cluster.shell = Volumes(sv_1="nfs-1", sv_2="nfs-1")
    cluster.told = False
    (one,) = findings(storage.CHECK, context(tmp_path, cluster))["STORAGE_TOO_LARGE_NOT_TOLD"]
    assert one.detail.startswith("is Pending, and should be Pending and say why")


def test_a_claim_that_is_too_large_and_bound_all_the_same(tmp_path: Path) -> None:
    cluster = Memory(claim(), NFS, DEPLOYMENT, *SHARING)
    cluster.shell = Volumes(sv_1="nfs-1", sv_2="nfs-1")
    cluster.phase = "Bound"
    (one,) = findings(storage.CHECK, context(tmp_path, cluster))["STORAGE_TOO_LARGE_NOT_TOLD"]
    assert one.detail.startswith("is Bound, and should be Pending and say why: the volumes have 1Gi each")
    assert cluster.get("PersistentVolumeClaim", "shared-volume-too-large", "course") is None


@pytest.mark.parametrize(
    ("objects", "shell", "code", "words"),
    [
        ([DEPLOYMENT, *SHARING], Volumes(), "STORAGE_NO_CLAIM", "does not exist"),
        (
            [claim(phase="Pending", volume=""), DEPLOYMENT, *SHARING],
            Volumes(),
            "STORAGE_NOT_BOUND",
            "is Pending: no volume fits it",
        ),
        (
            [claim(), volume({"hostPath": {"path": "/x"}}), DEPLOYMENT, *SHARING],
            Volumes(),
            "STORAGE_NOT_NFS",
            "is bound to nfs-1, which is not on NFS",
        ),
        ([claim(), NFS], Volumes(), "STORAGE_NO_PODS", "has 0 of 1 pods ready"),
        (
            [claim(), NFS, DEPLOYMENT, SHARING[0], pod("sv-2", "w2", app="shared-volume", ready=False)],
            Volumes(),
            "STORAGE_NO_PODS",
            "has 1 of 2 pods ready (w2: running but not ready)",
        ),
        (
            [claim(), NFS, workload("Deployment", "shared-volume", "course", 1), SHARING[0]],
            Volumes(),
            "STORAGE_ONE_NODE",
            "has pods on w1 only, and hosts.toml has 2 workers",
        ),
        (
            [claim(), NFS, DEPLOYMENT, *SHARING],
            Volumes(sv_1="read-only"),
            "STORAGE_WRITE_FAILED",
            "cannot be written from pod sv-1",
        ),
        (
            [claim(), NFS, DEPLOYMENT, *SHARING],
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
    aside = {"STORAGE_BOUND", "STORAGE_LINES", "STORAGE_TOO_LARGE"}
    if code == "STORAGE_READ_DIFFERS":  # nor do the lines meet in one file then
        aside.add("STORAGE_LINES_MISSING")
    assert set(found) - aside == {code}
    (one,) = found[code]
    assert not one.ok
    assert words in one.detail
    assert one.remedy
    assert not shell.files
    if code == "STORAGE_READ_DIFFERS":
        assert one.evidence[-2:] == (
            "Warning Something about course/sv-2",
            "agnhost: log of course/sv-2 agnhost 8 False",
        )


def test_storage_on_the_csi_driver() -> None:
    csi = {"driver": "nfs.csi.k8s.io", "volumeAttributes": {"server": "nas", "share": "/x"}}
    assert storage.nfs_source(volume({"csi": csi})) == "nas:/x/nfs-1"
    csi["volumeAttributes"] = {"server": "nas", "share": "/", "subdir": "pvc-7"}
    assert storage.nfs_source(volume({"csi": csi})) == "nas:/pvc-7"
    assert storage.nfs_source(volume({"csi": csi | {"driver": "ebs.csi.aws.com"}})) == ""
