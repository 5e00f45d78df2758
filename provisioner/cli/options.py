"""The global options of the command line, and the exception for an internal error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from provisioner.cli.hints import runnable


@dataclass(frozen=True)
class Options:
    """The global options of the command line."""

    file: Path = Path("hosts.toml")
    verbose: int = 0
    parallel: int = 8
    log: Path | None = None
    output: str = "text"

    def runnable(self, text: str) -> str:
        """Return a text whose commands can be run here as they stand, for the same site."""
        return runnable(text, "" if self.file == Path("hosts.toml") else f" -f {self.file}")


def split_names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list, as `--limit` and `--only` take it."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))


class InternalError(Exception):
    """Carry an unexpected exception to the command line, with the log and the text of its traceback."""

    def __init__(self, error: Exception, log: Path | None, text: str) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.log = log
        self.text = text
