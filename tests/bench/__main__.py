"""Run every benchmark and print one line for each: its name, the ratio and both times."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from provisioner.engine.runner import combined_query
from provisioner.site import load_site
from provisioner.ssh import facts_parser, facts_script
from provisioner.steps import STEPS
from tests.bench import services, sweep

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 7


def median(call: Callable[[], object]) -> float:
    """Return the median seconds of ROUNDS calls, after one to warm caches."""
    call()
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def compare(name: str, call: Callable[[], object], reference_name: str, reference: Callable[[], object]) -> None:
    """Print the time of `call` as a multiple of that of `reference`."""
    ours, theirs = median(call), median(reference)
    times = f"{ours * 1000:.1f} ms against {theirs * 1000:.1f} ms"
    print(f"{name}: {ours / theirs:.1f} x {reference_name} ({times})", flush=True)


def command(*arguments: str) -> Callable[[], object]:
    """Return a function that runs Python with these arguments and discards the output."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def main() -> None:
    """Compare what users wait for with the least it could cost."""
    bare = command("-c", "pass")
    compare("provisioner --help", command("-m", "provisioner", "--help"), "a bare interpreter", bare)
    scan_help = command("-m", "provisioner", "l2", "scan", "--help")
    compare("provisioner l2 scan --help", scan_help, "a bare interpreter", bare)

    shipped = ROOT / "hosts.toml"
    text = shipped.read_text()
    compare("reading hosts.toml", lambda: load_site(shipped), "parsing its TOML", lambda: tomllib.loads(text))

    query = combined_query(STEPS, load_site(shipped))
    script = facts_script.script(query, facts_parser.new_token())
    compare(
        "all facts of this machine (one script, one round trip)",
        lambda: subprocess.run(["sh", "-euc", script], check=True, stdout=subprocess.DEVNULL),
        "one dpkg-query",
        lambda: subprocess.run(["dpkg-query", "-W", "dpkg"], check=True, stdout=subprocess.DEVNULL),
    )

    sweep.run()
    services.run()


if __name__ == "__main__":
    main()
