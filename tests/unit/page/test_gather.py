"""What is gathered, also while a host or the API is down, and the files of earlier commands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provisioner import checks
from provisioner.checks import Check, Finding
from provisioner.engine import Change, Scope, Step
from provisioner.errors import HostError, Inconclusive, ProvisionerError, Unreachable
from provisioner.kube import ApiState
from provisioner.l2 import sweeping
from provisioner.l2.facts import Facts, Pool, Port, Service
from provisioner.page import Context, Wishes, from_files, gather, read, render
from provisioner.page.document import from_json, to_json
from provisioner.page.gather import cluster_side, failovers, findings, hosts_side, segment
from provisioner.report import Report
from tests.unit.fake_cluster import FakeCluster
from tests.unit.page import sample

CERTIFICATES = "apiserver.crt\tNov 28 12:00:00 2026 GMT\tNov 28 12:00:00 2027 GMT\nca.crt\n"


class HostStub:
    """A host that answers every command with the same text, or not at all."""

    def __init__(self, spec: Any, site: Any, error: Exception | None = None) -> None:
        self.spec, self.site, self.name, self.error = spec, site, spec.name, error
        self.step = ""
        self.facts_read = 0

    @property
    def facts(self) -> object:
        self.facts_read += 1
        if self.error is not None:
            raise self.error
        return SimpleNamespace()

    def run(self, script: str, **_: Any) -> SimpleNamespace:
        if self.error is not None:
            raise self.error
        return SimpleNamespace(stdout=CERTIFICATES)


def context(folder: Path, cluster: FakeCluster, *lost: str) -> Context:
    site = sample.site(folder)
    hosts: Mapping[str, Any] = {
        spec.name: HostStub(
            spec, site, Unreachable(spec.name, "no route to host", "switch it on") if spec.name in lost else None
        )
        for spec in site.hosts
    }
    return Context(site, hosts, cluster, Report())  # type: ignore[arg-type]


def node(name: str, **status: Any) -> dict[str, Any]:
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {}},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.4"}},
    }


def workload(kind: str, name: str, *images: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "apiVersion": "apps/v1",
        "metadata": {"name": name, "namespace": "system"},
        "spec": {"template": {"spec": {"containers": [{"image": image} for image in images]}}},
    }


@pytest.fixture
def few_checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Leave four checks: one that reads, one that changes something, one that needs no API, one that fails."""
    ran: list[str] = []

    def run(name: str, *found: Finding) -> Any:
        def check(context: checks.Context) -> Iterator[Finding]:
            assert not context.patient
            ran.append(name)
            yield from found

        return check

    good, bad = Finding(True, "it", "is so", code="SO"), Finding(False, "it", "is not", "mend it", "NOT_SO", ("log",))
    monkeypatch.setattr(
        checks,
        "CHECKS",
        (
            Check("reads", "", run("reads", good), reads_only=True),
            Check("certificates", "", run("certificates", bad), reads_only=True, without_api=True),
            Check("storage", "", run("storage", good)),
        ),
    )
    return ran


def test_only_checks_that_change_nothing_are_run(tmp_path: Path, few_checks: list[str]) -> None:
    made = findings.run(context(tmp_path, FakeCluster()))
    assert few_checks == ["reads", "certificates"]
    assert [(one.check, one.ok, one.code, one.evidence) for one in made.findings] == [
        ("reads", True, "SO", ()),
        ("certificates", False, "NOT_SO", ("log",)),
    ]
    assert made.left_out == ("storage",)
    assert made.source.state == "seen"


def test_findings_of_a_file_are_added_and_not_run_again(tmp_path: Path, few_checks: list[str]) -> None:
    path = tmp_path / "verify.json"
    path.write_text(sample.verify(("reads", Finding(False, "x", "was wrong", code="WRONG"))))
    made = findings.run(context(tmp_path, FakeCluster()), read([path]).verify)
    assert few_checks == []
    assert "storage" in {one.check for one in made.findings}
    assert made.left_out == ()
    assert made.files == (str(path),)


def test_without_an_api_the_rest_is_there(
    tmp_path: Path, few_checks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Facts] = []

    def scan(facts: Facts, ips: Any, **_: Any) -> Any:
        asked.append(facts)
        raise Inconclusive("sending frames requires CAP_NET_RAW", "run it with sudo")

    monkeypatch.setattr(sweeping, "scan", scan)
    monkeypatch.setattr(hosts_side, "STEPS", ())
    made = gather(context(tmp_path, FakeCluster(api=ApiState.UNREACHABLE), "worker2"), Wishes())
    assert made.problem == "connection refused"
    assert set(made.missing) == {"nodes", "pools", "versions", "segment"}
    assert [(row.name, row.status, row.address) for row in made.nodes.rows] == [
        ("master", "unknown", "192.0.2.10"),
        ("worker1", "unknown", "192.0.2.11"),
        ("worker2", "unknown", "192.0.2.12"),
    ]
    (pool,) = made.pools.pools
    assert (pool.name, pool.size, pool.used) == ("lab", 31, None)
    assert [node.name for node in asked[0].nodes] == ["master", "worker1", "worker2"]
    assert made.segment.source.why == "sending frames requires CAP_NET_RAW; run it with sudo"
    assert "provisioner l2 scan -o json" in made.segment.source.remedy
    assert [(one.host, one.name, one.ends is None) for one in made.certificates.found] == [
        (host, name, name == "ca.crt") for host in ("master", "worker1") for name in ("apiserver.crt", "ca.crt")
    ]
    assert [(one.where, one.why) for one in made.certificates.unseen] == [("worker2", "no route to host")]
    assert few_checks == ["certificates"]
    assert [(one.where, one.why) for one in made.drift.unseen] == [
        ("connect on worker2", "no route to host; switch it on")
    ]
    assert from_json(to_json(made)) == made


def test_with_the_control_plane_off_there_is_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then whether there is an API: the login is what fails."""

    class Off(FakeCluster):
        def state(self) -> ApiState:
            raise Unreachable("master", "connection timed out", "check that the machine is up")

        def reachable(self) -> bool:
            return self.state() is ApiState.READY

    def scan(*_: Any, **__: Any) -> Any:
        raise Inconclusive("not on the segment", "go there")

    monkeypatch.setattr(sweeping, "scan", scan)
    monkeypatch.setattr(hosts_side, "STEPS", ())
    made = gather(context(tmp_path, Off(), "master", "worker1", "worker2"), Wishes())
    assert made.problem == "master: connection timed out; check that the machine is up"
    assert set(made.missing) == {"nodes", "pools", "versions", "segment", "checks", "certificates"}
    assert [one.where for one in made.drift.unseen] == [
        f"connect on {name}" for name in ("master", "worker1", "worker2")
    ]
    assert [row.name for row in made.nodes.rows] == ["master", "worker1", "worker2"]
    assert "<h1>homelab</h1>" in render(made)


def test_parts_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "scan", lambda *_, **__: pytest.fail("asked"))
    place = context(tmp_path, FakeCluster(api=ApiState.ABSENT))
    made = gather(place, Wishes(skip=("checks", "drift", "segment")))
    skipped = {name: source.why for name, source in made.sources.items() if source.state == "skipped"}
    assert skipped.items() >= {(part, f"left out by --skip {part}") for part in ("checks", "drift", "segment")}
    assert made.problem == "there is no cluster yet"
    assert [host.facts_read for host in place.hosts.values()] == [0, 0, 0]  # type: ignore[attr-defined]


def test_a_lost_host_does_not_hide_what_differs_on_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changes(host: Any, cluster: Any, site: Any) -> Iterator[Change]:
        if host.name == "worker1":
            yield Change("write /etc/x", lambda: pytest.fail("changed"), "--- a\n+++ b\n@@ -1 +1 @@\n-old\n+new\n")
        if host.name == "master":
            raise HostError("master", "apt is locked", "wait")

    monkeypatch.setattr(hosts_side, "STEPS", (Step("prepare", "x", Scope.ALL, changes),))
    made = hosts_side.drift(context(tmp_path, FakeCluster(), "worker2"))
    assert [(one.host, one.step, one.wins, one.found, one.apply) for one in made.differences] == [
        ("worker1", "prepare", "hosts.toml", "has `old`, not `new`", "write /etc/x")
    ]
    assert [(one.where, one.why) for one in made.unseen] == [
        ("connect on worker2", "no route to host; switch it on"),
        ("prepare on master", "apt is locked; wait"),
    ]


def test_versions_say_what_is_newer(tmp_path: Path) -> None:
    cluster = FakeCluster(
        node("master"),
        workload("DaemonSet", "speaker", "mirror.example:5000/metallb/speaker:v0.13.12"),
        workload("Deployment", "controller", "quay.io/metallb/controller:v0.16.1@sha256:" + "a" * 64),
        workload("DaemonSet", "flannel", "ghcr.io/flannel-io/flannel:v0.28.9", "x/flannel-cni-plugin:v1.5.1"),
        workload("Deployment", "own", "docker.io/library/nginx:latest"),
    )
    cluster.answers["/version"] = {"gitVersion": "v1.36.1"}
    place = context(tmp_path, cluster)
    made = cluster_side.versions(place, cluster_side.nodes(place))
    assert [(one.name, one.running, one.newest, one.newer) for one in made.components] == [
        ("Kubernetes API server", ("1.36.1",), "1.36.4", True),
        ("kubelet", ("1.36.4",), "1.36.4", True),
        ("MetalLB", ("0.13.12", "0.16.1"), "0.16.1", True),
        ("Flannel", ("0.28.9",), "0.28.9", False),
    ]
    assert made.components[1].note == "newer minors are known: 1.37"


def test_a_large_pool_is_not_swept_and_says_so() -> None:
    facts = Facts(
        pools=(
            Pool(name="small", addresses=("192.0.2.200-192.0.2.209",)),
            Pool(name="large", addresses=("10.0.0.0/16",)),
        ),
        services=(Service(namespace="a", name="b", ingress_ips=("10.0.3.4",), ports=(Port(port=80),)),),
    )
    ips, notes = segment.wanted(facts, "192.0.2.9")
    assert len(ips) == 12
    assert [str(ip) for ip in (ips[0], ips[-1])] == ["10.0.3.4", "192.0.2.9"]
    (note,) = notes
    assert "pool large has 65536 addresses" in note
    assert "provisioner l2 scan pool:large" in note


def test_pools_that_are_not_in_hosts_toml_are_told(tmp_path: Path) -> None:
    facts = Facts(
        pools=(Pool(name="lab", addresses=("192.0.2.200-192.0.2.230",)), Pool(name="own", addresses=("10.0.0.0/30",))),
        services=(Service(namespace="a", name="b", ingress_ips=("192.0.2.200",)),),
    )
    made = cluster_side.pools(facts, sample.site(tmp_path), sample.SEEN)
    assert [(one.name, one.size, one.wanted, [use.service for use in one.used or ()]) for one in made.pools] == [
        ("lab", 31, True, ["a/b"]),
        ("own", 4, False, []),
    ]
    unknown = cluster_side.pools(facts.model_copy(update={"services": None}), sample.site(tmp_path), sample.SEEN)
    assert [one.used for one in unknown.pools] == [None, None]


# --- files of earlier commands ------------------------------------------------------------------------------------


def test_each_file_is_recognized_by_its_content(tmp_path: Path) -> None:
    made = from_files(sample.site(tmp_path), Wishes(earlier=read(sample.files(tmp_path))))
    assert {name for name, source in made.sources.items() if source.state == "earlier"} == {
        "segment",
        "checks",
        "drift",
        "failovers",
    }
    (failover,) = made.failovers.watched
    assert failover.title == "192.0.2.200 moved from worker1 to worker2: silent for 5.3 s"
    assert [lane.name for lane in failover.lanes] == ["worker1", "worker2"]
    assert [tuple(round(second, 1) for second in one) for one in failover.silences] == [(0.0, 5.3)]
    assert dict(failover.figures) == {
        "silence": "5.300 s",
        "gratuitous": "5 of 5 expected",
        "no TCP connection for": "5.750 s",
    }
    lanes = {lane.subject: (lane.faults, [state for state, _ in lane.runs]) for lane in made.failovers.lanes}
    assert lanes["192.0.2.202"] == (2, ["unknown", "held", "conflict", "held", "silent"])
    states = {address.ip: address.state for address in made.segment.addresses}
    assert (states["192.0.2.200"], states["192.0.2.202"], states["192.0.2.217"]) == ("right", "wrong", "stranger")
    assert [one.note for one in made.segment.addresses if one.state == "node"][:2] == ["router", "node master"]
    assert [one.by_hand for one in made.drift.differences] == ["", "remove the line from /etc/exports"]


def test_the_guards_own_file_is_read(tmp_path: Path) -> None:
    from provisioner.l2.guard.store import Store

    with Store(tmp_path / "guard.sqlite") as store:
        for event in sample.events():
            store.add(event)
    made = failovers.failovers((), None, tmp_path / "guard.sqlite", sample.NOW - 2 * sample.DAY)
    assert made.total == 3
    assert {lane.subject for lane in made.lanes} == {"192.0.2.200", "192.0.2.202", "192.0.2.217"}
    (tmp_path / "guard.sqlite").write_text("no database")
    broken = failovers.failovers((), None, tmp_path / "guard.sqlite", 0.0)
    assert broken.source.state == "missing"
    none = failovers.failovers((), None, tmp_path / "nothing", 0.0)
    assert (none.source.state, none.source.why) == (
        "skipped",
        "no failover was recorded, and no guard has watched the segment from here",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ('{"schema": "l2watch/v1", "zero": NaN}', "is not JSON"),
        ("no json", "is not JSON"),
        ("[]", "is not the JSON of a command that report knows"),
        ('[{"name": "master", "status": "Ready"}]', "is not the JSON of a command that report knows"),
        ('{"schema": "l2facts/v2"}', "is not the JSON of a command that report knows"),
        ("[" * 100_000, "is not JSON"),
        ('{"schema": "report/v1", "cluster": 5}', "is not a whole report/v1: "),
    ],
)
def test_a_file_that_is_no_output_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ProvisionerError) as raised:
        read([path])
    assert f"{path}: {said}" in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "nowhere", "No such file"), (tmp_path, "is not a regular file")):
        with pytest.raises(ProvisionerError, match=said) as raised:
            read([path])
        assert str(path) in str(raised.value)
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(ProvisionerError, match="is not text"):
        read([tmp_path / "x"])


@pytest.mark.parametrize("name", ["scan.json", "drift.json", "failover.json", "history.json"])
def test_a_part_of_a_document_is_refused(tmp_path: Path, name: str) -> None:
    paths = {path.name: path for path in sample.files(tmp_path)}
    body = json.loads(paths[name].read_text())
    for key in [key for key in body if key not in ("schema", "run", "service", "remedy", "problem")]:
        cut = {other: value for other, value in body.items() if other != key}
        paths[name].write_text(json.dumps(cut))
        unused = key in ("causes", "cluster", "family", "pool", "warnings", "command", "moves", "events") or (
            key in ("gratuitous_frames", "connections", "tcp_outcomes")
        )
        wishes = Wishes(earlier=read([paths[name]]))
        if unused and not (name == "history.json" and key == "events"):
            from_files(sample.site(tmp_path), wishes)
            continue
        with pytest.raises(ProvisionerError) as raised:
            from_files(sample.site(tmp_path), wishes)
        assert f"{paths[name]}: is not what the command prints: '{key}' is missing" in str(raised.value), key


def test_a_report_is_read_back_as_it_was(tmp_path: Path) -> None:
    made = sample.document(tmp_path)
    (tmp_path / "report.json").write_text(to_json(made))
    assert read([tmp_path / "report.json"]).report == made


def test_secrets_and_control_characters_do_not_reach_the_report(tmp_path: Path) -> None:
    token = "abcdef.0123456789abcdef"
    (tmp_path / "v.json").write_text(
        json.dumps({"check": "x", "ok": False, "code": "X", "subject": token, "detail": "\x1b[2J", "remedy": ""})
    )
    made = from_files(sample.site(tmp_path), Wishes(earlier=read([tmp_path / "v.json"])))
    (one,) = made.checks.findings
    assert (one.subject, one.detail) == ("‹secret›", "\\x1b[2J")


def test_commands_are_those_that_run_here(tmp_path: Path) -> None:
    wishes = Wishes(
        earlier=sample.earlier(tmp_path), runnable=lambda text: text.replace("provisioner ", "provisioner -f x.toml ")
    )
    made = from_files(sample.site(tmp_path), wishes)
    assert "provisioner -f x.toml node uncordon worker2" in {one.remedy for one in made.checks.findings}
    assert replace(made, taken=0.0).taken == 0.0
