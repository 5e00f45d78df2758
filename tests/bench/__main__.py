"""Run every benchmark and print one line each: what, the ratio, and the two times behind it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from provisioner.site import load_site

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 7


def median(work: Callable[[], object]) -> float:
    """Return the median seconds of several runs of `work`, after one that warms caches."""
    work()
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def compare(what: str, ours: Callable[[], object], against: str, other: Callable[[], object]) -> None:
    """Print how many times as long `ours` takes as `other`."""
    mine, theirs = median(ours), median(other)
    print(f"{what}: {mine / theirs:.1f} x {against} ({mine * 1000:.1f} ms against {theirs * 1000:.1f} ms)", flush=True)


def command(*arguments: str) -> Callable[[], object]:
    """Return a run of a Python command line, its output thrown away."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def main() -> None:
    """Compare what a person waits for with the least that it could cost."""
    from provisioner.engine.runner import combined_query
    from provisioner.ssh import facts_parser, facts_script
    from provisioner.steps import STEPS
    from tests.bench import sweep

    bare = command("-c", "pass")
    compare("provisioner --help", command("-m", "provisioner", "--help"), "a bare interpreter", bare)
    compare("provisioner l2 scan --help", command("-m", "provisioner", "l2", "scan", "--help"), "a bare one", bare)

    shipped = ROOT / "hosts.toml"
    text = shipped.read_text()
    compare("reading hosts.toml", lambda: load_site(shipped), "parsing its TOML", lambda: tomllib.loads(text))

    with tempfile.TemporaryDirectory():
        query = combined_query(STEPS, load_site(shipped))
        script = facts_script.script(query, facts_parser.new_token())
        compare(
            "all facts of this machine (one script, one round trip)",
            lambda: subprocess.run(["sh", "-euc", script], check=True, stdout=subprocess.DEVNULL),
            "one dpkg-query",
            lambda: subprocess.run(["dpkg-query", "-W", "dpkg"], check=True, stdout=subprocess.DEVNULL),
        )

    sweep.run()


if __name__ == "__main__":
    main()
