"""Load from outside on a workload, bounded in every way: by threads, by time, by what one request costs.

A request to /dial has the pod that gets it ask itself TRIES times (agnhost's netexec), so that a few requests a second
over the network are enough to keep a CPU busy, and what is under way when this machine dies ends by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from provisioner.checks import http_client

THREADS = 3
TRIES = 200
PATH = f"/dial?host=127.0.0.1&port=8080&request=hostname&protocol=http&tries={TRIES}"


@dataclass
class Load:
    """What was asked for so far: requests that were answered, those that were not, and what went wrong last."""

    address: str
    port: int
    answered: int = 0
    failed: int = 0
    error: str = ""
    stop: threading.Event = field(default_factory=threading.Event)

    def __str__(self) -> str:
        failed = f", {self.failed} without an answer ({self.error})" if self.failed else ""
        return f"{self.answered} requests answered{failed}"


@contextmanager
def running(address: str, port: int, *, limit: float, timeout: float) -> Iterator[Load]:
    """Keep an address busy within the block, for `limit` seconds at most. timeout: seconds, of one request."""
    load = Load(address, port)
    deadline = time.monotonic() + limit
    threads = [threading.Thread(target=_ask, args=(load, deadline, timeout), daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


def _ask(load: Load, deadline: float, timeout: float) -> None:
    while not load.stop.is_set() and time.monotonic() < deadline:
        page = http_client.get(load.address, load.port, PATH, timeout=timeout)
        if page.status == 200:
            load.answered += 1
        else:
            load.failed += 1
            load.error = page.error or f"{page.status}"
            load.stop.wait(1)  # nobody is there: that is no reason to hurry
