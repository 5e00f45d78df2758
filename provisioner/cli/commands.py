"""The commands beside plan and apply; the command line imports this module when one of them is used."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from provisioner.cli import execute as runs
from provisioner.cli.options import Options
from provisioner.cli.session import open_session
from provisioner.cli.status import rows, table
from provisioner.engine import lock
from provisioner.engine.runner import Selection, parallel
from provisioner.errors import ClusterError, HostError, ProvisionerError
from provisioner.site import load_site
from provisioner.ssh import Host
from provisioner.ssh.connect import known_hosts
from provisioner.ssh.openssh import arguments
from provisioner.steps import STEPS


@click.command()
@click.option("--diff", is_flag=True, help="Show what changes inside files and objects.")
@click.pass_obj
def plan(options: Options, diff: bool) -> None:
    """Show what an apply would do; change nothing.

    Exit status: 0 nothing to do, 2 changes pending, 1 an error.

    Example: provisioner plan --diff
    """
    with open_session(options, "plan", STEPS) as session:
        runs.plan(session, runs.run(session, STEPS, Selection()), diff)


@click.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--limit", default="", metavar="HOSTS", help="Only these hosts, with commas between.")
@click.option("--only", default="", metavar="STEPS", help="Only these steps, with commas between.")
@click.option("--from", "start", default="", metavar="STEP", help="Begin with this step.")
@click.option("--dry-run", is_flag=True, help="The same as plan, for the part selected.")
@click.pass_obj
def apply(options: Options, *, yes: bool, limit: str, only: str, start: str, dry_run: bool) -> None:
    """Do what is missing on hosts and cluster, and make sure of it.

    Shows the plan and asks first. It may be interrupted, killed or lose its connection at any time; run again, it
    goes on from there.

    Example: provisioner apply --limit worker1,worker2 --from join
    """
    runs.refuse_unasked(options, yes or dry_run, "provisioner apply", "applies unasked")
    with open_session(options, "apply", STEPS) as session:
        run = runs.run(session, STEPS, Selection(_names(only), start, _names(limit)))
        if dry_run:
            runs.plan(session, run, diff=False)
        runs.apply(session, run, runs.APPLY, ask=not yes)


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "wide", "json"]), help="wide: also system and runtime.")
@click.pass_obj
def status(options: Options, output: str | None) -> None:
    """Show the nodes as the API sees them, and the hosts of the site that are none.

    Exit status: 0 every host is a Ready node, 1 otherwise.

    Example: provisioner status -o wide
    """
    with open_session(options, "status") as session:
        if not session.cluster.reachable():
            raise ClusterError(
                f"the API at {session.site.endpoint} does not answer: {session.cluster.why or 'there is none yet'}",
                "provisioner plan shows what is missing",
            )
        found = rows(session.site, session.cluster.nodes())
    form = output or options.output
    if form == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        for line in table(found, wide=form == "wide"):
            click.echo(line)
    sys.exit(0 if all(row["status"] == "Ready" for row in found) else 1)


@click.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def unlock(options: Options, yes: bool) -> None:
    """Show the lock that keeps two runs apart, and remove it.

    Only for a lock whose run is known to be gone; a lock expires by itself within a minute of its run's end.

    Example: provisioner unlock
    """
    with open_session(options, "unlock") as session:
        first = session.hosts[session.site.first.name]
        found = lock.held(first)
        if found is None:
            click.echo(f"{first.name}: there is no lock")
            return
        whose = found.owner or "a run that cannot be made out"
        when = f"expires in {found.left:.0f} s" if found.left > 0 else f"expired {-found.left:.0f} s ago"
        click.echo(f"{first.name}: held by {whose}; refreshed {found.age:.0f} s ago, {when}")
        if not yes:
            if not sys.stdin.isatty():
                raise ProvisionerError("there is no terminal to ask on", "provisioner unlock -y removes the lock")
            click.confirm("Remove it?", abort=True)
        if not lock.remove(first, found):
            raise ProvisionerError("the lock has changed hands meanwhile and was left alone", "look again")
        click.echo("removed")


@click.command()
@click.option("--merge", is_flag=True, help="Merge it into $KUBECONFIG or ~/.kube/config and make it the current one.")
@click.pass_obj
def kubeconfig(options: Options, merge: bool) -> None:
    """Print the administrator's kubeconfig, or merge it into yours.

    Whoever holds it is the cluster's administrator.

    Example: provisioner kubeconfig >lab.conf && kubectl --kubeconfig lab.conf get nodes
    """
    import yaml

    from provisioner.kube import kubeconfig as module

    with open_session(options, "kubeconfig") as session:
        config = session.cluster.kubeconfig()
        if config is None:
            raise ClusterError("no control plane has a kubeconfig yet", "provisioner apply")
        own = module.renamed(config, session.site.cluster.name)
    if not merge:
        click.echo(yaml.safe_dump(own, sort_keys=False), nl=False)
        return
    path = Path(os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or Path.home() / ".kube" / "config")
    module.merge_into(path, own)
    click.echo(f"context {own['current-context']} is now the current one of {path}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def ssh(options: Options, host: str, command: tuple[str, ...]) -> NoReturn:
    """Log in to a host with the site's settings, or run a command there.

    Example: provisioner ssh worker1 -- sudo journalctl -u kubelet
    """
    site = load_site(options.file)
    words = arguments(site, site.host(host))
    known_hosts(site).parent.mkdir(parents=True, exist_ok=True)  # ssh makes the file, not its folder
    try:
        os.execvp(words[0], [*words, *command])
    except FileNotFoundError:
        raise ProvisionerError("there is no ssh client here", "install openssh-client") from None


@click.command(name="exec", context_settings={"ignore_unknown_options": True})
@click.option("--limit", default="", metavar="HOSTS", help="Only these hosts, with commas between.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def execute(options: Options, limit: str, command: tuple[str, ...]) -> None:
    """Run a command on every host at once, as root; a single word is taken as shell.

    Exit status: 0 it succeeded everywhere, 1 otherwise.

    Example: provisioner exec -- systemctl is-active kubelet
    """
    import shlex

    line = command[0] if len(command) == 1 else shlex.join(command)
    with open_session(options, "exec") as session:
        names = [name.strip() for name in limit.split(",") if name.strip()]
        hosts = [session.hosts[session.site.host(name).name] for name in names] or list(session.hosts.values())

        def work(host: Host) -> bool:
            try:
                result = host.run(line, check=False, timeout=600)
            except HostError as error:
                click.echo(str(error), err=True)
                return False
            prefix = f"{host.name}: "
            said = "".join(f"{prefix}{text}\n" for text in (result.stdout + result.stderr).splitlines())
            ended = f"{prefix}exit status {result.status}\n" if result.status else ""
            click.echo(said + ended, nl=False)
            return result.status == 0

        well = parallel(hosts, work, options.parallel)
    sys.exit(0 if all(well) else 1)
