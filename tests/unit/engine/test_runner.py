"""Order, parallelism, plan, convergence: the runner over steps that change a small world."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from provisioner.engine import Change, Scope, Step, runner
from provisioner.engine.runner import Selection
from provisioner.errors import HostError, Locked, NotConverged, ProvisionerError
from provisioner.kube import Cluster
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host
from tests.unit.sites import World, makes, raising, site


@pytest.fixture
def world() -> World:
    return World(site())


def test_apply_changes_then_second_apply_does_not(world: World) -> None:
    steps = (makes(world, "a"), makes(world, "b", scope=Scope.FIRST))
    first = runner.apply(world.run(*steps))
    assert [(step, host) for step, host, _ in first.changes] == [
        ("a", "master"), ("a", "one"), ("a", "two"), ("b", "master")
    ]  # fmt: skip
    assert world.has == {"master": {"a", "b"}, "one": {"a"}, "two": {"a"}}
    assert sorted(world.forgotten) == ["master", "master", "one", "two"]
    second = runner.apply(world.run(*steps))
    assert not second.pending
    assert len(world.forgotten) == 4


def test_plan_changes_nothing_and_does_not_guess(world: World) -> None:
    steps = (
        makes(world, "a", scope=Scope.FIRST),
        makes(world, "b", after=("a",)),
        makes(world, "c", after=("b",)),
        makes(world, "d"),
    )
    outcome = runner.plan(world.run(*steps))
    assert {step for step, _, _ in outcome.changes} == {"a", "d"}
    assert outcome.waiting == {"b": ("a",), "c": ("b",)}
    assert not any(world.has.values())
    world.has["master"].add("a")
    again = runner.plan(world.run(*steps))
    assert {step for step, _, _ in again.changes} == {"b", "d"}
    assert again.waiting == {"c": ("b",)}


def test_a_change_still_pending_afterwards_is_not_converged(world: World) -> None:
    def changes(host: Host, cluster: Cluster, own: Site) -> Iterator[Change]:
        del cluster, own
        if host.name == "one":
            yield Change("paint it", lambda: None)

    outcome = runner.apply(world.run(Step("paint", "", Scope.JOINING, changes)))
    assert [failure.host for failure in outcome.failures] == ["one"]
    assert isinstance(outcome.failures[0].error, NotConverged)
    assert "paint it" in str(outcome.failures[0].error)


@pytest.mark.parametrize(("relapses", "converges"), [(0, True), (1, True), (3, True), (4, False)])
def test_what_runs_and_falls_back_is_waited_for_again_and_not_for_ever(
    world: World, relapses: int, converges: bool
) -> None:
    waited: list[str] = []

    def changes(host: Host, cluster: Cluster, own: Site) -> Iterator[Change]:
        del cluster, own
        if len(waited) <= relapses:
            yield Change("wait for the pods", lambda: waited.append(host.name), waits=True)

    outcome = runner.apply(world.run(Step("rollout", "", Scope.FIRST, changes)))
    assert bool(outcome.failures) is not converges
    assert len(waited) == min(relapses + 1, 1 + runner.WAITS_AGAIN)


def test_a_step_that_only_reads_may_not_change(world: World) -> None:
    outcome = runner.apply(world.run(makes(world, "a", reads_only=True)))
    assert [type(failure.error) for failure in outcome.failures] == [TypeError] * 3
    assert not any(world.has.values())


def test_a_proof_is_looked_at_by_every_apply_and_by_no_plan(world: World) -> None:
    looked: list[str] = []

    def proof(host: Host, cluster: Cluster, own: Site) -> Iterator[str]:
        del cluster, own
        assert "a" in world.has[host.name], "the changes come first"
        looked.append(host.name)
        yield f"{host.name} answers"

    step = replace(makes(world, "a", scope=Scope.FIRST), proof=proof)
    assert runner.plan(world.run(step)).pending
    assert looked == []
    for _ in range(2):
        assert not runner.apply(world.run(step)).failures
    assert looked == ["master", "master"]


def test_a_proof_that_fails_stops_the_run(world: World) -> None:
    def proof(host: Host, cluster: Cluster, own: Site) -> list[str]:
        raise HostError(host.name, "does not answer on the wire")

    outcome = runner.apply(world.run(replace(makes(world, "a", scope=Scope.FIRST), proof=proof), makes(world, "b")))
    assert [(failure.step, failure.host) for failure in outcome.failures] == [("a", "master")]
    assert world.has == {"master": {"a"}, "one": set(), "two": set()}


def test_every_hosts_error_is_told_and_the_step_is_the_last(world: World) -> None:
    steps = (
        raising("check", lambda name: HostError(name, "is too small"), on="one"),
        makes(world, "later"),
    )
    outcome = runner.apply(world.run(*steps))
    assert [(failure.step, failure.host) for failure in outcome.failures] == [("check", "one")]
    assert world.told("failed") == [("check", "one", "one: is too small")]
    assert {host for _, host, _ in world.told("done")} == {"master", "two"}
    assert "later" not in {step for step, _, _ in world.told("step")}


def test_a_defect_on_one_host_does_not_hide_the_others(world: World) -> None:
    outcome = runner.plan(world.run(raising("check", KeyError, on="two")))
    assert isinstance(outcome.failures[0].error, KeyError)
    assert len(world.told("done")) == 2


def test_hosts_of_a_step_run_at_once_and_meet_before_the_next(world: World) -> None:
    together = threading.Barrier(3, timeout=10)
    order: list[str] = []

    def meet(host: Host, cluster: Cluster, own: Site) -> Iterator[Change]:
        del cluster, own
        together.wait()  # breaks, and fails the step, unless all three hosts are here at once
        order.append(f"first {host.name}")
        yield from ()

    def then(host: Host, cluster: Cluster, own: Site) -> Iterator[Change]:
        del cluster, own
        order.append(f"second {host.name}")
        yield from ()

    outcome = runner.apply(world.run(Step("first", "", Scope.ALL, meet), Step("second", "", Scope.ALL, then)))
    assert not outcome.failures
    assert sorted(order[:3]) == ["first master", "first one", "first two"]
    assert sorted(order[3:]) == ["second master", "second one", "second two"]


def test_parallel_limits_how_many_run_at_once(world: World) -> None:
    now: set[str] = set()
    most: list[int] = []
    lock = threading.Lock()

    def count(host: Host, cluster: Cluster, own: Site) -> Iterator[Change]:
        del cluster, own
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
    steps = (makes(world, "a"), makes(world, "b", scope=Scope.FIRST), makes(world, "c"))
    runner.apply(world.run(*steps, selection=Selection(limit=("one",))))
    assert world.has == {"master": set(), "one": {"a", "c"}, "two": set()}
    runner.apply(world.run(*steps, selection=Selection(only=("b",))))
    assert world.has["master"] == {"b"}
    runner.apply(world.run(*steps, selection=Selection(start="c")))
    assert world.has == {"master": {"b", "c"}, "one": {"a", "c"}, "two": {"c"}}


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(only=("z",)), "there is no step z; the steps are: a"),
        (Selection(start="z"), "there is no step z; the steps are: a"),
        (Selection(limit=("three",)), "no host three"),
    ],
)
def test_a_wrong_name_is_refused(world: World, selection: Selection, message: str) -> None:
    with pytest.raises(ProvisionerError, match=message):
        runner.plan(world.run(makes(world, "a"), selection=selection))


def test_disabled_steps_are_left_out_of_steps_and_facts(world: World) -> None:
    off = Step("off", "", Scope.ALL, makes(world, "x").changes, lambda own: FactQuery(files=("/x",)), enabled=_never)
    on = Step("on", "", Scope.ALL, makes(world, "y").changes, lambda own: FactQuery(files=("/y",), units=("y",)))
    assert runner.select((off, on), world.site, Selection()) == (on,)
    assert runner.combined_query((off, on, on), world.site) == FactQuery(files=("/y",), units=("y",))


def _never(own: Site) -> bool:
    del own
    return False


def test_the_guard_stops_before_the_change(world: World) -> None:
    def lost() -> None:
        raise Locked("the lock was lost")

    outcome = runner.apply(world.run(makes(world, "a"), guard=lost))
    assert {type(failure.error) for failure in outcome.failures} == {Locked}
    assert not any(world.has.values())


def test_connect_names_every_host_out_of_reach(world: World) -> None:
    def look(host: Host) -> None:
        if host.name != "one":
            raise HostError(host.name, "does not answer")

    outcome = runner.connect(world.run(), look)
    assert [failure.host for failure in outcome.failures] == ["master", "two"]


def test_connect_under_a_limit_needs_the_first_control_plane_too(world: World) -> None:
    seen: list[str] = []
    runner.connect(world.run(selection=Selection(limit=("two",))), lambda host: seen.append(host.name))
    assert sorted(seen) == ["master", "two"]


def test_an_interrupt_does_not_wait_for_hosts_at_work() -> None:
    release = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            raise KeyboardInterrupt
        release.wait(30)
        return item

    with pytest.raises(KeyboardInterrupt):
        runner.parallel([0, 1], work, 2)
    release.set()
