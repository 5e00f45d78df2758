"""The runner: order, parallelism, plan, convergence, selection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest

from provisioner.engine import Change, Scope, Step, runner
from provisioner.engine.runner import Selection
from provisioner.errors import ApiUnreachable, HostError, Locked, NoCluster, NotConverged, NotYet, ProvisionerError
from provisioner.kube import Cluster
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host
from tests.hosts_toml import site
from tests.unit.engine.world import World, adding_step, failing_step
from tests.unit.fake_cluster import FakeCluster


@pytest.fixture
def world() -> World:
    return World(site())


def test_a_second_apply_changes_nothing(world: World) -> None:
    steps = (adding_step(world, "a"), adding_step(world, "b", scope=Scope.FIRST))
    first = runner.apply(world.run(*steps))
    assert [(step, host) for step, host, _ in first.changes] == [
        ("a", "master"), ("a", "one"), ("a", "two"), ("b", "master")
    ]  # fmt: skip
    assert world.has == {"master": {"a", "b"}, "one": {"a"}, "two": {"a"}}
    assert sorted(world.facts_forgotten) == ["master", "master", "one", "two"]
    second = runner.apply(world.run(*steps))
    assert not second.pending
    assert len(world.facts_forgotten) == 4


def test_a_plan_changes_nothing_and_hides_nothing(world: World) -> None:
    steps = (
        adding_step(world, "a", scope=Scope.FIRST),
        adding_step(world, "b", after=("a",)),
        adding_step(world, "c", after=("b",)),
        adding_step(world, "d"),
    )
    outcome = runner.plan(world.run(*steps))
    assert list(dict.fromkeys(step for step, _, _ in outcome.changes)) == ["a", "b", "c", "d"]
    assert outcome.waiting == {}
    assert not any(world.has.values())


def test_what_a_reset_would_undo_is_not_looked_at(world: World) -> None:
    steps = (
        adding_step(world, "reset", scope=Scope.FIRST),
        adding_step(world, "join", undone_by=("reset",)),
        adding_step(world, "label", undone_by=("join",)),
    )
    outcome = runner.plan(world.run(*steps))
    assert outcome.waiting == {"join": ("reset",), "label": ("join",)}
    assert outcome.pending
    world.has["master"].add("reset")
    assert runner.plan(world.run(*steps)).waiting == {"label": ("join",)}


@pytest.mark.parametrize("error", [NotYet("is not a node"), ApiUnreachable("refused"), NoCluster("none")])
def test_a_step_that_cannot_be_looked_at_waits_for_the_nearest_that_is_not_done(
    world: World, error: ProvisionerError
) -> None:
    steps = (
        adding_step(world, "init", scope=Scope.FIRST),
        failing_step("join", lambda _: error, on="two", after=("init",)),
        failing_step("nodes", lambda _: error, on="one", after=("routes", "join")),
        failing_step("metallb", lambda _: error, on="one", after=("nodes",)),
    )
    outcome = runner.plan(world.run(*steps))
    assert outcome.waiting == {"join": ("init",), "nodes": ("join",), "metallb": ("nodes",)}
    assert not outcome.failures
    assert {host for _, host, _ in world.events_of("unseen")} == {"one", "two"}
    world.has["master"].add("init")
    after = runner.plan(world.run(*steps))
    assert [failure.step for failure in after.failures] == ["join"], "nothing earlier explains it"
    assert after.waiting == {"nodes": ("join",), "metallb": ("nodes",)}


def test_a_step_skips_over_those_that_are_done(world: World) -> None:
    steps = (
        adding_step(world, "init", scope=Scope.FIRST),
        Step("join", "", Scope.ALL, lambda host, cluster, site: iter(()), after=("init",)),
        failing_step("nodes", lambda _: NotYet("no"), on="one", after=("join",)),
    )
    assert runner.plan(world.run(*steps)).waiting == {"nodes": ("init",)}


def test_another_error_is_told_whatever_is_pending_and_stops_no_plan(world: World) -> None:
    steps = (
        adding_step(world, "a"),
        failing_step("b", lambda name: HostError(name, "has a full disk"), on="one", after=("a",)),
        adding_step(world, "c", after=("b",)),
    )
    outcome = runner.plan(world.run(*steps))
    assert [(failure.step, failure.host) for failure in outcome.failures] == [("b", "one")]
    assert {step for step, _, _ in outcome.changes} == {"a", "c"}


def test_a_plan_keeps_what_a_step_yielded_before_it_failed(world: World) -> None:
    def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
        yield Change("paint it", lambda: None)
        raise HostError(host.name, "ran out of paint")

    outcome = runner.plan(world.run(Step("paint", "", Scope.FIRST, changes)))
    assert [change.summary for _, _, change in outcome.changes] == ["paint it"]
    assert [failure.step for failure in outcome.failures] == ["paint"]


def test_a_plan_waits_for_nothing_and_an_apply_does(world: World) -> None:
    patience: list[bool] = []

    def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
        patience.append(cast("FakeCluster", cluster).patient)
        yield from ()

    run = world.run(Step("look", "", Scope.FIRST, changes))
    runner.plan(run)
    runner.apply(run)
    assert patience == [False, True]


def test_an_apply_never_takes_an_error_for_waiting(world: World) -> None:
    steps = (adding_step(world, "a"), failing_step("b", lambda _: NotYet("no"), on="one", after=("a",)))
    outcome = runner.apply(world.run(*steps))
    assert [(failure.step, failure.host) for failure in outcome.failures] == [("b", "one")]
    assert outcome.waiting == {}


def test_what_is_to_be_settled_by_hand_is_told_and_left_alone(world: World) -> None:
    done: list[str] = []

    def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
        yield Change("somebody else's line", lambda: done.append("ours?"), by_hand="ask them")

    step = Step("exports", "", Scope.FIRST, changes)
    planned = runner.plan(world.run(step))
    assert len(planned.changes) == 1
    assert not planned.pending
    assert not runner.apply(world.run(step)).failures
    assert done == []
    assert [text for _, _, text in world.events_of("note")] == [
        "master: somebody else's line, which apply leaves alone: ask them"
    ]


def test_a_change_still_pending_afterwards_is_an_error(world: World) -> None:
    def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
        if host.name == "one":
            yield Change("paint it", lambda: None)

    outcome = runner.apply(world.run(Step("paint", "", Scope.JOINING, changes)))
    assert [failure.host for failure in outcome.failures] == ["one"]
    assert isinstance(outcome.failures[0].error, NotConverged)
    assert "paint it" in str(outcome.failures[0].error)


@pytest.mark.parametrize(("relapses", "converges"), [(0, True), (1, True), (3, True), (4, False)])
def test_a_relapse_is_waited_for_a_limited_number_of_times(world: World, relapses: int, converges: bool) -> None:
    waited: list[str] = []

    def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
        if len(waited) <= relapses:
            yield Change("wait for the pods", lambda: waited.append(host.name), waits=True)

    outcome = runner.apply(world.run(Step("rollout", "", Scope.FIRST, changes)))
    assert bool(outcome.failures) is not converges
    assert len(waited) == min(relapses + 1, 1 + runner.MAX_RELAPSES)


def test_a_read_only_step_must_not_change_anything(world: World) -> None:
    outcome = runner.apply(world.run(adding_step(world, "a", reads_only=True)))
    assert [type(failure.error) for failure in outcome.failures] == [TypeError] * 3
    assert not any(world.has.values())


def test_every_apply_runs_the_proof_and_no_plan_does(world: World) -> None:
    proven: list[str] = []

    def proof(host: Host, cluster: Cluster, site: Site) -> Iterator[str]:
        assert "a" in world.has[host.name], "the proof precedes the changes"
        proven.append(host.name)
        yield f"{host.name} answers"

    step = replace(adding_step(world, "a", scope=Scope.FIRST), proof=proof)
    assert runner.plan(world.run(step)).pending
    assert proven == []
    for _ in range(2):
        assert not runner.apply(world.run(step)).failures
    assert proven == ["master", "master"]


def test_a_proof_that_fails_stops_the_run(world: World) -> None:
    def proof(host: Host, cluster: Cluster, site: Site) -> list[str]:
        raise HostError(host.name, "does not answer on the wire")

    outcome = runner.apply(
        world.run(replace(adding_step(world, "a", scope=Scope.FIRST), proof=proof), adding_step(world, "b"))
    )
    assert [(failure.step, failure.host) for failure in outcome.failures] == [("a", "master")]
    assert world.has == {"master": {"a"}, "one": set(), "two": set()}


def test_all_hosts_are_reported_before_a_failure_stops_the_run(world: World) -> None:
    steps = (
        failing_step("check", lambda name: HostError(name, "has too little memory"), on="one"),
        adding_step(world, "later"),
    )
    outcome = runner.apply(world.run(*steps))
    assert [(failure.step, failure.host) for failure in outcome.failures] == [("check", "one")]
    assert world.events_of("failed") == [("check", "one", "one: has too little memory")]
    assert {host for _, host, _ in world.events_of("done")} == {"master", "two"}
    assert "later" not in {step for step, _, _ in world.events_of("step")}


def test_an_unexpected_exception_on_one_host_does_not_hide_the_others(world: World) -> None:
    outcome = runner.plan(world.run(failing_step("check", KeyError, on="two")))
    assert isinstance(outcome.failures[0].error, KeyError)
    assert len(world.events_of("done")) == 2


def test_hosts_run_a_step_in_parallel_and_meet_before_the_next(world: World) -> None:
    together = threading.Barrier(3, timeout=10)
    order: list[str] = []

    def meet(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
        together.wait()  # fails the step unless all three hosts are here at the same time
        order.append(f"first {host.name}")
        yield from ()

    def then(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
        order.append(f"second {host.name}")
        yield from ()

    outcome = runner.apply(world.run(Step("first", "", Scope.ALL, meet), Step("second", "", Scope.ALL, then)))
    assert not outcome.failures
    assert sorted(order[:3]) == ["first master", "first one", "first two"]
    assert sorted(order[3:]) == ["second master", "second one", "second two"]


def test_parallelism_is_limited(world: World) -> None:
    now: set[str] = set()
    most: list[int] = []
    lock = threading.Lock()

    def count(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
        with lock:
            now.add(host.name)
            most.append(len(now))
        threading.Event().wait(0.02)
        with lock:
            now.discard(host.name)
        yield from ()

    runner.plan(world.run(Step("count", "", Scope.ALL, count), parallel=2))
    assert max(most) == 2


def test_limit_only_and_from(world: World) -> None:
    steps = (adding_step(world, "a"), adding_step(world, "b", scope=Scope.FIRST), adding_step(world, "c"))
    runner.apply(world.run(*steps, selection=Selection(limit=("one",))))
    assert world.has == {"master": set(), "one": {"a", "c"}, "two": set()}
    runner.apply(world.run(*steps, selection=Selection(only=("b",))))
    assert world.has["master"] == {"b"}
    runner.apply(world.run(*steps, selection=Selection(start="c")))
    assert world.has == {"master": {"b", "c"}, "one": {"a", "c"}, "two": {"c"}}


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(only=("z",)), "unknown step 'z'; the steps are a"),
        (Selection(start="z"), "unknown step 'z'; the steps are a"),
        (Selection(limit=("three",)), "no host 'three'"),
    ],
)
def test_an_unknown_name_is_refused(world: World, selection: Selection, message: str) -> None:
    with pytest.raises(ProvisionerError, match=message):
        runner.plan(world.run(adding_step(world, "a"), selection=selection))


def test_disabled_steps_are_neither_run_nor_queried(world: World) -> None:
    off = Step(
        "off", "", Scope.ALL, adding_step(world, "x").changes, lambda site: FactQuery(files=("/x",)), enabled=_never
    )
    on = Step(
        "on", "", Scope.ALL, adding_step(world, "y").changes, lambda site: FactQuery(files=("/y",), units=("y",))
    )
    assert runner.select((off, on), world.site, Selection()) == (on,)
    assert runner.combined_query((off, on, on), world.site) == FactQuery(files=("/y",), units=("y",))


def _never(site: Site) -> bool:
    return False


def test_a_lost_lock_stops_the_run_before_the_next_change(world: World) -> None:
    def lost() -> None:
        raise Locked("the lock was lost")

    outcome = runner.apply(world.run(adding_step(world, "a"), before_change=lost))
    assert {type(failure.error) for failure in outcome.failures} == {Locked}
    assert not any(world.has.values())


def test_connect_reports_every_unreachable_host(world: World) -> None:
    def probe(host: Host) -> None:
        if host.name != "one":
            raise HostError(host.name, "does not answer")

    outcome = runner.connect(world.run(), probe)
    assert [failure.host for failure in outcome.failures] == ["master", "two"]


def test_connect_with_a_limit_includes_the_first_control_plane(world: World) -> None:
    connected: list[str] = []
    runner.connect(world.run(selection=Selection(limit=("two",))), lambda host: connected.append(host.name))
    assert sorted(connected) == ["master", "two"]


def test_an_interrupt_does_not_wait_for_busy_hosts() -> None:
    release = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            raise KeyboardInterrupt
        release.wait(30)
        return item

    with pytest.raises(KeyboardInterrupt):
        runner.parallel([0, 1], work, 2)
    release.set()
