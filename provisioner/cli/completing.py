"""What a shell completes beside commands and options: hosts and pools, and any other names that a command knows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from provisioner.cli.options import DEFAULT_FILE
from provisioner.errors import ProvisionerError
from provisioner.site import load_site

Known = Callable[[click.Context], Iterable[tuple[str, str]]]  # names, each with what a shell can show beside it
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
# In bash a colon separates words, and what follows is completed alone.
_APART = re.compile(r"pool\s*:\s*\S*$")


def one_of(known: Known) -> Completer:
    """Return what completes one name."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del parameter
        return _matching(incomplete, known(context))

    return complete


def list_of(known: Known) -> Completer:
    """Return what completes the last name of a comma-separated list, with those that are not in it yet."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del parameter
        before, comma, last = incomplete.rpartition(",")
        given = set(before.split(","))
        items = _matching(last, known(context))
        return [CompletionItem(before + comma + one.value, help=one.help) for one in items if one.value not in given]

    return complete


def hosts(context: click.Context) -> list[tuple[str, str]]:
    """Return the hosts of hosts.toml with their roles; none if it cannot be read, since a shell shows no error."""
    try:
        return [(host.name, ", ".join(host.roles)) for host in load_site(_file(context)).hosts]
    except (ProvisionerError, OSError):
        return []


def pools(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the pools of hosts.toml as pool:NAME, with their addresses."""
    del parameter
    try:
        found = [(pool.name, ", ".join(pool.addresses)) for pool in load_site(_file(context)).metallb.pools]
    except (ProvisionerError, OSError):
        return []
    if _APART.search(os.environ.get("COMP_WORDS", "")) and not incomplete.startswith("pool"):
        return _matching(incomplete.removeprefix(":"), found)
    return _matching(incomplete, ((f"pool:{name}", addresses) for name, addresses in found))


def _file(context: click.Context) -> Path:
    """Return the hosts.toml that the words typed so far name, before the command or after it."""
    after = Path(context.meta.get("global_file") or DEFAULT_FILE)
    return after if after != DEFAULT_FILE else Path(context.find_root().params.get("file") or DEFAULT_FILE)


def _matching(incomplete: str, known: Iterable[tuple[str, str]]) -> list[CompletionItem]:
    return [CompletionItem(name, help=about) for name, about in known if name.startswith(incomplete)]
