"""A sweep against arp-scan's: the same /24, the same packets a second, the same number of passes, by turns in one run.

The time is that of the whole command, interpreter start included. arp-scan leaves out of its second pass whoever has
answered the first; a scan asks most of them again, which is what tells a proxy from an owner.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys

from tests.bench.segment import NETWORK, Segment, segment

PPS = 200
RUNS = 100
TURNS = 7


def run() -> None:
    """Print the time of a sweep with owners and without, and in how many of 100 runs everybody was found."""
    if os.geteuid() != 0 or shutil.which("arp-scan") is None:
        print("l2 scan: left out, needs root (network namespaces) and arp-scan", flush=True)
        return
    with segment() as street:
        against(street, "l2 scan of a /24 with 200 owners and 10 duplicates")
        whole = sum(street.scan("--pps", str(PPS)) == street.owners for _ in range(RUNS))
        print(f"  every owner and every duplicate found in {whole} of {RUNS} runs", flush=True)
    with segment(empty=True) as street:
        against(street, "l2 scan of an empty /24")


def against(street: Segment, what: str) -> None:
    """Print how many times as long a sweep takes as arp-scan's, and how many frames each of them sent."""
    ours = (sys.executable, "-m", "provisioner", "l2", "scan", NETWORK, "--pps", str(PPS))
    theirs = ("arp-scan", "--interface=eth1", f"--interval={1_000_000 // PPS}u", "--retry=2", NETWORK)
    times: dict[tuple[str, ...], list[float]] = {ours: [], theirs: []}
    sent = dict.fromkeys(times, 0)
    street.run(*ours, ok=(0, 1))  # warms caches
    for _ in range(TURNS):
        for words, measured in times.items():
            before = street.frames()
            measured.append(street.run(*words, ok=(0, 1))[0])
            sent[words] = street.frames() - before
    mine, other = (statistics.median(measured) for measured in times.values())
    print(
        f"{what}, {PPS} packets/s, 2 passes: {mine / other:.2f} x arp-scan ({mine:.2f} s and {sent[ours]} frames"
        f" against {other:.2f} s and {sent[theirs]} frames)",
        flush=True,
    )
