"""`provisioner init`: a hosts.toml to start from, with every key and its default explained in it.

The template is site/init-template.toml; the one at the top of a checkout is a copy that its operator edits.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import click

from provisioner.cli.hints import runnable
from provisioner.errors import ProvisionerError


def template() -> str:
    """Return the text of the commented hosts.toml: the Vagrant lab of four machines."""
    return files("provisioner.site").joinpath("init-template.toml").read_text(encoding="utf-8")


def write_site(path: Path, *, force: bool = False) -> None:
    """Write the commented hosts.toml to `path`; ProvisionerError where a file is in the way."""
    try:
        if force:
            # Beside its place and then moved there, so that the old file is not lost where this one cannot be written.
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                draft.write_text(template(), encoding="utf-8")
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
        else:
            with path.open("x", encoding="utf-8") as file:
                file.write(template())
    except FileExistsError:
        raise ProvisionerError(f"{path} exists already", "edit it, or replace it with --force") from None
    except OSError as error:
        raise ProvisionerError(
            f"{path} cannot be written ({error.strerror})", "name a file in a folder that exists and is yours"
        ) from error


@click.command("init")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@click.pass_context
def command(context: click.Context, file: Path | None, force: bool) -> None:
    """Write a commented hosts.toml that describes a lab of four machines.

    FILE is hosts.toml, or what -f names. An existing file is left alone.

    Example: provisioner init && provisioner plan
    """
    path = file or Path(context.find_root().params.get("file") or "hosts.toml")
    write_site(path, force=force)
    click.echo(f"Wrote {path}. Describe your machines in it; every key is explained there.")
    named = "" if path == Path("hosts.toml") else f" -f {path}"
    click.echo(f"Next: {runnable(f'provisioner{named} plan')}")
