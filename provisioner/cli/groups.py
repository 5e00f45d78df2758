"""Groups of commands: imported on use, with the global options after the command too, and a hint for a typo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import click
from click.core import ParameterSource

from provisioner.cli.options import Options
from provisioner.text import did_you_mean

_PREFIX = "global_"


def global_options() -> list[click.Option]:
    """Return new instances of the options that stand before a command or after it."""
    return [
        click.Option(
            ["-f", "--file"],
            default="hosts.toml",
            type=click.Path(path_type=Path),
            show_default=True,
            help="The hosts.toml of the site.",
        ),
        click.Option(
            ["-v", "--verbose"], count=True, help="Show all output; -vv adds the traceback of an internal error."
        ),
        click.Option(
            ["--parallel"],
            default=8,
            type=click.IntRange(1),
            show_default=True,
            help="Maximum number of hosts at a time.",
        ),
        click.Option(["--log"], type=click.Path(path_type=Path), help="Log file. [default: .provisioner/logs/…]"),
        click.Option(["-o", "--output"], type=click.Choice(["text", "json"]), default="text", help="Output format."),
    ]


class Group(click.Group):
    """A group that suggests the closest command for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name; its error names the closest."""
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            remedy = did_you_mean(name, known) or f"the commands are {', '.join(known)}"
            ctx.fail(f"no such command {name!r}; {remedy}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, which also takes the global options."""
        command = super().get_command(ctx, cmd_name)
        return command and taking_global_options(command)


class LazyGroup(Group):
    """A group that imports a command's module only to run that command or show its help.

    table: name -> (module:attribute, one line of help), in the order in which help lists them.
    """

    table: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the table."""
        return [*self.table, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its module if necessary."""
        if cmd_name not in self.table:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return taking_global_options(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with one line of help each, without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])


def taking_global_options(command: click.Command) -> click.Command:
    """Let a command take the global options that it does not define itself; hidden, since the top level lists them.

    A group does not take them (its commands do), nor does a command whose arguments are another program's.
    """
    foreign = command.context_settings.get("ignore_unknown_options", False)
    if isinstance(command, click.Group) or foreign:
        return command
    taken = {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)}
    for option in global_options():
        if not taken.intersection(option.opts):
            # An argument of the command may have the option's name: FILE of init.
            option.name = f"{_PREFIX}{option.name}"
            option.hidden, option.expose_value, option.callback = True, False, _override
            command.params.append(option)
    return command


def _override(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Replace a global option's value by one that was given after the command."""
    options = context.obj
    if context.resilient_parsing:  # a shell completes the line: there are no Options yet
        context.meta[parameter.name or ""] = value
    given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    if isinstance(options, Options) and given:
        name = (parameter.name or "").removeprefix(_PREFIX)
        changed = replace(options, **{name: options.verbose + value if name == "verbose" else value})
        at: click.Context | None = context
        while at is not None:  # the groups above handle errors as the options say
            at.obj, at = changed, at.parent
    return value
