"""Reads from the API that tolerate failure: what cannot be read stays unknown, with a note, and nothing else is lost.

One source may be forbidden or time out while the others answer; and an API lost midway must not be waited for a dozen
times.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pydantic import ValidationError

from provisioner.errors import ApiUnreachable, ClusterError, HostError
from provisioner.kube import ClusterView
from provisioner.redact import redact

T = TypeVar("T")
CONCURRENT = 6  # requests; the connection pool of api.py holds eight


class ApiReader:
    """Reads from a cluster, passes failures to `note`, and stops reading once the API is gone."""

    def __init__(self, cluster: ClusterView, note: Callable[[str], None]) -> None:
        self.cluster = cluster
        self.lost = False
        self._note = note
        self._lock = threading.Lock()
        self._noted: set[str] = set()

    def note(self, text: str) -> None:
        """Pass on a note, once, on one line and without secrets."""
        line = redact(" ".join(text.split()))
        with self._lock:
            if line not in self._noted:
                self._noted.add(line)
                self._note(line)

    def read(self, what: str, fetch: Callable[[], T]) -> T | None:
        """Return what `fetch` reads from the API; None, with a note that says why, if it cannot."""
        return None if self.lost else self.interpret(what, fetch)

    def interpret(self, what: str, fetch: Callable[[], T]) -> T | None:
        """Return what `fetch` makes of objects already read, even if the API is gone; None as in `read`."""
        try:
            return fetch()
        except ClusterError as error:
            self._failed(what, error)
        except HostError as error:  # the tunnel to the API, or reading its credentials
            self._failed(what, ClusterError(str(error)))
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            place = ".".join(map(str, detail["loc"]))
            self.note(f"{what}: invalid: {place}: {detail['msg']}")
        except ValueError as error:
            self.note(f"{what}: invalid: {error}")
        except (AttributeError, KeyError, TypeError) as error:  # an object of a shape no API serves
            self.note(f"{what}: invalid: {error!r}")
        return None

    def read_all(self, sources: Mapping[str, Callable[[], T]]) -> dict[str, T | None]:
        """Read several things concurrently; return the results by the same names."""
        with ThreadPoolExecutor(CONCURRENT) as pool:
            pending = {what: pool.submit(self.read, what, fetch) for what, fetch in sources.items()}
            return {what: future.result() for what, future in pending.items()}

    def _failed(self, what: str, error: ClusterError) -> None:
        if isinstance(error, ApiUnreachable):
            with self._lock:
                gone = self.lost or not self.cluster.reachable()
                self.lost = gone
            if gone:
                self.note(f"the API was lost midway; everything not read by then is unknown: {error}")
                return
        self.note(f"{what}: unknown: {error.message}")
