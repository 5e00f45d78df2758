"""The commands plan, apply, status, unlock, kubeconfig, ssh and exec; imported when one of them is used."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

import click
import yaml

from provisioner import ownership
from provisioner.cli import completing, execute, status
from provisioner.cli.options import Options, split_names
from provisioner.cli.session import open_session
from provisioner.engine import lock
from provisioner.engine.runner import Selection, parallel
from provisioner.errors import ClusterError, HostError, ProvisionerError
from provisioner.kube import kubeconfig, node_rows
from provisioner.redact import printable, redact
from provisioner.site import load_site
from provisioner.ssh import Host
from provisioner.ssh.host_keys import path as known_hosts
from provisioner.ssh.openssh import arguments
from provisioner.steps import STEPS, vip
from provisioner.text import join_words

_HOSTS = completing.list_of(completing.hosts)
_STEPS = completing.list_of(lambda _: ((step.name, step.summary) for step in STEPS))


@click.command("plan")
@click.option("--diff", is_flag=True, help="Show the diffs of files and objects.")
@click.option(
    "--limit", default="", shell_complete=_HOSTS, metavar="HOSTS", help="Look at these hosts only, comma-separated."
)
@click.option(
    "--only", default="", shell_complete=_STEPS, metavar="STEPS", help="Look at these steps only, comma-separated."
)
@click.option("--from", "start", default="", shell_complete=_STEPS, metavar="STEP", help="Start with this step.")
@click.pass_obj
def plan_command(options: Options, *, diff: bool, limit: str, only: str, start: str) -> None:
    """Show what apply would change, without changing anything.

    Every step is looked at, whatever an earlier one has pending, and nothing is waited for.

    Exit status: 0 nothing to do, 2 changes pending, 1 error.

    Example: provisioner plan --diff
    """
    selection = Selection(split_names(only), start, split_names(limit))
    with open_session(options, "plan", STEPS) as session:
        execute.plan(session, execute.new_run(session, STEPS, selection), diff)


@click.command("apply")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--limit", default="", shell_complete=_HOSTS, metavar="HOSTS", help="Run on these hosts only, comma-separated."
)
@click.option(
    "--only", default="", shell_complete=_STEPS, metavar="STEPS", help="Run these steps only, comma-separated."
)
@click.option("--from", "start", default="", shell_complete=_STEPS, metavar="STEP", help="Start with this step.")
@click.option("--dry-run", is_flag=True, help="Show the plan for the selected hosts and steps; change nothing.")
@click.pass_obj
def apply_command(options: Options, *, yes: bool, limit: str, only: str, start: str, dry_run: bool) -> None:
    """Apply the missing changes to hosts and cluster, and verify each.

    Shows the plan and asks for confirmation first. If it is interrupted, killed or loses its connection, run it again:
    it resumes where it stopped.

    Example: provisioner apply --limit worker1,worker2 --from join
    """
    if not (yes or dry_run):
        execute.require_terminal()
    with open_session(options, "apply", STEPS) as session:
        run = execute.new_run(session, STEPS, Selection(split_names(only), start, split_names(limit)))
        if dry_run:
            execute.plan(session, run, diff=False)
        execute.apply(session, run, execute.APPLY, ask=not yes)


@click.command("status")
@click.option("-o", "--output", type=click.Choice(["text", "wide", "json"]), help="wide adds system and runtime.")
@click.pass_obj
def status_command(options: Options, output: str | None) -> None:
    """Show the nodes as the API sees them, and the hosts of the site that are not nodes.

    Exit status: 0 if every host is a Ready node, 1 otherwise.

    Example: provisioner status -o wide
    """
    with open_session(options, "status") as session:
        if not session.cluster.reachable():
            raise ClusterError(
                f"the API at {session.site.endpoint} does not answer: {session.cluster.api_error or 'no cluster yet'}",
                "provisioner plan shows what is missing",
            )
        rows = node_rows.rows(session.site, session.cluster.nodes())
        address = session.site.cluster.vip
        holders = [*vip.holders(session.hosts, session.site)] if address else []
    form = output or options.output
    if form == "json":
        if address:
            rows = [row | {"vip": address if row["name"] in holders else ""} for row in rows]
        click.echo(json.dumps(rows, indent=2))
    else:
        for line in status.table(rows, wide=form == "wide"):
            click.echo(printable(line))
        if address:
            click.echo(f"vip {address}: on {join_words(holders) or 'none of the control planes that answer'}")
    sys.exit(0 if all(row["status"] == "Ready" for row in rows) else 1)


@click.command("unlock")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def unlock_command(options: Options, yes: bool) -> None:
    """Show the lock that keeps two runs apart, and remove it.

    Remove it only if its run is known to be gone; the lock of a run that died expires within a minute.

    Example: provisioner unlock
    """
    with open_session(options, "unlock") as session:
        first = session.hosts[session.site.first.name]
        held = lock.read(first)
        if held is None:
            click.echo(f"{first.name}: not locked")
            return
        seconds = held.expires_in
        expiry = f"expires in {seconds:.0f} s" if seconds > 0 else f"expired {-seconds:.0f} s ago"
        holder = redact(str(held.holder or "an unknown run"))
        click.echo(f"{first.name}: locked by {holder}; refreshed {held.age:.0f} s ago, {expiry}")
        if not yes:
            execute.require_terminal()
            click.confirm("Remove the lock?", abort=True)
        if not lock.remove(first, held):
            raise ProvisionerError("the lock has changed and was not removed", "check it again: provisioner unlock")
        click.echo("lock removed")


@click.command("kubeconfig")
@click.option(
    "--merge", is_flag=True, help="Merge it into $KUBECONFIG or ~/.kube/config and set its context as current."
)
@click.pass_obj
def kubeconfig_command(options: Options, merge: bool) -> None:
    """Print the admin kubeconfig, or merge it into yours.

    It grants cluster-admin to whoever has it.

    Example: provisioner kubeconfig >lab.conf && kubectl --kubeconfig lab.conf get nodes
    """
    with open_session(options, "kubeconfig") as session:
        admin = session.cluster.kubeconfig()
        if admin is None:
            raise ClusterError("no control plane has a kubeconfig yet", "provisioner apply")
        config = kubeconfig.renamed(admin, session.site.cluster.name)
    if not merge:
        click.echo(yaml.safe_dump(config, sort_keys=False), nl=False)
        return
    path = Path(os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or Path.home() / ".kube" / "config")
    kubeconfig.merge_into(path, config)
    click.echo(f"merged into {path}; current context: {config['current-context']}")


@click.command("ssh", context_settings={"ignore_unknown_options": True})
@click.argument("host", shell_complete=completing.one_of(completing.hosts))
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def ssh_command(options: Options, host: str, command: tuple[str, ...]) -> NoReturn:
    """Log in to a host with the site's settings, or run a command on it.

    Example: provisioner ssh worker1 -- sudo journalctl -u kubelet
    """
    site = load_site(options.file)
    words = arguments(site, site.host(host))
    ownership.make_folder(known_hosts(site).parent)  # ssh creates the file, but not its folder
    try:
        os.execvp(words[0], [*words, *command])
    except FileNotFoundError:
        raise ProvisionerError("ssh is not installed", "install openssh-client") from None


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.option(
    "--limit", default="", shell_complete=_HOSTS, metavar="HOSTS", help="Run on these hosts only, comma-separated."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def exec_command(options: Options, limit: str, command: tuple[str, ...]) -> None:
    """Run a command on every host in parallel, as root; a single argument is run as a shell script.

    Exit status: 0 if it succeeded on every host, 1 otherwise.

    Example: provisioner exec -- systemctl is-active kubelet
    """
    line = command[0] if len(command) == 1 else shlex.join(command)
    with open_session(options, "exec") as session:
        names = split_names(limit)
        hosts = [session.hosts[session.site.host(name).name] for name in names] or list(session.hosts.values())

        def run(host: Host) -> bool:
            try:
                result = host.run(line, check=False, timeout=600)
            except HostError as error:
                click.echo(redact(str(error)), err=True)
                return False
            lines = printable(result.stdout + result.stderr).splitlines()
            if result.status:
                lines.append(f"exit status {result.status}")
            click.echo("".join(f"{host.name}: {line}\n" for line in lines), nl=False)
            return result.status == 0

        succeeded = parallel(hosts, run, options.parallel)
    sys.exit(0 if all(succeeded) else 1)
