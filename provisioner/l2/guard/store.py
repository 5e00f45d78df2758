"""Past events, in SQLite: bounded in number and age, so that the file of a guard that runs for years does not grow."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from provisioner.errors import ProvisionerError
from provisioner.l2.guard.event import Event

KEEP = 20_000  # events, about 5 MiB
DAYS = 180
_PRUNE_EVERY = 200  # inserts
_VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, code TEXT NOT NULL, severity TEXT NOT NULL,
    subject TEXT NOT NULL, text TEXT NOT NULL, owners TEXT NOT NULL, service TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_subject ON events (subject, time);
"""


class Store:
    """The file of events; a context manager. Raises ProvisionerError if it cannot be used."""

    def __init__(self, path: Path, *, keep: int = KEEP, create: bool = True) -> None:
        self.path = path
        self._keep = keep
        self._inserted = 0
        if not create and not path.exists():
            raise ProvisionerError(
                f"{path}: no such file", "start `provisioner l2 guard`, or choose its file with --db"
            )
        if path.exists() and not path.is_file():
            raise ProvisionerError(f"{path}: is not a regular file", "choose another with --db")
        try:
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path if create else f"file:{path}?mode=ro", uri=not create, timeout=10)
            if create:
                self._create()
            self._check()
        except (sqlite3.Error, OSError) as error:
            raise ProvisionerError(f"{path}: cannot be used: {error}", "choose another file with --db") from error

    def _create(self) -> None:
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # no fsync an event; a power cut loses the last ones at most
        self._db.executescript(_TABLE)
        if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        self._db.commit()

    def _check(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            raise ProvisionerError(f"{self.path}: is not a file of this version of guard", "choose another with --db")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._db.close()

    def add(self, event: Event) -> None:
        """Save an event. Raises ProvisionerError (disk full)."""
        row = (
            event.time,
            event.code,
            event.severity,
            event.subject,
            event.text,
            json.dumps(event.owners),
            event.service,
        )
        try:
            with self._db:
                self._db.execute(
                    "INSERT INTO events (time, code, severity, subject, text, owners, service) VALUES (?,?,?,?,?,?,?)",
                    row,
                )
                self._inserted += 1
                if self._inserted % _PRUNE_EVERY == 0:
                    self.prune(event.time)
        except sqlite3.Error as error:
            raise ProvisionerError(f"{self.path}: cannot be written: {error}", "check the disk") from error

    def prune(self, now: float) -> None:
        """Delete what is too old or too much."""
        self._db.execute("DELETE FROM events WHERE time < ?", (now - DAYS * 86400,))
        self._db.execute(
            "DELETE FROM events WHERE id <= (SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?)", (self._keep,)
        )
        self._db.execute("PRAGMA incremental_vacuum")

    def events(self, *, since: float = 0.0, subjects: Sequence[str] = ()) -> list[Event]:
        """Return the events since a time, oldest first; subjects: of these only, if any are given."""
        where = f" AND subject IN ({','.join('?' * len(subjects))})" if subjects else ""
        return self._read(f"time >= ?{where}", (since, *subjects))

    def before(self, since: float) -> list[Event]:
        """Return the last event of each subject before a time: the state at that time."""
        return self._read("id IN (SELECT MAX(id) FROM events WHERE time < ? GROUP BY subject)", (since,))

    def _read(self, where: str, values: tuple[object, ...]) -> list[Event]:
        columns = "time, code, severity, subject, text, owners, service"
        try:
            rows = self._db.execute(f"SELECT {columns} FROM events WHERE {where} ORDER BY id", values).fetchall()
        except sqlite3.Error as error:
            raise ProvisionerError(f"{self.path}: cannot be read: {error}", "choose another file with --db") from error
        return [
            Event(when, code, severity, subject, text, tuple(json.loads(owners)), service)
            for when, code, severity, subject, text, owners, service in rows
        ]


def parse_since(text: str, now: float | None = None) -> float:
    """Return the Unix time that is so long ago: "90m", "24h", "7d". Raises ProvisionerError."""
    units = {"m": 60, "h": 3600, "d": 86400}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not (number.isascii() and number.isdecimal()) or not 0 < int(number[:9]) <= 100_000:
        raise ProvisionerError(f"{text!r} is not a period", "write 90m, 24h or 7d")
    return (time.time() if now is None else now) - int(number) * units[unit]
