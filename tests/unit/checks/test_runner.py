"""Choosing and running checks: order, parallel checks, errors, and an aborted run."""

import importlib
import pkgutil
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner import checks
from provisioner.checks import runner
from provisioner.checks.check import Check, Context, Finding, passed, wait_for
from provisioner.errors import ClusterError, ProvisionerError
from provisioner.kube import ApiState
from provisioner.site.model import SLOW_ABOVE
from tests.unit.checks.contexts import SITE, context
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node

NODES = [node("master", "192.0.2.10"), node("w1", "192.0.2.11"), node("w2", "192.0.2.12")]


def test_checks_have_distinct_names_and_can_be_chosen_by_them() -> None:
    names = [check.name for check in checks.CHECKS]
    assert len(set(names)) == len(names)
    assert {check.name for check in checks.CHECKS if check.parallel_safe} == set(names[-5:]), "they are adjacent"
    assert [check.name for check in runner.choose(checks.CHECKS, ["hpa", "nodes"])] == ["nodes", "hpa"]
    assert runner.choose(checks.CHECKS, []) == checks.CHECKS
    with pytest.raises(ProvisionerError, match="unknown check 'node'; did you mean nodes\\?"):
        runner.choose(checks.CHECKS, ["hpa", "node"])


def test_without_the_api_only_checks_that_need_none_run(tmp_path: Path) -> None:
    def ready(where: Context) -> Any:
        yield passed("Y", "y", f"passes in {where.site.cluster.name}")

    pair = (Check("with", "", ready), Check("without", "", ready, without_api=True))
    cluster = FakeCluster(api=ApiState.UNREACHABLE)
    found = list(runner.run(context(tmp_path, cluster), pair))
    assert [(check.name, one.code) for check, one in found] == [("with", "API_UNREACHABLE"), ("without", "Y")]
    assert "connection refused" in found[0][1].detail


def test_what_may_be_the_cause_is_checked_without_the_api() -> None:
    """Ports that do not get through, expired certificates and a missing vip may be why it does not answer."""
    assert [check.name for check in checks.CHECKS if check.without_api] == ["reachability", "certificates", "vip"]


@pytest.mark.parametrize("named", [False, True])
def test_a_check_that_the_site_disables_is_skipped_and_fails_when_named(tmp_path: Path, named: bool) -> None:
    text = SITE + "[metrics]\nenabled = false\n"
    chosen = runner.choose(checks.CHECKS, ["hpa"])
    ((_, found),) = runner.run(context(tmp_path, FakeCluster(*NODES), text), chosen, named=named)
    assert (found.ok, found.code) == (not named, "NOT_ENABLED")
    assert "[metrics] is not enabled" in found.detail


def test_an_error_ends_one_check_only(tmp_path: Path) -> None:
    def broken(where: Context) -> Any:
        yield passed("X", "x", "passes")
        raise ClusterError("the API went away", "look at it", tail=f"line of {where.site.cluster.name}")

    def working(where: Context) -> Any:
        yield passed("Y", "y", f"passes in {where.site.cluster.name}")

    pair = (Check("broken", "", broken), Check("working", "", working))
    found: list[Finding] = [one for _, one in runner.run(context(tmp_path, FakeCluster()), pair)]
    assert [one.code for one in found] == ["X", "API_ERROR", "Y"]
    assert found[1].evidence == ("line of lab",)
    assert found[1].remedy == "look at it"


def test_a_failed_restore_is_raised_when_the_run_is_closed(tmp_path: Path) -> None:
    def changing(where: Context) -> Any:
        try:
            yield passed("X", "x", f"passes in {where.site.cluster.name}")
        finally:
            raise ClusterError("ss-pods stands at 0")

    running = runner.run(context(tmp_path, FakeCluster()), (Check("changing", "", changing),))
    assert next(running)[1].code == "X"
    with pytest.raises(ClusterError, match="ss-pods stands at 0"):
        running.close()


def test_parallel_checks_run_at_the_same_time_and_report_in_order(tmp_path: Path) -> None:
    meet = threading.Barrier(2, timeout=30)

    def one(where: Context) -> Any:
        yield passed("A", "a", "is first")
        meet.wait()  # breaks unless the other check runs at the same time
        yield passed("B", "b", "is second")

    def two(where: Context) -> Any:
        meet.wait()
        yield passed("C", "c", "is last, however early it was known")

    def alone(where: Context) -> Any:
        yield passed("Z", "z", f"runs with {threading.active_count() - before} other threads")

    before = threading.active_count()
    pair = (Check("one", "", one, parallel_safe=True), Check("two", "", two, parallel_safe=True))
    every = (Check("alone", "", alone), *pair, Check("after", "", alone))
    begun: list[str] = []
    running = runner.run(
        context(tmp_path, FakeCluster()), every, begin=lambda check: begun.append(check.name if check else "end")
    )
    found = [(check.name, one.code) for check, one in running]
    assert found == [("alone", "Z"), ("one", "A"), ("one", "B"), ("two", "C"), ("after", "Z")]
    assert begun == ["alone", "one", "two", "after", "end"]


@pytest.mark.parametrize(("scale", "most"), [(1.0, 2), (SLOW_ABOVE, 2), (8.0, 1)])
def test_parallel_checks_run_one_by_one_on_a_slow_site(tmp_path: Path, scale: float, most: int) -> None:
    inside: list[int] = []
    running: set[int] = set()
    meet = threading.Barrier(most, timeout=30)

    def one(where: Context) -> Any:
        me = threading.get_ident()
        running.add(me)
        meet.wait()
        inside.append(len(running))
        meet.wait()
        running.discard(me)
        yield passed("A", "a", "ran")

    pair = (Check("one", "", one, parallel_safe=True), Check("two", "", one, parallel_safe=True))
    where = scaled(context(tmp_path, FakeCluster()), scale)
    assert [check.name for check, _ in runner.run(where, pair)] == ["one", "two"]
    assert inside == [most, most]


@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, GeneratorExit])
def test_an_aborted_run_waits_until_everything_is_restored(tmp_path: Path, ended_by: type[BaseException]) -> None:
    changed: list[str] = []
    started = threading.Event()

    def changing(where: Context) -> Any:
        changed.append("scaled")
        try:
            started.set()
            wait_for(where, "what never comes", lambda: 1, lambda state: False, timeout=3_600_000)
            yield passed("X", "x", "came")
        finally:
            changed.remove("scaled")

    def talking(where: Context) -> Any:
        yield passed("Y", "y", "is here")
        wait_for(where, "what never comes", lambda: 1, lambda state: False, timeout=3_600_000)

    pair = (Check("talking", "", talking, parallel_safe=True), Check("changing", "", changing, parallel_safe=True))
    where = context(tmp_path, FakeCluster())
    running = runner.run(where, pair)
    assert next(running)[1].code == "Y"
    assert started.wait(30)
    if ended_by is GeneratorExit:
        running.close()
    else:
        with pytest.raises(ended_by):
            running.throw(ended_by)
    assert changed == []
    assert where.stop.is_set()


def test_a_defect_in_a_parallel_check_propagates(tmp_path: Path) -> None:
    def broken(where: Context) -> Any:
        yield passed("X", "x", "passes")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        [*runner.run(context(tmp_path, FakeCluster()), (Check("broken", "", broken, parallel_safe=True),))]


def test_wait_for_reads_until_done_and_at_least_once(tmp_path: Path) -> None:
    where = context(tmp_path, FakeCluster(), SITE.replace("timeout_scale = 0.001", "timeout_scale = 1.0"))
    states = iter(range(10))
    progress: list[str] = []
    where.cluster.progress = progress.append
    assert wait_for(where, "three", lambda: next(states), lambda state: state == 3, timeout=5, pause=0) == 3
    assert len(progress) == 3
    assert progress[0].startswith("waiting for three (")
    assert wait_for(where, "nothing", lambda: 7, lambda state: state == 8, timeout=0) == 7


@pytest.mark.parametrize(
    ("scale", "full", "thorough"),
    [(1.0, False, True), (SLOW_ABOVE, False, True), (8.0, False, False), (8.0, True, True)],
)
def test_only_full_is_thorough_on_a_slow_site(tmp_path: Path, scale: float, full: bool, thorough: bool) -> None:
    where = scaled(context(tmp_path, FakeCluster()), scale)
    assert replace(where, full=full).thorough is thorough


def scaled(where: Context, scale: float) -> Context:
    """Return the context with another timeout scale."""
    settings = where.site.cluster.model_copy(update={"timeout_scale": scale})
    return replace(where, site=where.site.model_copy(update={"cluster": settings}))


def test_every_module_is_a_check_or_says_which_checks_it_serves() -> None:
    ours = {check.run.__module__ for check in checks.CHECKS}
    for found in pkgutil.iter_modules(checks.__path__, f"{checks.__name__}."):
        sentence = (importlib.import_module(found.name).__doc__ or "").partition("\n")[0]
        assert found.name in ours or re.search(r"\b(every check|checks?)\b", sentence), f"{found.name}: {sentence}"
