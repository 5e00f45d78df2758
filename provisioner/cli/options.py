"""The global options of the command line, and the one exception that is a defect of ours."""

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

    def again(self) -> str:
        """Return the options that a command to retype needs."""
        return "" if self.file == Path("hosts.toml") else f" -f {self.file}"

    def runnable(self, text: str) -> str:
        """Return a text with its commands as they can be typed here, for the same site."""
        return runnable(text, self.again())


class InternalError(Exception):
    """Carry an unexpected exception to the command line, which names the log that holds its traceback."""

    def __init__(self, error: Exception, log: Path | None, text: str) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.log = log
        self.text = text
