"""`provisioner completion`: the script with which a shell completes the command line."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def completion(shell: str | None) -> None:
    """Print the completion script of a shell, by default of $SHELL.

    It completes commands, options, hosts, steps, checks, pools and verdicts.

    \b
    bash  eval "$(provisioner completion bash)"     in ~/.bashrc
    zsh   eval "$(provisioner completion zsh)"      in ~/.zshrc, after compinit
    fish  provisioner completion fish | source      in ~/.config/fish/config.fish

    Example: provisioner completion bash
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name) if name in SHELLS else None
    if kind is None:
        raise click.UsageError(f"there is no completion for {name or 'an unknown shell'}: give {', '.join(SHELLS)}")
    root = click.get_current_context().find_root()
    click.echo(kind(root.command, {}, "provisioner", "_PROVISIONER_COMPLETE").source())
