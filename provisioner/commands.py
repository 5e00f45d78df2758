"""The commands beside plan and apply; the command line imports this module when one of them is used."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from provisioner.errors import ClusterError, HostError, ProvisionerError
from provisioner.redact import redact
from provisioner.session import Options, Session, locked, opened
from provisioner.typed import INSIDE

if TYPE_CHECKING:
    from provisioner.checks import Check, Finding
    from provisioner.host import Host

LEFT_OUT = ("NOT_ENABLED", "NOT_TRIED")  # findings of what was not looked at


@click.command()
@click.argument("checks", nargs=-1)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), help="For people or machines.")
@click.option("--full", is_flag=True, help="Try also what takes many minutes.")
@click.pass_obj
def verify(options: Options, checks: tuple[str, ...], output: str | None, full: bool) -> None:
    """Prove from this machine, not from a node, that the cluster does what it should; all CHECKS by default.

    What a check changes (a scale, a ConfigMap, a pod that it deletes) it puts back. What is left out without --full
    is named: an autoscaler that falls again; on slow machines also load and scaling. After a kill, `provisioner plan`
    shows what was not put back. While checks change something, they hold the lock that keeps two runs apart.

    Exit status: 0 all well, 1 something is not, 2 it cannot be told from here.

    Example: provisioner verify nodes loadbalancer
    """
    from provisioner import checks as module

    as_json = (output or options.output) == "json"
    chosen = module.choose(checks)  # a wrong name is told before anything is connected
    found = []
    with opened(options, "verify") as session, _apart(session, chosen):
        report = session.report
        session.cluster.progress = lambda text: report.emit("output", text, host="cluster", step="verify")
        context = module.Context(session.site, session.cluster, session.hosts, full)
        with closing(module.run(context, checks)) as findings:  # also after Ctrl-C: what they changed is put back
            for check, finding in findings:
                found.append(finding)
                report.emit("idle")  # a live line would be written over
                report.detail(f"finding {check.name}: {finding}")
                for line in _finding_lines(options, check.name, finding, as_json):
                    click.echo(line)
        failed = [finding for finding in found if not finding.ok]
        if not as_json:
            tried = [finding for finding in found if not finding.ok or finding.code not in LEFT_OUT]
            left_out = f", {len(found) - len(tried)} left out" if len(tried) < len(found) else ""
            click.echo(f"{len(tried) - len(failed)} of {len(tried)} as they should be{left_out}", err=True)
            if failed:
                click.echo(f"log: {session.log}", err=True)
            else:
                click.echo(f"next: {_kubectl(options, session.site.first.name)} get pods -A", err=True)
    sure = [finding for finding in failed if "INCONCLUSIVE" not in finding.code]
    sys.exit(1 if sure else 2 if failed else 0)


def _apart(session: Session, chosen: Sequence[Check]) -> AbstractContextManager[object]:
    """Return what holds the lock meanwhile: an apply, or another verify, would take our changes for its own."""
    if all(check.looks_only for check in chosen):
        return nullcontext()
    return locked(session, "verify")


def _kubectl(options: Options, master: str) -> str:
    """Return how a person calls kubectl from here; in a lab, whose API nobody reaches from outside, on the master."""
    lab = os.environ.get(INSIDE)
    if lab:
        return f"{lab} lab ssh {master} sudo kubectl --kubeconfig /etc/kubernetes/admin.conf"
    return options.typed("provisioner kubeconfig --merge; kubectl")


def _finding_lines(options: Options, check: str, finding: Finding, as_json: bool) -> Iterator[str]:
    if as_json:
        yield redact(json.dumps({"check": check, **asdict(finding)}))
        return
    word = "FAILED" if not finding.ok else "-" if finding.code in LEFT_OUT else "ok"
    yield redact(f"{word:6} {check:12} {finding.subject}: {finding.detail}")
    yield from (redact(f"         | {line}") for line in finding.evidence)
    if finding.remedy and finding.code not in LEFT_OUT:
        yield f"         {'advice' if finding.ok else 'try'}: {options.typed(finding.remedy)}"


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "wide", "json"]), help="wide: also system and runtime.")
@click.pass_obj
def status(options: Options, output: str | None) -> None:
    """Show the nodes as the API sees them, and the hosts of the site that are none.

    Exit status: 0 every host is a Ready node, 1 otherwise.

    Example: provisioner status -o wide
    """
    from provisioner.status import rows, table

    with opened(options, "status") as session:
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
    from provisioner import lock

    with opened(options, "unlock") as session:
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

    from provisioner import kubeconfig as module

    with opened(options, "kubeconfig") as session:
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
    from provisioner import site as site_module
    from provisioner.openssh import arguments
    from provisioner.ssh import known_hosts

    site = site_module.load(options.file)
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

    from provisioner.runner import parallel

    line = command[0] if len(command) == 1 else shlex.join(command)
    with opened(options, "exec") as session:
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
