"""A sweep compared with arp-scan's: the same /24, packets per second and number of passes, alternating in one run.

Times are those of the whole command, including interpreter startup. In the second pass both omit addresses that
answered in the first; a scan asks again only for those of a MAC with several, which may be a proxy.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys

from tests.bench.segment import NETWORK, Segment, segment

PPS = 200
THEIR_PPS = 500  # arp-scan's default: 256 kbit/s of frames of 64 bytes
RUNS = 100
TURNS = 7


def run() -> None:
    """Print the time of a sweep with and without owners, and in how many of RUNS runs it found every owner."""
    if os.geteuid() != 0 or shutil.which("arp-scan") is None:
        print("l2 scan: skipped, requires root (network namespaces) and arp-scan", flush=True)
        return
    with segment() as prober:
        compare(prober, "l2 scan of a /24 with 200 owners and 10 duplicates", PPS)
        compare(prober, "l2 scan of the same at arp-scan's default pace", THEIR_PPS)
        complete = sum(prober.scan("--pps", str(THEIR_PPS)) == prober.owners for _ in range(RUNS))
        print(f"  every owner and every duplicate found in {complete} of {RUNS} runs", flush=True)
    with segment(empty=True) as prober:
        compare(prober, "l2 scan of an empty /24", PPS)


def compare(prober: Segment, name: str, pps: int) -> None:
    """Print the time of a sweep as a multiple of arp-scan's, and how many frames each sent."""
    ours = (sys.executable, "-m", "provisioner", "l2", "scan", NETWORK, "--pps", str(pps))
    theirs = ("arp-scan", "--interface=eth1", f"--interval={1_000_000 // pps}u", "--retry=2", NETWORK)
    times: dict[tuple[str, ...], list[float]] = {ours: [], theirs: []}
    sent = dict.fromkeys(times, 0)
    prober.run(*ours, ok=(0, 1))  # warm caches
    for _ in range(TURNS):
        for words, measured in times.items():
            before = prober.frames()
            measured.append(prober.run(*words, ok=(0, 1))[0])
            sent[words] = prober.frames() - before
    mine, other = (statistics.median(measured) for measured in times.values())
    print(
        f"{name}, {pps} packets/s, 2 passes: {mine / other:.2f} x arp-scan ({mine:.2f} s and {sent[ours]} frames"
        f" against {other:.2f} s and {sent[theirs]} frames)",
        flush=True,
    )
