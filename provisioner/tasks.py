"""The same road as Fabric tasks: `fab -l` lists the steps, `fab apply` walks them, `fab STEP` does one.

Each task is the command line's own `plan` or `apply`, so that both show, ask, lock and log alike.
"""

from __future__ import annotations

from typing import Any

from fabric import task
from invoke.collection import Collection

from provisioner.cli.main import main
from provisioner.engine import Step
from provisioner.steps import STEPS

HELP = {
    "file": "The site (hosts.toml).",
    "yes": "Do not ask.",
    "limit": "Only these hosts, with commas between.",
}


def plan(context: Any, file: str = "hosts.toml", diff: bool = False) -> None:
    """Show what an apply would do; change nothing."""
    del context
    main(["-f", file, "plan", *(["--diff"] if diff else [])])


def apply(context: Any, file: str = "hosts.toml", yes: bool = False, limit: str = "") -> None:
    """Do what is missing on hosts and cluster, and make sure of it."""
    del context
    main(["-f", file, "apply", *_options(yes, limit)])


def verify(context: Any, file: str = "hosts.toml") -> None:
    """Prove that the cluster does what it should."""
    del context
    main(["-f", file, "verify"])


def _options(yes: bool, limit: str) -> list[str]:
    return [*(["-y"] if yes else []), *(["--limit", limit] if limit else [])]


def _of(step: Step) -> Any:
    """Return the task of one step."""

    def body(context: Any, file: str = "hosts.toml", yes: bool = False, limit: str = "") -> None:
        del context
        main(["-f", file, "apply", "--only", step.name, *_options(yes, limit)])

    body.__doc__ = f"Step: {step.summary}."
    return task(body, name=step.name, help=HELP)


namespace = Collection(
    task(help={"file": HELP["file"], "diff": "Show what changes inside files and objects."})(plan),
    task(help=HELP)(apply),
    task(help={"file": HELP["file"]})(verify),
    *(_of(step) for step in STEPS),
)
