"""Plain lines and JSON events."""

from __future__ import annotations

import io
import json

from provisioner.cli.screen import HEARTBEAT, JsonLines, Plain, plain_lines
from provisioner.report import Event, Report


def test_json_output_is_one_event_per_line() -> None:
    out = io.StringIO()
    report = Report(JsonLines(out))
    report.emit("step", "two\nlines", step="join", hosts=["a", "b"])
    report.emit("done", host="a", step="join", changes=0, seconds=1.5)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["kind"], first["text"], first["hosts"]) == ("step", "two\nlines", ["a", "b"])
    assert (second["changes"], second["seconds"]) == (0, 1.5)
    assert "text" not in second


def test_plain_output_shows_a_line_per_heartbeat_and_all_with_v() -> None:
    out = io.StringIO()
    view = Plain(out)
    view(Event("host", host="one", time=0))
    for second in range(0, 100, 10):
        view(Event("output", f"line {second}", host="one", time=second))
    assert out.getvalue().splitlines() == [
        f"   one: | line {second}" for second in range(0, 100, 10) if second and second % HEARTBEAT == 0
    ]
    loud = io.StringIO()
    Plain(loud, verbose=1)(Event("output", "line", host="one", time=0))
    assert "line" in loud.getvalue()


def test_plain_lines_have_the_number_of_a_step_and_what_is_expected() -> None:
    step = Event("step", "the node's packages", step="kubernetes", data={"number": 5, "of": 18, "expected": 21.4})
    assert [*plain_lines(step)] == ["== 5/18 kubernetes: the node's packages (about 20 s)"]
    assert [*plain_lines(Event("step", "log in", step="connect"))] == ["== connect: log in"]
    expected = Event("expected", step="kubernetes", data={"expected": 21.4})
    assert [*plain_lines(expected)] == ["   kubernetes: (about 20 s)"]
    made = Event("made", data={"title": "cluster lab is up", "parts": {"API": "https://x:6443", "IPs": ["a", "b"]}})
    assert [*plain_lines(made)] == ["cluster lab is up:", "  API  https://x:6443", "  IPs  a", "       b"]
    assert not [*plain_lines(Event("host", host="one"))]
