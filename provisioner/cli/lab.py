"""`provisioner lab`: the lab's commands, thin over lifecycle and snapshots."""

import json
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

import click

from provisioner.catalogue import kubernetes_version
from provisioner.cli import lab_options
from provisioner.cli.groups import Group
from provisioner.cli.hints import INSIDE, invocation, runnable
from provisioner.cli.lab_link import link
from provisioner.lab import guest, inventory, kinds, lifecycle, links, requirements, snapshots, spec, upstream
from provisioner.lab.links import Fault
from provisioner.lab.recipe import DISK_GIB, SYSTEM, SYSTEMS
from provisioner.lab.spec import EXTRAS, MAX_CONTROL_PLANES, MAX_WORKERS
from provisioner.lab.unfriendly import make as make_unfriendly
from provisioner.site import load_site


@click.group(name="lab", cls=Group)
def lab() -> None:
    """Run blank machines on this machine, virtual ones or containers, to try a cluster.

    The lab is in its own network namespaces and unreachable from outside; enter it with `lab exec` and
    `lab ssh`.

    Example: provisioner lab up && provisioner lab exec -- provisioner -f .provisioner/lab/hosts.toml apply
    """


lab.add_command(link)


@lab.command()
@lab_options.directory
@click.option(
    "--control-planes",
    type=click.IntRange(1, MAX_CONTROL_PLANES),
    default=None,
    help="Number of control planes; several are behind a load balancer.  [default: 1]",
)
@click.option("--workers", type=click.IntRange(0, MAX_WORKERS), default=None, help="Number of workers.  [default: 2]")
@click.option(
    "--network",
    type=click.Choice(inventory.NETWORKS),
    default=None,
    help="Pod network.  [default: flannel if available]",
)
@click.option(
    "--kubernetes",
    default=None,
    metavar="VERSION",
    callback=lambda context, option, value: _check_version(value),
    help="Kubernetes version, such as 1.37.  [default: 1.37; 1.20 from a mirror on emulated machines]",
)
@click.option(
    "--also",
    multiple=True,
    metavar="VERSION",
    callback=lambda context, option, values: tuple(filter(None, map(_check_version, values))),
    help="Serve this version too if there is a mirror, to upgrade to it; can be repeated.",
)
@click.option(
    "--nodes",
    type=click.Choice(list(kinds.KINDS)),
    default=None,
    help="Run the machines as virtual machines (QEMU) or as system containers.  [default: vms where KVM works, else "
    "containers]",
)
@click.option(
    "--os",
    "system",
    default=None,
    metavar="SYSTEM[,SYSTEM]",
    help=f"What the machines run, in turn: {', '.join(SYSTEMS)}.  [default: {SYSTEM}]",
)
@click.option(
    "--disk",
    default=None,
    metavar="SIZE",
    callback=lambda context, option, value: _mebibytes(value),
    help=f"Size of each machine's disk, such as 4G or 3500M.  [default: {DISK_GIB}G]",
)
@click.option(
    "--with",
    "extras",
    type=click.Choice(list(EXTRAS)),
    multiple=True,
    help="Create the lab with " + "; ".join(f"{name}: {what}" for name, what in EXTRAS.items()) + ". Repeatable.",
)
@click.option(
    "--unfriendly",
    is_flag=True,
    help="Make the first three machines like people's: a chatty login, a packet filter, leftovers of other clusters.",
)
@click.option("--name", default=None, help="Name of the lab, to run several.  [default: provlab]")
@click.option("--no-mirror", is_flag=True, help="Only blank machines: neither probe upstream nor build a mirror.")
@click.option(
    "--small/--whole",
    default=None,
    help="Few workloads, no autoscaler and no ingress, for a slow machine.  [default: whole]",
)
def up(
    directory: Path,
    *,
    control_planes: int | None,
    workers: int | None,
    network: str | None,
    kubernetes: str | None,
    also: tuple[str, ...],
    nodes: str | None,
    system: str | None,
    disk: int,
    extras: tuple[str, ...],
    unfriendly: bool,
    name: str | None,
    no_mirror: bool,
    small: bool | None,
) -> None:
    """Create and start the lab's machines, or complete a partial lab.

    Example: provisioner lab up --workers 3
    """
    begun = time.monotonic()
    existing = spec.load(directory)
    before = existing or spec.LabSpec(directory.resolve())
    asked = replace(
        before,
        name=name or before.name,
        workers=before.workers if workers is None else workers,
        control_planes=control_planes or before.control_planes,
        network=network or "",
        small=before.small if small is None else small,
        kubernetes=kubernetes or "",
        nodes=nodes or "",
        os=system or before.os,
        disk=disk or before.disk,
        extras=",".join(dict.fromkeys(extras)) or before.extras,
        also=also,
    )
    wanted = spec.merged(asked, existing)
    kinds.require(wanted)
    wanted = replace(wanted, nodes=wanted.nodes or kinds.default(_progress))
    mirror = None if no_mirror else upstream.ensure(wanted, _progress)
    if mirror and not existing and not wanted.kubernetes:
        wanted = replace(wanted, kubernetes=mirror.minor)  # a lab keeps it, whatever the default becomes
    uplink = mirror is None and not no_mirror
    made = lifecycle.up(wanted, mirror, uplink=uplink, progress=_progress)
    if uplink:
        upstream.prefetch(made.site, _progress)
    if unfriendly:
        make_unfriendly(made, load_site(made.site).mirror.containerd, _progress)
    site = _relative(made.site)
    seconds = time.monotonic() - begun
    click.echo(f"lab {made.name}: {len(made.vms)} machines up after {seconds:.0f} s; {site} describes them")
    if stand_in := inventory.storage_stand_in(made):
        click.echo(stand_in)
    click.echo(f"next: {_sudo()}{invocation()} lab exec -- {invocation()} -f {site} apply")


@lab.command()
@lab_options.directory
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output format.")
def status(directory: Path, output: str) -> None:
    """Show the machines, the mirror and the snapshots.

    Example: provisioner lab status -o json
    """
    now = lifecycle.status(lifecycle.find(directory))
    names = snapshots.list_snapshots(now.spec)
    faults = links.faults(now.spec)
    if output == "json":
        machines = [
            asdict(row.vm) | {"state": row.state, "pid": row.pid, "faults": vars(faults.get(row.vm.name, Fault()))}
            for row in now.vms
        ]
        click.echo(json.dumps({
            "name": now.spec.name, "directory": str(now.spec.directory), "nodes": now.spec.nodes,
            "accelerator": now.accelerator,
            "uplink": now.uplink, "mirror": now.mirror, "with": now.spec.extras, "endpoint": now.spec.endpoint,
            "balancer": now.balancer, "machines": machines, "snapshots": names,
        }, indent=2))  # fmt: skip
        return
    uplink = "with uplink" if now.uplink else "no uplink"
    click.echo(
        f"lab {now.spec.name} ({now.accelerator or now.spec.nodes}, {uplink}) in {_relative(now.spec.directory)}"
    )
    for row in now.vms:
        process = f"pid {row.pid}" if row.pid else ""
        size = f"{row.vm.cpus} CPU  {row.vm.memory} MiB"
        text = f"  {row.vm.name:<9} {row.vm.address:<15} {row.state:<8} {size:<17} {row.vm.os:<9} {process}"
        click.echo(text.rstrip())
        if row.vm.name in faults:
            click.echo(f"  {'':<9} its links: {faults[row.vm.name].words()}")
    if now.spec.endpoint:
        click.echo(f"  {'endpoint':<9} {now.spec.endpoint:<24} {_running(now.balancer)}")
    click.echo(f"  {'mirror':<9} {_running(now.mirror)}")
    if now.spec.extras:
        click.echo(f"  {'with':<9} {now.spec.extras.replace(',', ', ')}")
    click.echo(f"  snapshots {', '.join(names) or 'none'}")


@lab.command(context_settings={"ignore_unknown_options": True})
@lab_options.directory
@lab_options.host
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(directory: Path, host: str, command: tuple[str, ...]) -> None:
    """Log in to a machine, or run a command there.

    Example: provisioner lab ssh worker1 uptime
    """
    requirements.require_root()
    spec = lifecycle.find_up(directory)
    _exec(guest.ssh_command(spec, spec.vm(host), command, terminal=not command and sys.stdin.isatty()))


@lab.command(name="exec", context_settings={"ignore_unknown_options": True})
@lab_options.directory
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(directory: Path, command: tuple[str, ...]) -> None:
    """Run a command on the lab's operator machine.

    It is on the cluster's segment but not a node: run apply, verify and clients there.

    Example: provisioner lab exec -- curl http://192.168.56.200/
    """
    requirements.require_root()
    words = lifecycle.exec_command(lifecycle.find_up(directory), list(command))
    _exec(words, {INSIDE: f"{_sudo()}{invocation()}"})


@lab.command()
@lab_options.directory
@click.argument("name")
def snapshot(directory: Path, name: str) -> None:
    """Save all running machines as NAME: memory and disks of VMs, disks of containers.

    Example: provisioner lab snapshot converged
    """
    snapshots.snapshot(lifecycle.find(directory), name, _progress)
    click.echo(f"next: {_sudo()}{runnable(f'provisioner lab restore {name}')}")


@lab.command()
@lab_options.directory
@click.argument("name")
def restore(directory: Path, name: str) -> None:
    """Restore all machines from a snapshot, running and with the current time.

    Example: provisioner lab restore converged
    """
    snapshots.restore(lifecycle.find(directory), name, _progress)


@lab.command()
@lab_options.directory
@click.argument("action", type=click.Choice(["off", "cut", "on"]))
@lab_options.host
def power(directory: Path, action: str, host: str) -> None:
    """Shut one machine down (off), end it as pulling its plug does (cut), or start it again (on).

    Example: provisioner lab power cut worker1; provisioner lab power on worker1
    """
    spec = lifecycle.find_up(directory)
    spec.vm(host)
    if action == "on":
        lifecycle.start(spec, host, _progress)
    elif action == "off":
        lifecycle.shut_down(spec, host, _progress)
    else:
        lifecycle.power_off(spec, host)
    click.echo(f"{host}: {'running' if action == 'on' else 'off'}")


@lab.command()
@lab_options.directory
def down(directory: Path) -> None:
    """Shut the machines down; keep disks and snapshots.

    Example: provisioner lab down; provisioner lab up
    """
    lifecycle.down(lifecycle.find(directory), _progress)
    click.echo("next: provisioner lab up, or: provisioner lab destroy")


@lab.command()
@lab_options.directory
def destroy(directory: Path) -> None:
    """Remove the lab: machines, disks, snapshots, networks. The image stays in the cache.

    Example: provisioner lab destroy
    """
    spec = lifecycle.find_remains(directory)
    if spec is None:
        click.echo(f"there is no lab in {directory}; nothing to do")
        return
    lifecycle.destroy(spec)
    click.echo(f"lab {spec.name}: destroyed")


def _check_version(text: str | None) -> str | None:
    """Reject an invalid Kubernetes version before anything is created."""
    if text is not None:
        try:
            kubernetes_version(text)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} {error}") from error
    return text


def _mebibytes(text: str | None) -> int:
    """Parse a size such as 4G or 3500M; 0 for none."""
    if text is None:
        return 0
    match = re.fullmatch(r"([1-9][0-9]{0,6})([GM])i?B?", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no size; write 4G or 3500M")
    return int(match[1]) << (10 if match[2] == "G" else 0)


def _running(pid: int | None) -> str:
    return f"running, pid {pid}" if pid else "not running"


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _exec(argv: list[str], environment: Mapping[str, str] | None = None) -> NoReturn:
    """Replace this process by another program, with additional environment variables."""
    sys.stdout.flush()
    os.execvpe(argv[0], argv, {**os.environ, **(environment or {})})


def _sudo() -> str:
    """Return the prefix for a command of the lab if it was run through sudo."""
    return "sudo -E " if "SUDO_UID" in os.environ else ""


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
