"""The running of all checks: which, in what order, side by side, and how it ends."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner import checks
from provisioner.checks.check import Check, Context, Finding, passed, wait_for
from provisioner.errors import ClusterError, ProvisionerError
from provisioner.kube import ApiState
from provisioner.site.model import CROWDED
from tests.unit.checks.contexts import SITE, context
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node

NODES = [node("master", "192.0.2.10"), node("w1", "192.0.2.11"), node("w2", "192.0.2.12")]


def test_all_checks_are_known_by_distinct_names_and_can_be_chosen() -> None:
    names = [check.name for check in checks.CHECKS]
    assert names == [
        "nodes",
        "certificates",
        "system",
        "dns",
        "storage",
        "retained",
        "loadbalancer",
        "freed",
        "ingress",
        "nodeport",
        "daemonset",
        "configmap",
        "hpa",
        "statefulset",
    ]
    assert [check.name for check in checks.CHECKS if check.parallel_safe] == names[-5:], "they are neighbours"
    assert [check.name for check in checks.choose(["hpa", "nodes"])] == ["nodes", "hpa"]
    assert checks.choose([]) == checks.CHECKS
    with pytest.raises(
        ProvisionerError, match="there is no check 'node'; did you mean nodes\\? the checks are nodes,"
    ):
        checks.choose(["hpa", "node"])


def test_without_the_api_one_finding(tmp_path: Path) -> None:
    cluster = FakeCluster()
    cluster.api = ApiState.UNREACHABLE
    found = list(checks.run(context(tmp_path, cluster)))
    assert [(one.ok, one.code) for _, one in found] == [(False, "API_UNREACHABLE")]
    assert "connection refused" in found[0][1].detail


def test_without_the_api_what_needs_none_is_told_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(where: Context) -> Any:
        yield passed("Y", "y", f"is well in {where.site.cluster.name}")

    ours = (Check("asks", "", told), Check("does not", "", told, without_api=True))
    monkeypatch.setattr(checks, "CHECKS", ours)
    cluster = FakeCluster()
    cluster.api = ApiState.UNREACHABLE
    found = [(check.name, one.code) for check, one in checks.run(context(tmp_path, cluster))]
    assert found == [("asks", "API_UNREACHABLE"), ("does not", "Y")]


def test_certificates_are_looked_at_when_the_api_is_silent_for_they_may_be_why() -> None:
    assert [check.name for check in checks.CHECKS if check.without_api] == ["certificates"]


@pytest.mark.parametrize("names", [[], ["hpa"]])
def test_what_the_site_does_not_have_is_said(tmp_path: Path, names: list[str]) -> None:
    cluster = FakeCluster(*NODES)
    text = SITE + "[metrics]\nenabled = false\n"
    found = [one for check, one in checks.run(context(tmp_path, cluster, text), names) if check.name == "hpa"]
    assert [(one.ok, one.code) for one in found] == [(not names, "NOT_ENABLED")]
    assert "[metrics] is not enabled" in found[0].detail


def test_an_error_ends_one_check_not_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(where: Context) -> Any:
        yield passed("X", "x", "is well")
        raise ClusterError("the API went away", "look at it", tail=f"line of {where.site.cluster.name}")

    def fine(where: Context) -> Any:
        yield passed("Y", "y", f"is well in {where.site.cluster.name}")

    monkeypatch.setattr(checks, "CHECKS", (Check("broken", "", broken), Check("fine", "", fine)))
    found: list[Finding] = [one for _, one in checks.run(context(tmp_path, FakeCluster()))]
    assert [one.code for one in found] == ["X", "API_ERROR", "Y"]
    assert found[1].evidence == ("line of lab",)
    assert found[1].remedy == "look at it"


def test_what_cannot_be_put_back_when_nobody_listens_any_more_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(where: Context) -> Any:
        try:
            yield passed("X", "x", f"is well in {where.site.cluster.name}")
        finally:
            raise ClusterError("ss-pods stands at 0")

    monkeypatch.setattr(checks, "CHECKS", (Check("changing", "", changing),))
    running = checks.run(context(tmp_path, FakeCluster()))
    assert next(running)[1].code == "X"
    with pytest.raises(ClusterError, match="ss-pods stands at 0"):
        running.close()


def test_neighbours_run_at_the_same_time_and_are_told_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet = threading.Barrier(2, timeout=30)

    def one(where: Context) -> Any:
        yield passed("A", "a", "is first")
        meet.wait()  # the other is at it too, or this never ends well
        yield passed("B", "b", "is second")

    def two(where: Context) -> Any:
        meet.wait()
        yield passed("C", "c", "is last, however early it was known")

    def alone(where: Context) -> Any:
        yield passed("Z", "z", f"has {threading.active_count() - before} others beside it")

    before = threading.active_count()
    together = (Check("one", "", one, parallel_safe=True), Check("two", "", two, parallel_safe=True))
    monkeypatch.setattr(checks, "CHECKS", (Check("alone", "", alone), *together, Check("after", "", alone)))
    found = [(check.name, one.code) for check, one in checks.run(context(tmp_path, FakeCluster()))]
    assert found == [("alone", "Z"), ("one", "A"), ("one", "B"), ("two", "C"), ("after", "Z")]


@pytest.mark.parametrize(("scale", "most"), [(1.0, 2), (CROWDED, 2), (8.0, 1)])
def test_a_slow_site_is_not_crowded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float, most: int) -> None:
    inside: list[int] = []
    under_way: set[int] = set()
    meet = threading.Barrier(most, timeout=30)

    def one(where: Context) -> Any:
        me = threading.get_ident()
        under_way.add(me)
        meet.wait()
        inside.append(len(under_way))
        meet.wait()
        under_way.discard(me)
        yield passed("A", "a", "ran")

    pair = (Check("one", "", one, parallel_safe=True), Check("two", "", one, parallel_safe=True))
    monkeypatch.setattr(checks, "CHECKS", pair)
    where = context(tmp_path, FakeCluster())
    settings = where.site.cluster.model_copy(update={"timeout_scale": scale})
    object.__setattr__(where, "site", where.site.model_copy(update={"cluster": settings}))
    assert [check.name for check, _ in checks.run(where)] == ["one", "two"]
    assert inside == [most, most]


@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, GeneratorExit])
def test_who_stops_listening_is_waited_for_until_all_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_by: type[BaseException]
) -> None:
    changed: list[str] = []
    under_way = threading.Event()

    def changing(where: Context) -> Any:
        changed.append("scaled")
        try:
            under_way.set()
            wait_for(where, "what never comes", lambda: 1, lambda seen: False, timeout=3_600_000)
            yield passed("X", "x", "came")
        finally:
            changed.remove("scaled")

    def talking(where: Context) -> Any:
        yield passed("Y", "y", "is here")
        wait_for(where, "what never comes", lambda: 1, lambda seen: False, timeout=3_600_000)

    pair = (Check("talking", "", talking, parallel_safe=True), Check("changing", "", changing, parallel_safe=True))
    monkeypatch.setattr(checks, "CHECKS", pair)
    where = context(tmp_path, FakeCluster())
    found = checks.run(where)
    assert next(found)[1].code == "Y"
    assert under_way.wait(30)
    if ended_by is GeneratorExit:
        found.close()
    else:
        with pytest.raises(ended_by):
            found.throw(ended_by)
    assert changed == []
    assert where.stop.is_set()


def test_a_defect_in_a_neighbour_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(where: Context) -> Any:
        yield passed("X", "x", "is well")
        raise ZeroDivisionError

    monkeypatch.setattr(checks, "CHECKS", (Check("broken", "", broken, parallel_safe=True),))
    with pytest.raises(ZeroDivisionError):
        [*checks.run(context(tmp_path, FakeCluster()))]


def test_settle_looks_until_it_is_so_and_at_least_once(tmp_path: Path) -> None:
    where = context(tmp_path, FakeCluster(), SITE.replace("timeout_scale = 0.001", "timeout_scale = 1.0"))
    looks = iter(range(10))
    said: list[str] = []
    where.cluster.progress = said.append
    assert wait_for(where, "three", lambda: next(looks), lambda seen: seen == 3, timeout=5, pause=0) == 3
    assert len(said) == 3
    assert said[0].startswith("waiting for three (")
    assert wait_for(where, "nothing", lambda: 7, lambda seen: seen == 8, timeout=0) == 7


@pytest.mark.parametrize(
    ("scale", "full", "thorough"), [(1.0, False, True), (CROWDED, False, True), (8.0, False, False), (8.0, True, True)]
)
def test_what_takes_minutes_on_a_slow_site_is_left_to_full(
    tmp_path: Path, scale: float, full: bool, thorough: bool
) -> None:
    where = context(tmp_path, FakeCluster())
    settings = where.site.cluster.model_copy(update={"timeout_scale": scale})
    where = replace(where, full=full, site=where.site.model_copy(update={"cluster": settings}))
    assert where.thorough is thorough
