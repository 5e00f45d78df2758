"""The outcome of a plan as differences: one line each, one JSON document, or Prometheus' text format."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from provisioner.engine.runner import Outcome
from provisioner.engine.step import Change
from provisioner.redact import redact

WIDTH = 60  # characters of a line of a diff that a one-line text shows
_NEW = re.compile(r"^@@ -0,0 ", re.MULTILINE)


@dataclass(frozen=True)
class Difference:
    """One difference between hosts.toml and what is. found: what is, in a few words, "" if the change says it all.

    apply: what apply would do, "" if it leaves the difference alone; by_hand: then, what a person has to do.
    """

    step: str
    host: str
    found: str
    apply: str
    by_hand: str
    diff: str

    def __str__(self) -> str:
        found = f"{self.found}; " if self.found else ""
        if self.by_hand:
            return f"{self.host} {self.step}: {found}apply leaves it alone; by hand: {self.by_hand}"
        return f"{self.host} {self.step}: {found}hosts.toml wins; apply: {self.apply}"

    def document(self) -> dict[str, Any]:
        """Return the difference for JSON."""
        wins = "nobody" if self.by_hand else "hosts.toml"
        fields = {"step": self.step, "host": self.host, "found": self.found, "wins": wins, "apply": self.apply}
        return {**fields, "by_hand": self.by_hand, "diff": self.diff}


def differences(outcome: Outcome) -> list[Difference]:
    """Return the differences in a plan's order, without secrets."""
    return [_difference(step, host, change) for step, host, change in outcome.changes]


def _difference(step: str, host: str, change: Change) -> Difference:
    diff, summary = redact(change.diff), redact(change.summary)
    if change.by_hand:
        return Difference(step, host, summary, "", redact(change.by_hand), diff)
    return Difference(step, host, brief(diff), summary, "", diff)


def brief(diff: str) -> str:
    """Return the first difference of a unified diff in a few words, and how many lines more there are."""
    if _NEW.search(diff):
        return "missing"
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++", "@@"))]
    old, new = ([_short(line[1:]) for line in lines if line.startswith(sign) and line[1:].strip()] for sign in "-+")
    if old and new:
        text = f"has {old[0]}, not {new[0]}"
    elif old or new:
        text = f"has {old[0]}" if old else f"lacks {new[0]}"
    else:
        return ""
    more = max(len(old), len(new)) - 1
    return f"{text} (and {more} more)" if more else text


def _short(line: str) -> str:
    text = " ".join(line.split())
    return f"`{text if len(text) <= WIDTH else f'{text[: WIDTH - 1]}…'}`"


def document(cluster: str, outcome: Outcome) -> str:
    """Return the differences as one JSON document, with what could not be looked at."""
    failures = [
        {"step": failure.step, "host": failure.host, "error": redact(str(failure.error))}
        for failure in outcome.failures
    ]
    unseen = {step: list(names) for step, names in outcome.waiting.items()}
    body = {
        "schema": "drift/v1",
        "cluster": cluster,
        "differences": [each.document() for each in differences(outcome)],
        "failures": failures,
        "unseen": unseen,
    }
    return json.dumps(body, indent=2)


def prometheus(cluster: str, outcome: Outcome, *, now: float, seconds: float) -> Iterator[str]:
    """Yield the lines of a file for node_exporter's textfile collector (prometheus.io, "Exposition formats").

    Each step and host that was looked at has a sample, 0 if nothing differs, so that no alert misses a series.
    """
    counts = Counter((each.step, each.host) for each in differences(outcome))
    seen = dict.fromkeys([*outcome.seconds, *counts])
    name = _label(cluster)
    yield from _head("provisioner_drift_differences", "Differences between hosts.toml and what is, by step and host.")
    for step, host in seen:
        labels = f'cluster="{name}",host="{_label(host)}",step="{_label(step)}"'
        yield f"provisioner_drift_differences{{{labels}}} {counts[step, host]}"
    samples = (
        ("complete", "Whether all steps could be looked at on all hosts.", int(not outcome.failures)),
        ("last_run_timestamp_seconds", "When the differences were determined.", round(now)),
        ("duration_seconds", "How long that took.", round(seconds, 1)),
    )
    for key, text, value in samples:
        yield from _head(f"provisioner_drift_{key}", text)
        yield f'provisioner_drift_{key}{{cluster="{name}"}} {value}'


def _head(name: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} gauge"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
