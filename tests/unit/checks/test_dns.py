"""The dns check, and parsing the output of nslookup."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from provisioner.checks import dns
from provisioner.errors import ClusterError
from tests.unit.checks.contexts import context, findings
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod, service

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
# No server, no such name, and a server whose own address must not count as the result.
TIMED_OUT = ";; connection timed out; no servers could be reached\n"
UNKNOWN_NAME = "Server:\t\t10.96.0.1\nAddress:\t10.96.0.1#53\n\n** server can't find it: NXDOMAIN\n"


@pytest.mark.parametrize("output", [BIND, BUSYBOX, BUSYBOX_SMALL])
def test_the_output_of_every_nslookup_is_parsed(output: str) -> None:
    found = dns.parse(output)
    assert not dns.unresolved(NAMES, found)
    assert found["kubernetes.default.svc.cluster.local"] == {"10.96.0.1"}


@pytest.mark.parametrize(
    "output", ["", TIMED_OUT, UNKNOWN_NAME, "sh: nslookup: not found\n", BIND.replace("Name", "N")]
)
def test_errors_resolve_nothing(output: str) -> None:
    assert dns.unresolved(NAMES, dns.parse(output)) == list(NAMES)


def test_names_are_resolved_on_every_node_in_one_exec_each(tmp_path: Path) -> None:
    cluster = FakeCluster(
        API, HEADLESS, OURS, pod("b", "w2"), pod("a", "w1"), pod("c", "w1"), pod("d", "w3", ready=False)
    )
    commands: list[tuple[str, Sequence[str]]] = []

    def shell(name: str, command: Sequence[str]) -> str:
        commands.append((name, command))
        return BIND

    cluster.shell = shell
    found = findings(dns.CHECK, context(tmp_path, cluster))
    assert [one.subject for one in found.pop("DNS_RESOLVES")] == ["DNS on w1", "DNS on w2"]
    assert not found
    script = (
        "nslookup kubernetes.default.svc.cluster.local. 2>&1; nslookup np-pods.course.svc.cluster.local. 2>&1; true"
    )
    assert commands == [("a", ["sh", "-c", script]), ("b", ["sh", "-c", script])]


def test_a_users_own_pod_without_nslookup_is_not_used(tmp_path: Path) -> None:
    theirs = pod("a-theirs", "w1", spec={"containers": [{"name": "web", "image": "example.org/distroless:1"}]})
    ours = pod(
        "np", "w1", spec={"containers": [{"name": "agnhost", "image": "mirror:5000/e2e-test-images/agnhost:2"}]}
    )
    cluster = FakeCluster(API, OURS, theirs, ours)
    cluster.shell = lambda name, command: BIND if name == "np" else "sh: not found"
    assert set(findings(dns.CHECK, context(tmp_path, cluster))) == {"DNS_RESOLVES"}


def test_dns_failing_on_one_node_fails(tmp_path: Path) -> None:
    server = pod("coredns-1", "w1", namespace="kube-system")
    server["metadata"]["labels"] = {"k8s-app": "kube-dns"}
    cluster = FakeCluster(API, OURS, pod("a", "w1"), pod("b", "w2"), server)
    cluster.shell = lambda name, command: BIND if name == "a" else TIMED_OUT
    found = findings(dns.CHECK, context(tmp_path, cluster))
    assert [one.subject for one in found["DNS_RESOLVES"]] == ["DNS on w1"]
    (one,) = found["DNS_FAILS"]
    assert one.subject == "DNS on w2"
    assert "kubernetes.default.svc.cluster.local did not resolve, and should to 10.96.0.1" in one.detail
    assert one.evidence == (
        TIMED_OUT.strip(),
        "coredns-1 on w1: log of kube-system/coredns-1  3 False",
    )


def test_a_wrong_address_and_a_failed_exec_fail(tmp_path: Path) -> None:
    cluster = FakeCluster(API, OURS, pod("a", "w1"))
    cluster.shell = lambda name, command: BIND.replace("10.96.7.7", "10.96.7.8")
    (one,) = findings(dns.CHECK, context(tmp_path, cluster))["DNS_FAILS"]
    assert "np-pods.course.svc.cluster.local resolved to 10.96.7.8 and fd00::7, and should to 10.96.7.7" in one.detail

    def broken(name: str, command: Sequence[str]) -> str:
        raise ClusterError(f"cannot run {len(command)} words in {name}", tail="container not found")

    cluster.shell = broken
    (one,) = findings(dns.CHECK, context(tmp_path, cluster))["DNS_FAILS"]
    assert one.evidence == ("cannot run 3 words in a", "container not found")


def test_without_a_ready_pod_the_check_fails(tmp_path: Path) -> None:
    found = findings(dns.CHECK, context(tmp_path, FakeCluster(API, pod("a", "w1", ready=False))))
    assert found["DNS_NO_POD"][0].evidence == (
        "Warning Something about course/a",
        "agnhost: log of course/a agnhost 8 False",
    )
