"""Run the command line, and keep the events and findings that it shows: python run.py FILE provisioner ARGUMENTS…"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from provisioner import report
from provisioner.cli import main, verify

KEPT_OUT = ("output", "host")  # they leave nothing on the screen


def record(path: Path) -> None:
    """Append what is shown from now on to a file."""

    def keep(entry: object) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    emit, lines = report.Report.emit, verify.finding_lines

    def emitting(self: report.Report, kind: str, text: str = "", **more: Any) -> None:
        if kind not in KEPT_OUT:
            kept = {key: value for key, value in more.items() if key != "diff"}
            keep(["event", kind, text, kept])
        emit(self, kind, text, **more)

    def finding(options: Any, check: str, found: Any, *more: Any) -> Iterator[str]:
        keep(["finding", check, asdict(found)])
        return lines(options, check, found, *more)

    report.Report.emit = emitting  # type: ignore[method-assign]
    verify.finding_lines = finding  # type: ignore[assignment]


if __name__ == "__main__":
    record(Path(sys.argv[1]))
    sys.argv = sys.argv[2:]
    main.main()
