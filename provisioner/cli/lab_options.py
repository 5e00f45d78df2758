"""What commands of `lab` have in common: the lab's directory, and a machine of the lab."""

from __future__ import annotations

from pathlib import Path

import click

from provisioner.cli import completing
from provisioner.errors import ProvisionerError
from provisioner.lab import lifecycle

directory = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=lifecycle.DEFAULT_DIRECTORY,
    show_default=True,
    help="Directory of the lab's state.",
)


def _machines(context: click.Context) -> list[tuple[str, str]]:
    try:
        spec = lifecycle.find(context.params.get("directory") or lifecycle.DEFAULT_DIRECTORY)
    except (ProvisionerError, OSError):
        return []
    return [(vm.name, vm.address) for vm in spec.vms]


host = click.argument("host", shell_complete=completing.one_of(_machines))
