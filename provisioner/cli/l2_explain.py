"""`provisioner l2 explain`: the page of a verdict or warning."""

from __future__ import annotations

import json
import os
import sys
import textwrap

import click
from click.shell_completion import CompletionItem

from provisioner.cli.options import Options
from provisioner.l2 import explanations, phrases, terminal


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the codes that begin with what was typed, with their meaning for shells that show it."""
    del ctx, parameter
    begun = incomplete.upper().replace("-", "_")
    return [
        CompletionItem(code, help=explanations.summary(code))
        for code in explanations.codes()
        if code.startswith(begun)
    ]


@click.command()
@click.argument("words", nargs=-1, metavar="[VERDICT]", shell_complete=_complete)
@click.pass_obj
def explain(options: Options | None, words: tuple[str, ...]) -> None:
    """Explain a verdict or warning: what it is, how it looks in tcpdump, why it happens, how to fix it.

    Without VERDICT it lists all of them.

    Example: provisioner l2 explain SPLIT_BRAIN
    """
    tty = sys.stdout.isatty()
    width = min(terminal.columns(tty), 100)
    as_json = options is not None and options.output == "json"
    if not words:
        entries = [_entry(code) for code in explanations.codes()]
        text = json.dumps(entries, indent=2) if as_json else _list(terminal.use_color(os.environ, tty), width)
        click.echo(text)
        return
    code = explanations.find(" ".join(words))
    page = explanations.page(code)
    if as_json:
        click.echo(json.dumps({**_entry(code), "page": page}, indent=2))
    elif tty:
        from provisioner.cli import markdown  # imports Rich

        markdown.show(page, width)
    else:
        click.echo(page.rstrip())


def _entry(code: str) -> dict[str, str]:
    kind = "verdict" if code in phrases.VERDICTS else "warning"
    return {"code": code, "kind": kind, "summary": explanations.summary(code)}


def _list(color: bool, width: int) -> str:
    """Return every code with its sentence, verdicts first."""
    warnings = [code for code in phrases.WARNINGS if code not in phrases.VERDICTS]
    column = max(map(len, explanations.codes())) + 4
    lines = []
    for title, codes in (("Verdicts", list(phrases.VERDICTS)), ("Warnings", warnings)):
        lines.append(terminal.style(title, bold=True) if color else title)
        for code in codes:
            first, *more = textwrap.wrap(explanations.summary(code), max(20, width - column))
            name = f"  {code}".ljust(column)
            lines.append((terminal.style(name, "cyan") if color else name) + first)
            lines += [" " * column + line for line in more]
        lines.append("")
    return "\n".join([*lines, "More on one of them: provisioner l2 explain VERDICT"])
