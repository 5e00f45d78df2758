"""`provisioner lab link`: faults on a machine's links."""

from pathlib import Path

import click

from provisioner.cli import lab_options
from provisioner.lab import lifecycle, links, requirements
from provisioner.lab.links import Fault


@click.command()
@lab_options.directory
@lab_options.host
@click.option("--loss", type=click.FloatRange(0, 100), default=0.0, help="Drop this percentage of frames, both ways.")
@click.option(
    "--delay", type=click.IntRange(0, 60_000), default=0, help="Delay frames to HOST by this many ms (netem)."
)
@click.option(
    "--block",
    multiple=True,
    metavar="HOST|PORT",
    help="Drop frames between HOST and another machine, or to a port of HOST, such as tcp/10250. Repeatable.",
)
def link(directory: Path, host: str, *, loss: float, delay: int, block: tuple[str, ...]) -> None:
    """Impair the links of HOST to the segment; without options, repair them.

    The options replace what an earlier `lab link` has done. `lab status` shows it.

    Example: provisioner lab link worker1 --loss 5 --block worker2; provisioner lab link worker1
    """
    requirements.require_root()
    spec = lifecycle.find_up(directory)
    links.put(spec, host, Fault(loss, delay, block))
    click.echo(f"{host}: {links.faults(spec).get(host, Fault()).words() or 'no faults on its links'}")
