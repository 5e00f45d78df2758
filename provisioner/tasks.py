"""The steps as Fabric tasks: `fab -l` lists them, `fab -H worker1,worker2 STEP` runs one on these hosts.

Each task is the command line's own `plan`, `apply` or `verify`, so that both show, ask, lock and log alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import fabric
from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit

from provisioner.cli.main import main
from provisioner.engine import Step
from provisioner.steps import STEPS

HELP = {
    "file": "The site (hosts.toml).",
    "yes": "Do not ask for confirmation.",
    "limit": "Run on these hosts only, comma-separated; -H does the same.",
    "diff": "Show the diffs of files and objects.",
}


class Executor(fabric.Executor):  # type: ignore[misc]  # fabric has no types
    """Run each task once, limited to the hosts given with -H.

    Fabric itself would run the task once per host, with a connection that does not know hosts.toml. fabric.yaml beside
    fabfile.py names this class (docs.pyinvoke.org, "tasks.executor_class").
    """

    def expand_calls(self, calls: Iterable[Any], apply_hosts: bool = True) -> list[Any]:
        """Turn -H into the `limit` of every task; raise Exit for a task that cannot be limited."""
        calls = list(calls)
        hosts = self.core[0].args.hosts.value
        for call in calls if hosts else ():
            if "limit" not in call.kwargs:
                raise Exit(f"{call.called_as} always covers the whole site; run it without -H", 1)
            if call.kwargs["limit"]:
                raise Exit("-H and --limit are the same; use one of them", 1)
            call.kwargs["limit"] = hosts
        expanded: list[Any] = super().expand_calls(calls, apply_hosts=apply_hosts and not hosts)
        return expanded


def plan(context: Context, file: str = "hosts.toml", diff: bool = False, limit: str = "") -> None:
    """Show what apply would change, without changing anything."""
    del context
    if limit and diff:
        raise Exit("--diff always covers the whole site; use it without -H", 1)
    if limit:
        _run(file, "apply", "--dry-run", "--limit", limit)
    else:
        _run(file, "plan", *(["--diff"] if diff else []))


def apply(context: Context, file: str = "hosts.toml", yes: bool = False, limit: str = "") -> None:
    """Apply the missing changes to hosts and cluster, and verify each."""
    _run(file, "apply", *_options(context, yes, limit))


def verify(context: Context, file: str = "hosts.toml") -> None:
    """Verify that the cluster works."""
    del context
    _run(file, "verify")


def step_task(step: Step) -> fabric.tasks.Task:
    """Return the task that applies one step."""

    def body(context: Context, file: str = "hosts.toml", yes: bool = False, limit: str = "") -> None:
        _run(file, "apply", "--only", step.name, *_options(context, yes, limit))

    body.__doc__ = f"Step: {step.summary}."
    return _task(body, name=step.name)


def _options(context: Context, yes: bool, limit: str) -> list[str]:
    """Return the options of `provisioner apply`; Fabric's --dry is its --dry-run."""
    dry = ["--dry-run"] if context.config.run.dry else []
    return [*dry, *(["-y"] if yes else []), *(["--limit", limit] if limit else [])]


def _run(file: str, *words: str) -> None:
    """Run the command line; let Fabric go on to the next task if it succeeds."""
    try:
        main(["-f", file, *words])
    except SystemExit as exit_:
        if exit_.code:
            raise


def _task(body: Any, **options: Any) -> fabric.tasks.Task:
    arguments = body.__code__.co_varnames[: body.__code__.co_argcount]
    return fabric.task(body, help={name: HELP[name] for name in arguments if name in HELP}, **options)


namespace = Collection(_task(plan), _task(apply), _task(verify), *(step_task(step) for step in STEPS))
