"""Run a probe on a segment while something happens there, and read its capture."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.l2.conftest import Segment


def probe(segment: Segment, *asks: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Run a probe from the prober's namespace and return its capture."""
    words = [sys.executable, "-m", "tests.integration.l2.probe_here", json.dumps({"asks": asks, **options})]
    ended = segment.run("prober", *words, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def kinds(found: dict[str, Any], ip: str) -> set[tuple[str, str]]:
    """Return MAC and kind of the answers for an address."""
    return {(one["mac"], one["kind"]) for one in found["answers"] if one["ip"] == ip}


def outcomes(found: dict[str, Any]) -> dict[tuple[str, int], tuple[str, str]]:
    """Return the outcome and the Ethernet source of each SYN's answer, by MAC and port."""
    return {(one["mac"], one["port"]): (one["outcome"], one["answered_from"]) for one in found["handshakes"]}


@contextmanager
def background(segment: Segment, name: str, *command: str, ready: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a host's namespace for the length of a block, which starts once it prints `ready`."""
    words = ["ip", "netns", "exec", f"{segment.prefix}{name}", *command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if ready in line:
                break
        else:
            pytest.fail(f"{' '.join(command)} ended with {process.wait()}")
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


def wait_for_dad(segment: Segment, *names: str) -> None:
    """Wait until no address is tentative (IPv6 duplicate address detection)."""
    deadline = time.monotonic() + 20
    for name in names:
        while segment.run(name, "ip", "-6", "address", "show", "dev", "eth1", "tentative").stdout:
            assert time.monotonic() < deadline
            time.sleep(0.1)
