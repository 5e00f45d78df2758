"""Run `l2 watch` on the prober while something happens, and hold its report against a capture."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .conftest import ROOT, Segment

ACCURACY = 0.020  # seconds


def wait(condition: Callable[[], bool], limit: float = 30) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


@contextmanager
def watching(segment: Segment, ip: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `l2 watch` on the prober meanwhile."""
    # A suite that a shell runs in the background has Ctrl-C ignored, and its children would inherit that.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "provisioner", "-o", "json", "l2", "watch", ip]
    process = subprocess.Popen(
        ["ip", "netns", "exec", f"{segment.prefix}prober", *command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def ended(process: subprocess.Popen[str], status: int, limit: float = 60) -> dict[str, Any]:
    """Wait for a watch and return its report."""
    output, errors = process.communicate(timeout=limit)
    assert process.returncode == status, errors + output
    told: dict[str, Any] = json.loads(output)
    assert told["schema"] == "l2watch/v1"
    return told


def same(figure: dict[str, Any] | None, truth: float) -> float:
    """Assert that a figure is the capture's, and return by how much they differ."""
    assert figure is not None
    difference = abs(float(figure["unix"]) - truth)
    assert difference < ACCURACY, f"{figure['unix']} instead of {truth}"
    return difference
