"""Asking the API for one thing after another, so that what cannot be had stays unknown and is said, and no more.

A source may be forbidden or time out while all others answer; and an API that is lost in the middle must not be
waited for a dozen times.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pydantic import ValidationError

from provisioner.errors import ClusterError, HostError
from provisioner.kube import Cluster
from provisioner.redact import redact

T = TypeVar("T")
AT_ONCE = 6  # requests; the connection pool of api.py holds eight


class ApiReader:
    """Asks a Cluster, tells `note` what could not be had, and stops asking when the API is gone."""

    def __init__(self, cluster: Cluster, note: Callable[[str], None]) -> None:
        self.cluster = cluster
        self.lost = False
        self._note = note
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def note(self, text: str) -> None:
        """Say something once, on one line and without secrets."""
        line = redact(" ".join(text.split()))
        with self._lock:
            if line not in self._told:
                self._told.add(line)
                self._note(line)

    def ask(self, what: str, look: Callable[[], T]) -> T | None:
        """Return what `look` reads from the API; None where it cannot be had, with a note that says why."""
        return None if self.lost else self.understand(what, look)

    def understand(self, what: str, look: Callable[[], T]) -> T | None:
        """Return what `look` makes of what has been read already, be the API there or not; None as with `ask`."""
        try:
            return look()
        except ClusterError as error:
            self._failed(what, error)
        except HostError as error:  # the tunnel to the API, or the reading of its credentials
            self._failed(what, ClusterError(str(error)))
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            place = ".".join(map(str, detail["loc"]))
            self.note(f"{what}: not understood: {place}: {detail['msg']}")
        except ValueError as error:
            self.note(f"{what}: not understood: {error}")
        except (AttributeError, KeyError, TypeError) as error:  # an object of a shape that no API serves
            self.note(f"{what}: not understood: {error!r}")
        return None

    def ask_all(self, questions: Mapping[str, Callable[[], T]]) -> dict[str, T | None]:
        """Ask several things at once; the answers by the same names."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = {what: pool.submit(self.ask, what, look) for what, look in questions.items()}
            return {what: answer.result() for what, answer in asked.items()}

    def _failed(self, what: str, error: ClusterError) -> None:
        if "does not answer" in error.message:
            with self._lock:
                gone = self.lost or not self.cluster.reachable()
                self.lost = gone
            if gone:
                self.note(f"the API was lost in the middle, and what had not been read by then is unknown: {error}")
                return
        self.note(f"{what}: unknown: {error.message}")
