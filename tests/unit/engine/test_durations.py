"""What steps took before: alike runs only, bounded, and robust against a damaged file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.engine.durations import KEPT, MAX_STEPS, NOTHING, WHOLE, Durations, Sample, Work


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".provisioner" / "durations.json"


def test_runs_without_changes_say_nothing_about_one_with_changes(path: Path) -> None:
    known = Durations(path)
    known.add("apply kubernetes", Sample(21.0, 3, 3))
    for _ in range(50):
        known.add("apply kubernetes", Sample(0.5, 3, 0))
    again = Durations(path)
    assert again.expected("apply kubernetes", 3, NOTHING) == 0.5
    assert again.expected("apply kubernetes", 3, Work.of(3)) == 21.0
    assert again.expected("apply kubernetes", 3, WHOLE) == 21.0
    assert again.expected("apply kubernetes", 3, Work.of(1)) is None
    assert again.expected("plan kubernetes", 3) is None


def test_only_runs_over_as_many_hosts_are_alike(path: Path) -> None:
    known = Durations(path)
    known.add("apply prepare", Sample(5.0, 3, 1))
    assert known.expected("apply prepare", 6, Work.of(1)) == 5.0
    assert known.expected("apply prepare", 60, Work.of(1)) is None
    assert known.expected("apply prepare", 1, Work.of(1)) is None


def test_the_whole_is_what_blank_machines_took(path: Path) -> None:
    known = Durations(path)
    for seconds, changes in ((60.0, 12), (64.0, 11), (2.0, 1), (3.0, 2)):
        known.add("apply workloads", Sample(seconds, 1, changes))
    assert known.expected("apply workloads", 1, WHOLE) == 62.0
    assert known.expected("apply workloads", 1, Work.of(1)) == 2.5


def test_the_file_stays_small(path: Path) -> None:
    known = Durations(path)
    for number in range(MAX_STEPS + 20):
        for _ in range(KEPT + 3):
            known.add(f"apply step{number}", Sample(1.0, 1, number % 2))
    steps = json.loads(path.read_text())["steps"]
    assert len(steps) == MAX_STEPS
    assert {len(samples) for samples in steps.values()} == {KEPT}
    assert "apply step0" not in steps


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\xfe",
        b"[1, 2",
        b"[]",
        b'{"steps": []}',
        b'{"steps": {"apply a": 3, "apply b": [[1]], "apply c": [["x", 1, 1]], "apply d": [[NaN, 1, 1]]}}',
        b'{"steps": {"apply a": [[-1, 1, 0], [1e99, 1, 0], [1, 0, 0], [1, 1, -1], [true, 1, 0], [1, 1.5, 0]]}}',
        b'{"steps": {"apply a": [' + b"[" * 100_000,
        b"9" * 10_000,
    ],
)
def test_a_damaged_file_counts_as_none_and_is_replaced(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    known = Durations(path)
    assert known.expected("apply a", 1) is None
    known.add("apply a", Sample(2.0, 1, 0))
    assert known.problem == ""
    assert Durations(path).expected("apply a", 1) == 2.0


def test_what_is_valid_of_a_damaged_file_is_kept(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"steps": {"apply a": [[3.0, 1, 0], ["x"], [5.0, 1, 0]], "b": null}}')
    assert Durations(path).expected("apply a", 1) == 4.0


def test_a_folder_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    known = Durations(tmp_path / "file" / "durations.json")
    known.add("apply a", Sample(2.0, 1, 0))
    known.add("apply a", Sample(4.0, 1, 0))
    assert known.expected("apply a", 1) == 3.0
    assert known.problem.startswith("cannot keep how long steps take in ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["steps", "apply a"]), inner),
        max_leaves=12,
    )
)
def test_any_json_can_be_read(tmp_path: Path, document: object) -> None:
    path = tmp_path / "durations.json"
    path.write_text(json.dumps(document))
    Durations(path).expected("apply a", 1)
