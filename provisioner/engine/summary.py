"""The outcome of a plan or an apply as text: the plan, the failures, the commands to retry, the summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from provisioner.engine.runner import Failure, Outcome
from provisioner.errors import ClusterError, HostError, ProvisionerError
from provisioner.redact import redact
from provisioner.text import duration, pluralize

SLOWEST = 3


def plan_lines(outcome: Outcome, diff: bool = False) -> Iterator[str]:
    """Yield the plan by step: each change once, with its hosts and, with `diff`, its diff."""
    by_step: dict[str, dict[tuple[str, str], list[str]]] = {}
    by_hand = {change.summary: f"  by hand: {change.by_hand}" for _, _, change in outcome.changes if change.by_hand}
    for step, host, change in outcome.changes:
        by_step.setdefault(step, {}).setdefault((change.summary, change.diff if diff else ""), []).append(host)
    for step, changes in by_step.items():
        yield step
        for (summary, text), hosts in changes.items():
            yield f"  {summary}  [{', '.join(hosts)}]{by_hand.get(summary, '')}"
            yield from (f"      {line}" for line in redact(text).splitlines())
    for step, names in outcome.waiting.items():
        yield f"{step}  after: {', '.join(names)}"


def plan_summary(outcome: Outcome) -> str:
    """Return the last line of a plan."""
    ours = [(host, change) for _, host, change in outcome.changes if not change.by_hand]
    others = len(outcome.changes) - len(ours)
    if outcome.pending:
        hosts = {host for host, _ in ours}
        text = f"{pluralize(len(ours), 'change')} on {pluralize(len(hosts), 'host')}"
    else:
        text = f"nothing to do on {pluralize(len(outcome.visited), 'host')}"
    if others:
        text += f"; {pluralize(others, 'difference')} to settle by hand"
    if outcome.waiting:
        text += f"; {pluralize(len(outcome.waiting), 'step')} to be known after them"
    return text


def failure_lines(failures: list[Failure], log: Path | None) -> Iterator[str]:
    """Yield failures with command, output, cause and remedy (equal errors of several hosts merged), and the log."""
    merged: dict[str, tuple[Failure, list[str]]] = {}
    for failure in failures:
        merged.setdefault(_text(failure.error), (failure, []))[1].append(failure.host)
    for failure, hosts in merged.values():
        error = failure.error
        yield f"{', '.join(hosts)}: {failure.step} failed"
        yield from error_lines(error, indent="  ", host=failure.host)
    if log is not None:
        yield f"log: {log}"


def error_lines(error: Exception, indent: str = "", host: str = "") -> Iterator[str]:
    """Yield the lines that explain an error: the failed command, the tail of its output, cause and remedy."""
    if not isinstance(error, ProvisionerError):
        yield f"{indent}internal error: {type(error).__name__}: {redact(str(error))}"
        return
    first, *more = (error.command if isinstance(error, HostError) else "").strip().splitlines() or [""]
    if first:
        yield f"{indent}command: {redact(first)}{' …' if more else ''}"
    tail = error.tail if isinstance(error, HostError | ClusterError) else ""
    yield from (f"{indent}| {line}" for line in redact(tail).splitlines())
    place = f"{error.host}: " if isinstance(error, HostError) and error.host != host else ""
    first, *more = redact(error.message).splitlines() or [""]
    yield f"{indent}cause: {place}{first}"
    yield from (f"{indent}       {line}" for line in more)
    if error.remedy:
        yield f"{indent}try: {redact(error.remedy)}"


def _text(error: Exception) -> str:
    return str(error) if not isinstance(error, HostError) else f"{error.host} {error} {error.command}"


def retry_commands(outcome: Outcome, steps: Sequence[str]) -> Iterator[str]:
    """Yield the commands that retry a failed apply: from the failed step on, and for the failed hosts only.

    steps: the names of all steps, in order; a failure in the first one, or before it, needs no --from.
    """
    step = outcome.failures[0].step
    start = f" --from {step}" if step in steps[1:] else ""
    yield f"retry: provisioner apply{start}"
    failed = [failure.host for failure in outcome.failures]
    if len(failed) < len(outcome.visited):
        yield f"failed hosts only: provisioner apply --limit {','.join(dict.fromkeys(failed))}{start}"


def summary(outcome: Outcome, seconds: float) -> tuple[str, Mapping[str, Any]]:
    """Return the last line of an apply, and its figures for JSON output."""
    failed = list(dict.fromkeys(failure.host for failure in outcome.failures))
    changed = [name for name in outcome.visited if any(host == name for _, host, _ in outcome.changes)]
    unchanged = [name for name in outcome.visited if name not in changed and name not in failed]
    by_step: dict[str, float] = {}
    for (step, _), taken in outcome.seconds.items():
        by_step[step] = max(by_step.get(step, 0.0), taken)
    slowest = sorted(by_step.items(), key=lambda item: -item[1])[:SLOWEST]
    text = f"{len(changed)} changed, {len(unchanged)} unchanged, {len(failed)} failed in {duration(seconds)}"
    if slowest and seconds >= 1:
        text += f"; slowest: {', '.join(f'{step} {duration(taken)}' for step, taken in slowest)}"
    per_host = {
        name: round(sum(taken for (_, host), taken in outcome.seconds.items() if host == name), 1)
        for name in outcome.visited
    }
    data = {
        "changed": changed,
        "unchanged": unchanged,
        "failed": failed,
        "changes": len(outcome.changes),
        "seconds": round(seconds, 1),
        "steps": {step: round(taken, 1) for step, taken in by_step.items()},
        "hosts": per_host,
    }
    return text, data
