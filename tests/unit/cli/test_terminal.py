"""Live lines on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from provisioner.cli.terminal import Terminal
from provisioner.report import Report


def test_live_lines_end_in_one_line_per_step() -> None:
    out = io.StringIO()
    view = Terminal(Console(file=out, force_terminal=True, width=80, color_system=None))
    report = Report(view)
    report.emit("step", "join the workers", step="join", hosts=["one", "two"])
    for host in ("one", "two"):
        report.emit("host", host=host, step="join")
    report.emit("change", "kubeadm join [as worker]", host="one", step="join")
    report.emit("output", "[preflight] Running pre-flight checks", host="one", step="join")
    view._live.refresh()  # type: ignore[union-attr]
    report.emit("done", host="one", step="join", changes=1, seconds=75.0)
    report.emit("failed", "two: did not", host="two", step="join", seconds=2.0)
    report.emit("step-done", step="join", seconds=75.1)
    text = out.getvalue()
    assert "one: kubeadm join [as worker]" in text
    assert "[preflight] Running pre-flight checks" in text
    assert "✘ join" in text
    assert "failed on two" in text
    assert "1 min 15 s" in text
    assert view._live is None
