"""The commands about one node: drain it, let pods come again, take it out, join it anew; and reset, about all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

from provisioner.cli import execute
from provisioner.cli.execute import Errand
from provisioner.cli.options import Options
from provisioner.cli.session import open_session
from provisioner.engine import Step
from provisioner.engine.runner import Outcome, Selection
from provisioner.site import load_site
from provisioner.steps import drain as step
from provisioner.steps import l2_proof, removal

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def node() -> None:
    """Drain a node, take it out of the cluster, or join it anew.

    Each shows what it would do and asks, can be interrupted, and run again goes on from there.
    """


def _common(function: F) -> F:
    """Give a command the name of a node, -y and --dry-run."""
    function = click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")(function)
    function = click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)
    return click.argument("name")(function)


@node.command()
@_common
@click.pass_obj
def drain(options: Options, name: str, yes: bool, dry_run: bool) -> None:
    """Keep new pods off a node and end those that are there, as `kubectl drain` does.

    Pods of DaemonSets stay. Disruption budgets are kept; what holds a pod back is shown. A pod that no controller
    would make anew is refused, by name.

    Example: provisioner node drain worker1
    """
    errand = _errand(f"drain {name}", name, f"provisioner node uncordon {name} lets pods come again")
    _do(options, (step.step(name), l2_proof.STEP), errand, (), yes=yes, dry_run=dry_run)


@node.command()
@_common
@click.pass_obj
def uncordon(options: Options, name: str, yes: bool, dry_run: bool) -> None:
    """Let a node take pods again.

    Example: provisioner node uncordon worker1
    """
    from provisioner.steps import uncordon as step

    errand = _errand(f"uncordon {name}", name, "provisioner status")
    _do(options, (step.step(name),), errand, (), yes=yes, dry_run=dry_run)


@node.command()
@_common
@click.option("--gone", is_flag=True, help="Its machine is off for good: do not log in to it.")
@click.pass_obj
def remove(options: Options, name: str, yes: bool, dry_run: bool, gone: bool) -> None:
    """Take a node out of the cluster: drain it, `kubeadm reset` on it, delete it from the API.

    Its packages and images stay on it. With --gone only the API is asked, and starts its pods elsewhere at once: a
    machine that still ran them, out of reach, would write to the same volumes.

    Example: provisioner node remove worker2
    """
    removal.refuse(load_site(options.file), name, gone=gone, stays=False)
    then = f"take {name} out of hosts.toml, or provisioner apply joins it again"
    errand = _errand(f"remove {name}{' --gone' if gone else ''}", name, then)
    _do(options, removal.remove(name, gone=gone), errand, () if gone else (name,), yes=yes, dry_run=dry_run)


@node.command()
@_common
@click.pass_obj
def rebuild(options: Options, name: str, yes: bool, dry_run: bool) -> None:
    """Take a node out of the cluster and join it anew, or a machine that was installed anew in its place.

    Drains it, `kubeadm reset` on it, deletes it from the API, then does what `provisioner apply` does.

    Example: provisioner node rebuild worker2
    """
    removal.refuse(load_site(options.file), name, gone=False, stays=True)
    errand = _errand(f"rebuild {name}", name, "provisioner verify")
    _do(options, removal.rebuild(name), errand, None, yes=yes, dry_run=dry_run)


def _do(
    options: Options, steps: Sequence[Step], errand: Errand, among: tuple[str, ...] | None, *, yes: bool, dry_run: bool
) -> None:
    """Walk the steps. among: the hosts to log in to beside the first control plane, None for all."""
    execute.refuse_unasked(options, yes or dry_run, errand.command, "does it unasked")
    with open_session(options, "node", steps) as session:
        limit = () if among is None else tuple(dict.fromkeys((session.site.first.name, *among)))
        run = execute.run(session, steps, Selection(limit=limit))
        if dry_run:
            execute.plan(session, run, diff=False)
        execute.apply(session, run, errand, ask=not yes)


def _errand(command: str, name: str, then: str) -> Errand:
    """Return what is said in the end; a node that was left cordoned is not left so silently."""

    def again(outcome: Outcome, steps: Sequence[str]) -> Iterator[str]:
        del steps
        yield f"again: provisioner node {command}"
        if any(change.summary == f"cordon {name}" for _, _, change in outcome.changes) or _waited(outcome):
            yield f"instead: provisioner node uncordon {name} lets pods come to it again"

    return execute.Errand(f"provisioner node {command}", (f"next: {then}",), again)


def _waited(outcome: Outcome) -> bool:
    """Tell whether a drain began and did not end: what it did before is no longer among the outcome's changes."""
    return any(failure.step == "drain" for failure in outcome.failures)


@click.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--limit", default="", metavar="HOSTS", help="Only these hosts, with commas between.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@click.pass_obj
def reset(options: Options, yes: bool, limit: str, dry_run: bool) -> None:
    """Take hosts out of the cluster without draining them; all of them end it, with everything in etcd.

    `kubeadm reset`, and what it leaves: etcd's data, the pod network, the cluster's packet filter rules. Packages,
    images and what lies under the NFS export stay. `provisioner node remove` is the gentle way for one.

    Example: provisioner reset --limit worker1
    """
    command = "provisioner reset" + (f" --limit {limit}" if limit else "")
    execute.refuse_unasked(options, yes or dry_run, command, "does it unasked")
    site = load_site(options.file)
    names = [site.host(part.strip()).name for part in limit.split(",") if part.strip()]
    names = names or [spec.name for spec in site.hosts]
    steps = removal.reset(site, names)
    export = f"; what lies in {site.nfs.export} on {site.nfs_server.name} is still there" if site.nfs.enabled else ""
    ended = {spec.name for spec in site.control_planes} <= set(names)
    made = "makes a new cluster" if ended else "joins again what hosts.toml names"
    then = (f"next: provisioner apply {made}{export if ended else ''}",)
    errand = execute.Errand(command, then, lambda outcome, names: (f"again: {command}",))
    with open_session(options, "reset", steps) as session:
        run = execute.run(session, steps, Selection(limit=tuple(dict.fromkeys((session.site.first.name, *names)))))
        if dry_run:
            execute.plan(session, run, diff=False)
        execute.apply(session, run, errand, ask=not yes)
