"""`provisioner verify`: run the checks, show what each found, end with one status."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict

import click

from provisioner import checks as module
from provisioner.checks import Check, Finding
from provisioner.cli.hints import INSIDE
from provisioner.cli.options import Options
from provisioner.cli.session import Session, hold_lock, open_session
from provisioner.redact import redact

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
    as_json = (output or options.output) == "json"
    chosen = module.choose(checks)  # a wrong name is told before anything is connected
    found = []
    with open_session(options, "verify") as session, _apart(session, chosen):
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
    if all(check.reads_only for check in chosen):
        return nullcontext()
    return hold_lock(session, "verify")


def _kubectl(options: Options, master: str) -> str:
    """Return how a person calls kubectl from here; in a lab, whose API nobody reaches from outside, on the master."""
    lab = os.environ.get(INSIDE)
    if lab:
        return f"{lab} lab ssh {master} sudo kubectl --kubeconfig /etc/kubernetes/admin.conf"
    return options.runnable("provisioner kubeconfig --merge; kubectl")


def _finding_lines(options: Options, check: str, finding: Finding, as_json: bool) -> Iterator[str]:
    if as_json:
        yield redact(json.dumps({"check": check, **asdict(finding)}))
        return
    word = "FAILED" if not finding.ok else "-" if finding.code in LEFT_OUT else "ok"
    yield redact(f"{word:6} {check:12} {finding.subject}: {finding.detail}")
    yield from (redact(f"         | {line}") for line in finding.evidence)
    if finding.remedy and finding.code not in LEFT_OUT:
        yield f"         {'advice' if finding.ok else 'try'}: {options.runnable(finding.remedy)}"
