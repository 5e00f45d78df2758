"""Run `l2 check` with a cluster whose API is lost at a given call. Arguments: facts file, call, CLI arguments.

Everything is real, frames included, except the two functions that talk to the API.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from provisioner.cli import main as cli
from provisioner.cli import session
from provisioner.errors import ApiUnreachable
from provisioner.kube import ApiState
from provisioner.l2 import facts_file
from provisioner.l2.collect import collector
from provisioner.l2.facts import Facts, Metrics


@contextmanager
def open_session(*_: Any) -> Iterator[Any]:
    """Yield a session with a cluster that answers, for now."""
    cluster = SimpleNamespace(state=lambda: ApiState.READY, why="")
    yield SimpleNamespace(cluster=cluster, hosts={}, site=None, report=SimpleNamespace(emit=lambda *_: None))


def main(path: str, at: int, words: list[str]) -> None:
    """Run the check, losing the API at call number `at` (1: reading the facts)."""
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise ApiUnreachable("the API at https://192.0.2.10:6443 does not answer: connection refused")

    def from_cluster(*_: Any, **__: Any) -> Facts:
        call()
        return facts_file.load(Path(path))

    def metrics(*_: Any, **__: Any) -> Metrics:
        call()
        return {}

    session.open_session = open_session  # type: ignore[assignment]
    collector.from_cluster = from_cluster
    collector.metrics = metrics
    cli.main(["-f", path, *words])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
