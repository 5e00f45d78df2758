"""`kubectl l2`: the commands of `provisioner l2` as a kubectl plugin, for any cluster; hosts.toml is not read.

kubectl runs the program kubectl-l2 on $PATH (kubectl plugin --help), with the arguments that follow `l2`.
"""

from __future__ import annotations

import click

from provisioner import __version__
from provisioner.cli.l2 import L2Group, l2
from provisioner.cli.main import run
from provisioner.cli.options import Options


@click.group(cls=L2Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output format.")
@click.version_option(__version__)
@click.pass_context
def kubectl_l2(ctx: click.Context, output: str) -> None:
    """Set the options that every subcommand shares."""
    ctx.obj = Options(output=output, plugin=True)


kubectl_l2.help = l2.help


def main() -> None:
    """Run the plugin; errors and exit statuses are those of `provisioner l2`."""
    run(kubectl_l2, prog_name="kubectl l2")
