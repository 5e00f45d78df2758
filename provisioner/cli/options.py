"""The global options of the command line, and the exception for an internal error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click

from provisioner.cli.hints import runnable, without_site
from provisioner.redact import redact

DEFAULT_FILE = Path("hosts.toml")


@dataclass(frozen=True)
class Options:
    """The global options of the command line.

    plugin: run as `kubectl l2`; siteless: there is no hosts.toml in use, so the commands in messages may not need one.
    kubectl: the options with which kubectl finds the same cluster.
    """

    file: Path = DEFAULT_FILE
    verbose: int = 0
    parallel: int = 8
    log: Path | None = None
    output: str = "text"
    plugin: bool = False
    siteless: bool = False
    kubectl: str = ""

    def runnable(self, text: str) -> str:
        """Return a text whose commands can be run here as they stand, for the same site."""
        if self.siteless and self.file == DEFAULT_FILE:
            text = without_site(text, self.kubectl)
        return runnable(text, "" if self.file == DEFAULT_FILE else f" -f {self.file}")

    def error(self, message: str) -> None:
        """Print an error as a JSON object, kind error, on stdout if the output is JSON."""
        if self.output == "json":
            click.echo(redact(json.dumps({"kind": "error", "text": self.runnable(message)})))


def split_names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list, as `--limit` and `--only` take it."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))


class InternalError(Exception):
    """Carry an unexpected exception to the command line, with the log and the text of its traceback."""

    def __init__(self, error: Exception, log: Path | None, text: str) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.log = log
        self.text = text
