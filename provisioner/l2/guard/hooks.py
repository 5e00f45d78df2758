"""Tell others about faults: a command with the event on stdin, or a webhook with it as body. Never in the guard's way.

One thread works them off in order. What waits is bounded; what a full queue loses is said.
"""

from __future__ import annotations

import os
import queue
import shlex
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from urllib.error import HTTPError
from urllib.parse import urlsplit

from provisioner.errors import ProvisionerError
from provisioner.l2.guard.event import Event

WAITING = 200  # events
PATIENCE = 30.0  # seconds for a command, or for each try of a webhook
TRIES, PAUSE = 3, 2.0


class Hooks:
    """The receivers of faults, and of their end. note: is told what failed. Raises ProvisionerError for a bad one."""

    def __init__(self, command: str, webhook: str, note: Callable[[str], None]) -> None:
        self._words = _words(command)
        self._webhook = _url(webhook)
        self._note = note
        self._queue: queue.Queue[Event | None] = queue.Queue(WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        if self._words or self._webhook:
            self._thread.start()

    def __call__(self, event: Event) -> None:
        """Pass a fault or its end on; a notice is not passed on."""
        if event.severity == "notice" or not self._thread.is_alive():
            return
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._lost += 1
            if self._lost == 1 or self._lost % 100 == 0:
                self._note(f"{self._lost} events were not passed on: the command or webhook is too slow")

    def close(self, seconds: float = 5.0) -> None:
        """Let what waits be worked off for that long."""
        if self._thread.is_alive():
            try:
                self._queue.put(None, timeout=seconds)
            except queue.Full:
                return
            self._thread.join(seconds)

    def _work(self) -> None:
        while (event := self._queue.get()) is not None:
            if self._words:
                self._run(event)
            if self._webhook:
                self._post(event)

    def _run(self, event: Event) -> None:
        own = {
            "L2_CODE": event.code,
            "L2_SUBJECT": event.subject,
            "L2_SEVERITY": event.severity,
            "L2_TEXT": event.text,
        }
        try:
            done = subprocess.run(
                self._words,
                input=event.json() + "\n",
                text=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=PATIENCE,
                check=False,
                env={**os.environ, **own},
            )
        except subprocess.TimeoutExpired:
            self._note(f"{self._words[0]} did not end within {PATIENCE:.0f} s and was killed")
        except OSError as error:
            self._note(f"{self._words[0]}: {error.strerror}")
        else:
            if done.returncode:
                last = (done.stderr.strip().splitlines() or [""])[-1][:200]
                self._note(f"{self._words[0]} exited with status {done.returncode}{last and f': {last}'}")

    def _post(self, event: Event) -> None:
        body = event.json().encode()
        request = urllib.request.Request(self._webhook, body, {"Content-Type": "application/json"})
        for number in range(TRIES):
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE):
                    return
            except HTTPError as error:
                error.close()
                reason = str(error)
            except (OSError, ValueError) as error:  # URLError is an OSError
                reason = str(error)
            time.sleep(PAUSE * number)
        self._note(f"webhook {urlsplit(self._webhook).netloc}: {reason}")


def _words(command: str) -> Sequence[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ProvisionerError(
            f"the command {command!r} cannot be read: {error}", "quote it as for a shell"
        ) from error


def _url(text: str) -> str:
    if text and (urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).hostname):
        raise ProvisionerError(f"{text!r} is not a URL", "write https://example.org/hook")
    return text
