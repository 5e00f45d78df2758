"""Where a run is, and what it expects, in the events of real runs over fake hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.engine import Durations, Pace, runner
from provisioner.engine.durations import NOTHING, WHOLE, Sample, Work
from provisioner.engine.pace import planned
from provisioner.errors import HostError
from tests.unit.engine.world import World, adding_step, failing_step
from tests.unit.steps.doubles import HOSTS, site_at


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(site_at(tmp_path, 'kubernetes = "1.20.2"', rest="", hosts=HOSTS))


@pytest.fixture
def known(tmp_path: Path) -> Durations:
    return Durations(tmp_path / "durations.json")


def steps_of(world: World) -> list[dict[str, Any]]:
    return [dict(event.data) for event in world.events if event.kind == "step"]


def test_steps_are_numbered_and_a_second_run_knows_how_long_they_take(world: World, known: Durations) -> None:
    steps = (adding_step(world, "a"), adding_step(world, "b"))
    run = world.run(*steps, pace=Pace(known))
    first = runner.plan(run)
    runner.apply(run, first)
    assert [(data["number"], data["of"]) for data in steps_of(world)] == [(1, 2), (2, 2)] * 2
    assert all("expected" not in data for data in steps_of(world))
    world.events.clear()
    runner.apply(run, runner.plan(run))
    assert all("expected" in data and "left" in data for data in steps_of(world))
    assert steps_of(world)[0]["left"] >= steps_of(world)[1]["left"]


def test_a_step_that_failed_is_no_figure(world: World, known: Durations) -> None:
    step = failing_step("a", lambda host: HostError(host, "no"), on="worker1")
    runner.apply(world.run(step, pace=Pace(known)))
    assert known.expected("apply a", 3) is None


def test_with_a_plan_the_expectation_is_of_what_is_pending(world: World, known: Durations) -> None:
    known.add("apply a", Sample(30.0, 3, 1))
    known.add("apply a", Sample(1.0, 3, 0))
    run = world.run(adding_step(world, "a"), pace=Pace(known))
    plan = runner.plan(run)
    assert runner.forecast(run, plan).seconds == 30.0
    world.events.clear()
    runner.apply(run, plan)
    assert steps_of(world)[0] | {"hosts": []} == {"number": 1, "of": 1, "expected": 30.0, "left": 30.0, "hosts": []}
    assert not world.events_of("expected")


def test_without_a_plan_the_first_change_tells(world: World, known: Durations) -> None:
    known.add("apply a", Sample(30.0, 3, 1))
    known.add("apply a", Sample(1.0, 3, 0))
    runner.apply(world.run(adding_step(world, "a"), pace=Pace(known)))
    assert "left" not in steps_of(world)[0]
    assert steps_of(world)[0]["expected"] == 1.0
    (told,) = [event for event in world.events if event.kind == "expected"]
    assert (told.step, told.data["expected"]) == ("a", 30.0)


def test_a_forecast_names_what_it_does_not_know(known: Durations) -> None:
    known.add("apply a", Sample(30.0, 3, 2))
    known.add("plan b", Sample(0.5, 3, 0))
    work = planned([("a", "one"), ("a", "one"), ("a", "two")], ["c"])
    assert work == {"a": Work.of(2), "c": WHOLE}
    forecast = Pace(known).forecast(work, {"a": 3, "b": 3, "c": 1, "d": 1})
    assert (forecast.seconds, forecast.known, forecast.unknown) == (30.5, 1, ("c", "d"))
    assert work.get("b", NOTHING) == NOTHING


def test_verify_has_figures_of_its_own(known: Durations) -> None:
    known.add("plan nodes", Sample(0.5, 1, 0))
    pace = Pace(known)
    pace.start("verify", {"nodes": 1}, {})
    assert pace.begin("nodes") == {"number": 1, "of": 1}
