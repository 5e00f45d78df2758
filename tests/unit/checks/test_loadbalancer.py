"""The loadbalancer check: verdicts as findings, and HTTP and TCP requests to external IPs.

The verdicts themselves are tested with the diagnosis; here they are fixed and the API is in memory. Sockets are real.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import loadbalancer
from provisioner.l2 import verdicts
from provisioner.l2.result import AddressOwner, Result
from tests.unit.checks.contexts import context, findings
from tests.unit.checks.test_http import on_loopback, serving, taking_turns
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import pod, service, workload

W1 = AddressOwner("02:00:00:00:00:11", "w1", "eth1", ("w1",), "speaker", "inventory")


def result(verdict: str = "OK", **values: Any) -> Result:
    """Return a verdict on 192.0.2.200 of course/lb-one."""
    known: dict[str, Any] = {
        "ip": "192.0.2.200", "family": "ipv4", "service": "course/lb-one", "pool": "lab", "verdict": verdict,
        "confidence": "certain", "evidence": (), "owners": (W1,), "predicted_leader": "w1",
    }  # fmt: skip
    return Result(**{**known, **values})


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[Result]:
    """Return a list of the verdicts that the diagnosis returns."""
    results: list[Result] = []
    monkeypatch.setattr(verdicts, "verdicts", lambda *_, **__: tuple(results))
    return results


def test_an_ok_verdict_passes() -> None:
    one = loadbalancer.verdict(result())
    assert (one.ok, one.code, one.subject) == (True, "L2_OK", "192.0.2.200 (course/lb-one)")
    assert one.detail == "is answered only by w1 eth1 (02:00:00:00:00:11), as predicted"


def test_a_warning_is_shown_instead_of_the_prediction() -> None:
    one = loadbalancer.verdict(result(warnings=("UNEXPECTED_LEADER",), predicted_leader="w2"))
    assert one.ok
    assert one.detail.endswith("(02:00:00:00:00:11) (UNEXPECTED_LEADER)")


def test_a_fault_fails_with_evidence_and_remedy() -> None:
    one = loadbalancer.verdict(
        result("SPLIT_BRAIN", evidence=("w1 and w2 answer.", "Logs say so."), remedy="Open 7946.", command="nft list")
    )
    assert (one.ok, one.code) == (False, "L2_SPLIT_BRAIN")
    assert one.detail == "has a layer-2 fault: w1 and w2 answer."
    assert one.evidence == ("Logs say so.",)
    assert one.remedy == "Open 7946. nft list"
    assert "(likely)" in loadbalancer.verdict(result("INGRESS_LOST", confidence="likely")).detail


def test_an_inconclusive_verdict_fails() -> None:
    one = loadbalancer.verdict(result("INCONCLUSIVE_PROBE_LOCATION", evidence=("This machine is the node w1.",)))
    assert not one.ok
    assert one.detail == "cannot be judged from here: This machine is the node w1."


def test_a_service_without_an_address_fails(tmp_path: Path, judged: list[Result]) -> None:
    judged.append(result("POOL_EXHAUSTED", ip="", family="", evidence=("All 4 addresses are in use.",), owners=()))
    found = findings(loadbalancer.CHECK, context(tmp_path, FakeCluster(service("lb-one", kind="LoadBalancer"))))
    assert set(found) == {"L2_POOL_EXHAUSTED", "LB_NONE"}
    assert found["L2_POOL_EXHAUSTED"][0].subject == "course/lb-one"


def test_services_of_other_load_balancers_are_ignored(tmp_path: Path, judged: list[Result]) -> None:
    foreign = service("cloud", kind="LoadBalancer", given=["198.51.100.1"], loadBalancerClass="example.com/cloud")
    assert set(findings(loadbalancer.CHECK, context(tmp_path, FakeCluster(foreign)))) == {"LB_NONE"}


def test_a_deleted_shipped_service_fails(tmp_path: Path, judged: list[Result]) -> None:
    there = [balanced("lb-one", "192.0.2.200"), balanced("hpa-pods", "192.0.2.202")]
    (one,) = findings(loadbalancer.CHECK, context(tmp_path, FakeCluster(*there)))["LB_NONE"]
    assert (one.ok, one.subject) == (False, "Service course/lb-two")
    assert one.remedy == "provisioner apply"


@pytest.mark.parametrize(("second", "code"), [("192.0.2.201", "LB_DISTINCT"), ("192.0.2.200", "LB_NOT_DISTINCT")])
def test_the_two_shipped_services_need_different_addresses(
    tmp_path: Path, judged: list[Result], second: str, code: str
) -> None:
    both = [balanced("lb-one", "192.0.2.200"), balanced("lb-two", second)]
    (one,) = findings(loadbalancer.CHECK, context(tmp_path, FakeCluster(*both)))[code]
    assert one.ok is (code == "LB_DISTINCT")
    assert one.subject == "Services course/lb-one and course/lb-two"
    assert one.detail.endswith(f"lb-one has 192.0.2.200, lb-two has {second}")
    events = ("Warning Something about course/lb-one", "Warning Something about course/lb-two")
    assert one.evidence == (() if one.ok else events)


def test_a_users_own_service_gets_no_http_request(tmp_path: Path, judged: list[Result]) -> None:
    theirs = balanced("ssh", "192.0.2.205")
    found = findings(loadbalancer.CHECK, context(tmp_path, FakeCluster(theirs)))
    assert set(found) == {"LB_NONE", "LB_ADDRESS"}


@pytest.mark.parametrize("manager", ["kubectl", "provisioner"])
def test_an_address_from_a_pool_that_hosts_toml_does_not_have(
    tmp_path: Path, judged: list[Result], manager: str
) -> None:
    pool = {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": "hand", "namespace": "metallb-system", "managedFields": [{"manager": manager}]},
        "spec": {"addresses": ["203.0.113.8/30"]},
    }
    found = findings(loadbalancer.CHECK, context(tmp_path, FakeCluster(balanced("theirs", "203.0.113.9"), pool)))
    if manager == "kubectl":
        assert found["LB_ADDRESS"][0].detail == "has 203.0.113.9 from pool hand, which is not in hosts.toml"
    else:
        assert not found["LB_OFF_POOL"][0].ok, "apply removes it, since hosts.toml no longer has it"


def test_an_address_from_no_pool_fails(tmp_path: Path, judged: list[Result]) -> None:
    ports = [{"port": 53, "protocol": "UDP"}]
    off = service("lb-one", kind="LoadBalancer", given=["203.0.113.9"], ports=ports)
    found = findings(loadbalancer.CHECK, context(tmp_path, FakeCluster(off)))
    assert "203.0.113.9, which is in no pool" in found["LB_OFF_POOL"][0].detail
    assert found["LB_OFF_POOL"][0].evidence == ("Warning Something about course/lb-one",)
    assert set(found) == {"LB_OFF_POOL", "LB_NO_TCP", "LB_NONE"}


def test_requests_reach_all_pods(tmp_path: Path, judged: list[Result]) -> None:
    behind = [pod("lb-a", "w1", app="lb-one"), pod("lb-b", "w2", app="lb-one")]
    with serving("127.0.0.21", taking_turns("lb-a", "lb-b")) as port:
        ours = _balancer(port)
        where = on_loopback(tmp_path, FakeCluster(ours, *behind))
        found = {one.code: one for one in loadbalancer.serves(where, loadbalancer.ExternalIP(ours, "127.0.0.21"))}
    assert set(found) == {"LB_SERVES", "LB_PODS"}
    assert found["LB_PODS"].detail.startswith("leads to lb-a and lb-b (")


def test_a_pod_that_is_not_ready_fails_although_the_others_answer(tmp_path: Path, judged: list[Result]) -> None:
    behind = [pod("lb-a", "w1", app="lb-one"), pod("lb-b", "w2", app="lb-one", ready=False)]
    with serving("127.0.0.21", taking_turns("lb-a")) as port:
        ours = _balancer(port)
        where = on_loopback(tmp_path, FakeCluster(ours, workload("Deployment", "lb-one", "course", 3), *behind))
        found = {one.code: one for one in loadbalancer.serves(where, loadbalancer.ExternalIP(ours, "127.0.0.21"))}
    one = found["LB_PODS_NOT_READY"]
    assert (one.ok, one.detail) == (False, "has 1 of 3 pods ready (lb-b: running but not ready)")
    assert "agnhost: log of course/lb-b agnhost 8 False" in one.evidence
    assert found["LB_PODS"].ok


def test_a_pod_that_never_answers_fails(tmp_path: Path, judged: list[Result]) -> None:
    behind = [pod("lb-a", "w1", app="lb-one"), pod("lb-b", "w2", app="lb-one")]
    with serving("127.0.0.21", taking_turns("lb-a")) as port:
        ours = _balancer(port)
        where = on_loopback(tmp_path, FakeCluster(ours, *behind))
        found = {one.code: one for one in loadbalancer.serves(where, loadbalancer.ExternalIP(ours, "127.0.0.21"))}
    assert not found["LB_POD_UNSEEN"].ok
    assert found["LB_POD_UNSEEN"].detail.startswith("never led to lb-b in ")
    assert "lb-b: agnhost: log of course/lb-b agnhost 8 False" in found["LB_POD_UNSEEN"].evidence


def test_serving_over_http_and_tcp(tmp_path: Path) -> None:
    def all_of(one: Any) -> list[tuple[str, str]]:
        found = loadbalancer.serves(where, loadbalancer.ExternalIP(one, "127.0.0.21"))
        return [(finding.code, finding.detail) for finding in found]

    with serving("127.0.0.21", taking_turns("lb-1")) as port:
        where = on_loopback(tmp_path, FakeCluster(pod("lb-1", "w1", app="lb-one")))
        ours = service("lb-one", ports=[{"port": port, "protocol": "TCP"}])
        assert all_of(ours)[0] == ("LB_SERVES", "serves HTTP as lb-1")
        ports = [{"port": port}, {"port": 1}, {"port": 53, "protocol": "UDP"}]
        theirs = service("ssh", namespace="default", ports=ports)
        said = f"accepts connections on {port}, not on 1: connection refused"
        assert all_of(theirs) == [("LB_SERVES", said)]
    (gone,) = loadbalancer.serves(where, loadbalancer.ExternalIP(ours, "127.0.0.21"))
    assert (gone.ok, gone.code) == (False, "LB_NOT_SERVING")
    assert gone.detail.endswith("connection refused")
    assert "lb-1: agnhost: log of course/lb-1 agnhost 8 False" in gone.evidence
    where.cluster.objects.append(pod("ssh-1", "w1", namespace="default", app="ssh", ready=False))  # type: ignore[attr-defined]
    (gone,) = loadbalancer.serves(where, loadbalancer.ExternalIP(theirs, "127.0.0.21"))
    assert gone.code == "LB_NOT_SERVING"
    assert "ssh-1: agnhost: log of default/ssh-1 agnhost 8 False" in gone.evidence
    where = on_loopback(tmp_path, FakeCluster())
    assert all_of(ours) == [("LB_NO_PODS", "has 0 of 0 pods ready")]


def balanced(name: str, ip: str) -> Any:
    """Return a LoadBalancer Service without a TCP port."""
    return service(name, kind="LoadBalancer", given=[ip], ports=[{"port": 53, "protocol": "UDP"}])


def _balancer(port: int) -> Any:
    made = service("lb-one", kind="LoadBalancer", given=["127.0.0.21"], ports=[{"port": port, "protocol": "TCP"}])
    made["spec"]["selector"] = {"app.kubernetes.io/name": "lb-one"}
    return made
