"""Generate HTTP load from outside the cluster, for the hpa check; threads, time and cost per request are bounded.

A request to /dial makes its pod send itself TRIES requests (agnhost's netexec), so a few requests a second over the
network keep a CPU busy, and what is in progress when this machine dies ends by itself.
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
    """The requests sent so far: how many were answered, how many failed, and the last error."""

    address: str
    port: int
    answered: int = 0
    failed: int = 0
    error: str = ""
    stop: threading.Event = field(default_factory=threading.Event)

    def __str__(self) -> str:
        failed = f", {self.failed} failed ({self.error})" if self.failed else ""
        return f"{self.answered} requests answered{failed}"


@contextmanager
def running(address: str, port: int, *, limit: float, timeout: float) -> Iterator[Load]:
    """Put load on an address within the block, for `limit` seconds at most. timeout: seconds, of one request."""
    load = Load(address, port)
    deadline = time.monotonic() + limit
    threads = [threading.Thread(target=_send, args=(load, deadline, timeout), daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


def _send(load: Load, deadline: float, timeout: float) -> None:
    while not load.stop.is_set() and time.monotonic() < deadline:
        response = http_client.get(load.address, load.port, PATH, timeout=timeout)
        if response.status == 200:
            load.answered += 1
        else:
            load.failed += 1
            load.error = response.error or f"{response.status}"
            load.stop.wait(1)  # a server that is away gains nothing from more requests
