"""`provisioner verify`: run the checks, print their findings and a summary."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict

import click

from provisioner.checks import CHECKS, Check, Context, Finding, choose, run
from provisioner.cli import completing, made
from provisioner.cli.fold import columns, folded
from provisioner.cli.options import Options
from provisioner.cli.session import Session, hold_lock, open_session
from provisioner.engine import Durations, Pace
from provisioner.redact import redact

SKIPPED = ("NOT_ENABLED", "NOT_TRIED")


_CHECKS = completing.one_of(lambda _: ((check.name, check.summary) for check in CHECKS))


@click.command()
@click.argument("checks", nargs=-1, shell_complete=_CHECKS)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), help="Output format.")
@click.option("--full", is_flag=True, help="Include checks that take many minutes.")
@click.pass_obj
def verify(options: Options, checks: tuple[str, ...], output: str | None, full: bool) -> None:
    """Prove from this machine, not from a node, that the cluster works. Runs all CHECKS by default.

    Checks restore what they change (replicas, a ConfigMap, a deleted pod). Without --full, some proofs are skipped
    and listed: an autoscaler that scales back down; on slow machines also load and scaling. If verify is killed,
    `provisioner plan` shows what was not restored. Checks that change something hold the cluster's lock.

    Exit status: 0 all passed, 1 something failed, 2 inconclusive from this machine.

    Example: provisioner verify nodes loadbalancer
    """
    as_json = (output or options.output) == "json"
    chosen = choose(CHECKS, checks)  # before connecting to anything: a wrong name fails at once
    findings = []
    with open_session(options, "verify") as session, _lock(session, chosen):
        report = session.report
        session.cluster.progress = lambda text: report.emit("output", text, host="cluster", step="verify")
        context = Context(session.site, session.cluster, session.hosts, full)
        # Closed also after Ctrl-C, so that the checks restore what they changed.
        pace = _Pace(session, chosen, full)
        with closing(run(context, chosen, named=bool(checks), begin=pace.begin)) as running:
            for check, finding in running:
                findings.append(finding)
                pace.failed |= not finding.ok
                report.emit("idle")  # ends a live line, which would be overwritten
                report.detail(f"finding {check.name}: {finding}")
                for line in finding_lines(options, check.name, finding, as_json, columns(sys.stdout.isatty())):
                    click.echo(redact(line))
        if not as_json:
            click.echo(summary(findings), err=True)
            if all(finding.ok for finding in findings):
                click.echo(f"next: {made.kubectl(options, session.site.first.name)} get pods -A", err=True)
            else:
                click.echo(f"log: {session.log}", err=True)
    sys.exit(status(findings))


class _Pace:
    """Tell which check begins and how long it took before, and keep how long it takes unless it fails."""

    def __init__(self, session: Session, checks: Sequence[Check], full: bool) -> None:
        self._session = session
        self._pace = Pace(Durations(session.durations))
        self._pace.start("verify --full" if full else "verify", dict.fromkeys((each.name for each in checks), 1), {})
        self._running = ""
        self._began = 0.0
        self.failed = False

    def begin(self, check: Check | None) -> None:
        """End the check that ran, and begin this one, if any."""
        now = time.monotonic()
        if self._running and not self.failed:
            self._pace.end(self._running, now - self._began, [0])
        self._running, self._began = check.name if check else "", now
        self.failed = False
        if check is not None:
            self._session.report.emit("check", check.summary, step=check.name, **self._pace.begin(check.name))


def summary(findings: Sequence[Finding]) -> str:
    """Return how many findings passed, failed and were skipped."""
    failed = sum(not finding.ok for finding in findings)
    skipped = sum(_skipped(finding) for finding in findings)
    counts = {"passed": len(findings) - failed - skipped, "failed": failed, "skipped": skipped}
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number or what == "passed")


def status(findings: Sequence[Finding]) -> int:
    """Return the exit status: 1 when a finding failed for certain, 2 when all failures are inconclusive, else 0."""
    failed = [finding for finding in findings if not finding.ok]
    if any("INCONCLUSIVE" not in finding.code for finding in failed):
        return 1
    return 2 if failed else 0


def finding_lines(
    options: Options, check: str, finding: Finding, as_json: bool, width: int | None = None
) -> Iterator[str]:
    """Yield a finding as text with evidence and remedy, or as one line of JSON.

    width: where the sentence is folded between words, None for nowhere. Evidence and commands stay as they are.
    """
    if as_json:
        yield redact(json.dumps({"check": check, **asdict(finding)}))
        return
    mark = "skip" if _skipped(finding) else "ok" if finding.ok else "FAILED"
    head, sentence = f"{mark:6} {check:12} ", redact(f"{finding.subject}: {finding.detail}")
    yield from folded(head, sentence, width)
    yield from (redact(f"         | {line}") for line in finding.evidence)
    if finding.remedy and not _skipped(finding):
        yield f"         {'advice' if finding.ok else 'try'}: {options.runnable(finding.remedy)}"


def _skipped(finding: Finding) -> bool:
    return finding.ok and finding.code in SKIPPED


def _lock(session: Session, chosen: Sequence[Check]) -> AbstractContextManager[object]:
    """Hold the lock unless all checks only read: an apply or another verify would take a check's changes for drift."""
    if all(check.reads_only for check in chosen):
        return nullcontext()
    return hold_lock(session, "verify")
