"""The output of earlier commands, recognized by what it says it is: what each file can stand in for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.errors import ProvisionerError
from provisioner.page.document import Document, from_json

MOST = 64 * 1024 * 1024  # bytes; the JSON of a failover that was watched for hours has a tenth of that
ACCEPTED = (
    "-o json of verify, drift, l2 scan, l2 check, l2 watch, l2 guard history and report can be read",
    "as they were printed to stdout",
)


@dataclass(frozen=True)
class Saved:
    """A document of a command: the file, its modification time (Unix time), and its content."""

    file: str
    when: float
    body: Any


@dataclass(frozen=True)
class Earlier:
    """What earlier commands have printed. findings: each with the time of its file, 0 unless `verify` was read."""

    report: Document | None = None
    verify: tuple[Saved, ...] = ()
    drift: Saved | None = None
    segment: Saved | None = None
    watched: tuple[Saved, ...] = ()
    history: Saved | None = None


def read(paths: Sequence[Path]) -> Earlier:
    """Return what the files hold; of two of one kind, except `verify` and `l2 watch`, the later one counts.

    Raises ProvisionerError for a file that cannot be read or is none of these.
    """
    report: Document | None = None
    verify: list[Saved] = []
    watched: list[Saved] = []
    single: dict[str, Saved] = {}
    for path in paths:
        text, when = _content(path)
        body = _parsed(path, text)
        saved = Saved(str(path), when, body)
        match _kind(body):
            case "report/v1":
                report = _report(path, text)
            case "verify":
                verify.append(saved)
            case "l2watch/v1":
                watched.append(saved)
            case "drift/v1" | "l2report/v1" | "l2history/v1" as kind:
                single[kind] = saved
            case _:
                raise ProvisionerError(f"{path}: is not the JSON of a command that report knows", "; ".join(ACCEPTED))
    return Earlier(
        report,
        tuple(verify),
        single.get("drift/v1"),
        single.get("l2report/v1"),
        tuple(watched),
        single.get("l2history/v1"),
    )


def _content(path: Path) -> tuple[str, float]:
    try:
        found = path.stat()
        if not path.is_file():
            raise ProvisionerError(f"{path}: is not a regular file", ACCEPTED[0])
        if found.st_size > MOST:
            raise ProvisionerError(f"{path}: is larger than {MOST // 2**20} MiB", ACCEPTED[0])
        return path.read_text(encoding="utf-8"), found.st_mtime
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not text"
        raise ProvisionerError(f"{path}: cannot be read: {why}", ACCEPTED[0]) from error


def _parsed(path: Path, text: str) -> Any:
    """Return a document, or the list of the objects of `verify`'s lines."""
    if not text.strip():
        raise ProvisionerError(f"{path}: is empty", "; ".join(ACCEPTED))
    try:
        return _json(text)
    except (ValueError, RecursionError):
        pass
    try:
        return [_json(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ProvisionerError(f"{path}: is not JSON", "; ".join(ACCEPTED)) from error


def _json(text: str) -> Any:
    """Parse JSON; Python also takes NaN and Infinity, which no command prints."""
    return json.loads(text, parse_constant=_no_number)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _kind(body: Any) -> str:
    if isinstance(body, dict):
        if "schema" not in body and _is_finding(body):
            return "verify"  # of a single line
        return str(body.get("schema", ""))
    lines = body if isinstance(body, list) else []
    rest = [line for line in lines if not _is_finding(line)]
    events = all(isinstance(line, dict) and "kind" in line for line in rest)
    return "verify" if len(lines) > len(rest) and events else ""


def _is_finding(line: Any) -> bool:
    wanted = {"check": str, "ok": bool, "subject": str, "detail": str, "code": str}
    return isinstance(line, dict) and all(isinstance(line.get(key), kind) for key, kind in wanted.items())


def finding_lines(saved: Saved) -> list[dict[str, Any]]:
    """Return the findings among the lines of `verify`."""
    lines = saved.body if isinstance(saved.body, list) else [saved.body]
    return [line for line in lines if _is_finding(line)]


def _report(path: Path, text: str) -> Document:
    try:
        return from_json(text)
    except ValueError as error:
        first = str(error).splitlines()[1:3]
        where = " ".join(line.strip() for line in first)
        raise ProvisionerError(f"{path}: is not a whole report/v1: {where}", "make it anew: report -o json") from error
