"""`provisioner init`: write a hosts.toml to start from, which explains every key and its default.

The template is site/init-template.toml; the hosts.toml at the top of a checkout is a copy for its operator to edit.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import click

from provisioner.cli.hints import runnable
from provisioner.cli.options import Options
from provisioner.errors import ProvisionerError


def template() -> str:
    """Return the commented hosts.toml, which describes a Vagrant lab of four machines."""
    return files("provisioner.site").joinpath("init-template.toml").read_text(encoding="utf-8")


def write_site(path: Path, *, force: bool = False) -> None:
    """Write the commented hosts.toml to `path`; raise ProvisionerError if it exists, unless `force`."""
    if path.is_dir():
        raise ProvisionerError(f"{path} is a folder", f"provisioner init {path / 'hosts.toml'}")
    try:
        if force:
            # Through a temporary file, so that the old one is kept if writing fails.
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                temporary.write_text(template(), encoding="utf-8")
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        else:
            with path.open("x", encoding="utf-8") as file:
                file.write(template())
    except FileExistsError:
        raise ProvisionerError(f"{path} already exists", "edit it, or replace it with --force") from None
    except OSError as error:
        raise ProvisionerError(
            f"cannot write {path}: {error.strerror}", "choose a file in an existing, writable folder"
        ) from error


@click.command("init")
@click.argument("file", required=False, metavar="[FILE]", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.pass_obj
def command(options: Options, file: Path | None, force: bool) -> None:
    """Write a commented hosts.toml that describes a lab of four machines.

    FILE defaults to hosts.toml, or to the file given with -f. An existing file is not overwritten.

    Example: provisioner init && provisioner plan
    """
    path = file or options.file
    write_site(path, force=force)
    click.echo(f"Wrote {path}. Describe your machines in it; its comments explain every key.")
    named = "" if path == Path("hosts.toml") else f" -f {path}"
    click.echo(f"Next: {runnable(f'provisioner{named} plan')}")
