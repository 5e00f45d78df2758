"""A probe's timestamps and rate agree with tcpdump's."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from provisioner.l2.probe.rate_limit import CLOSEST
from tests.integration.l2.conftest import Segment
from tests.integration.l2.probing import background, probe

pytestmark = pytest.mark.integration


def test_timestamps_agree_with_a_capture(segment: Segment, tmp_path: Path) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    words = ["tcpdump", "--immediate-mode", "-nnltt", "-i", "eth1", "arp"]
    with background(segment, "prober", *words, ready="listening on") as capture:
        found = probe(
            segment, {"ip": "192.0.2.50", "echo": False}, others=[f"192.0.2.{last}" for last in range(60, 90)]
        )
        capture.terminate()
        output, _ = capture.communicate(timeout=10)
    seen = [float(line.split()[0]) for line in output.splitlines() if "Reply 192.0.2.50 is-at" in line]
    heard = [one["timestamp"] for one in found["answers"]]
    assert len(heard) == len(seen) == 2
    assert max(abs(one - other) for one, other in zip(heard, seen, strict=True)) < 0.001
    asked = [float(line.split()[0]) for line in output.splitlines() if "Request who-has 192.0.2.50 " in line]
    rtts = [one["rtt"] for one in found["answers"]]
    assert max(abs(reply - rtt - sent) for reply, rtt, sent in zip(heard, rtts, asked, strict=True)) < 0.02


@pytest.mark.parametrize("pps", [100, 200, 500])
def test_the_rate_of_frames_is_the_requested_one(segment: Segment, pps: int) -> None:
    segment.host("a", 11, "192.0.2.50/24")
    words = ["tcpdump", "-nntt", "-c", "399", "-i", "eth1", "arp and src host 192.0.2.1"]
    with background(segment, "prober", *words, ready="listening on") as capture:
        probe(segment, others=[f"192.0.2.{last}" for last in range(50, 250)], pps=pps, arp_probe=False)
        output, _ = capture.communicate(timeout=10)
    times = [float(line.split()[0]) for line in output.splitlines() if re.search(r"Request who-has \S+ tell", line)]
    assert len(times) == 399  # 200 requests, repeated for the 199 silent; tcpdump exits by itself
    rate = (len(times) - 1) / (times[-1] - times[0])
    # At the highest rate, delays of a busy machine of more than some milliseconds are not made up for.
    assert pps * (0.9 if pps < 500 else 0.5) < rate < pps * 1.01
    assert all(later - earlier > 0.8 * CLOSEST for earlier, later in pairwise(times))
