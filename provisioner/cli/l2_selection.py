"""Which cluster an `l2` command asks about: the options, their precedence, and how its next commands name it.

First --facts, then --kubeconfig or --context, then hosts.toml (-f, or the one in this folder), then the kubeconfig
that kubectl would use. `kubectl l2` never reads hosts.toml.
"""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from provisioner.cli.options import DEFAULT_FILE, Options
from provisioner.errors import Inconclusive
from provisioner.kube import kubeconfig_file
from provisioner.kube.kubeconfig_file import Kubeconfig


@dataclass(frozen=True)
class Selection:
    """The options as given. kubeconfig: None for the default files; context: "" for the current one."""

    facts: Path | None = None
    offline: bool = False
    kubeconfig: Path | None = None
    context: str = ""

    @property
    def explicit(self) -> bool:
        """Tell whether a kubeconfig or a context was asked for."""
        return self.kubeconfig is not None or bool(self.context)

    def require_consistent(self, options: Options) -> None:
        """Raise UsageError for options that contradict each other."""
        given = "--kubeconfig" if self.kubeconfig is not None else "--context"
        if self.explicit and self.facts is not None:
            raise click.UsageError(f"{given} and --facts are two sources of the same facts: give one")
        if self.explicit and self.offline:
            raise click.UsageError(f"--offline contacts no cluster: leave out {given}")
        if self.explicit and options.file != DEFAULT_FILE:
            raise click.UsageError(f"-f {options.file} and {given} name two clusters: give one")

    def site(self, options: Options) -> bool:
        """Tell whether hosts.toml is the source."""
        if self.facts is not None or self.explicit or options.plugin:
            return False
        return options.file != DEFAULT_FILE or options.file.exists()

    def words(self, *, cluster_only: bool = False) -> str:
        """Return the options for another command on the same cluster; cluster_only: for kubectl."""
        found = f" --kubeconfig {shlex.quote(str(self.kubeconfig))}" if self.kubeconfig is not None else ""
        found += f" --context {shlex.quote(self.context)}" if self.context else ""
        if cluster_only:
            return found
        found += f" --facts {shlex.quote(str(self.facts))}" if self.facts is not None else ""
        return found + " --offline" * self.offline

    def load_kubeconfig(self) -> Kubeconfig | None:
        """Return the context of a kubeconfig; None if none was asked for and kubectl would find none either.

        Raises Inconclusive.
        """
        paths = (self.kubeconfig,) if self.kubeconfig is not None else kubeconfig_file.default_paths(os.environ)
        if paths:
            return kubeconfig_file.load(paths, self.context)
        if self.explicit:
            raise Inconclusive(f"no kubeconfig for --context {self.context}", missing_kubeconfig())
        return None


def missing_kubeconfig() -> str:
    """Return what to do where kubectl would find no kubeconfig."""
    other = kubeconfig_file.elsewhere(os.environ)
    known = f"--kubeconfig {other}" if other is not None else "--kubeconfig FILE"
    return f"$KUBECONFIG and ~/.kube/config name no file that exists: use {known}"


output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), help="Output format. [default: text]"
)


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --kubeconfig and --context, and pass what was chosen as `selection`, with --facts and --offline.

    From here on the context's Options know whether hosts.toml is in use, so that the commands in messages fit.
    """

    @functools.wraps(command)
    def wrapped(
        *arguments: Any,
        kubeconfig: Path | None,
        context: str,
        facts: Path | None = None,
        offline: bool = False,
        output: str | None = None,
        **others: Any,
    ) -> None:
        selection = Selection(facts, offline, kubeconfig, context)
        here: click.Context | None = click.get_current_context()
        options = (here.obj if here is not None else None) or Options()
        selection.require_consistent(options)
        if output is not None:
            options = replace(options, output=output)
        if not selection.site(options):
            options = replace(options, siteless=True, kubectl=selection.words(cluster_only=True))
        while here is not None:  # errors are printed by the group
            here.obj, here = options, here.parent
        command(*arguments, selection=selection, **others)

    for option in (
        click.option("--context", default="", metavar="NAME", help="Use this context. [default: the current one]"),
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Read the cluster with this kubeconfig, without SSH. [default without hosts.toml: kubectl's]",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped
