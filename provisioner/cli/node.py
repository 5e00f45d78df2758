"""The commands that take hosts in and out: node drain, uncordon, remove and rebuild, and reset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

from provisioner.cli import completing, execute
from provisioner.cli.execute import FollowUp
from provisioner.cli.groups import Group
from provisioner.cli.options import Options, split_names
from provisioner.cli.session import open_session
from provisioner.engine import Step
from provisioner.engine.runner import Outcome, Selection
from provisioner.site import load_site
from provisioner.steps import STEPS, drain, removal, uncordon

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=Group)
def node() -> None:
    """Drain, uncordon, remove or rebuild a node.

    Each command shows its plan and asks for confirmation. If it is interrupted, run it again: it resumes where it
    stopped.
    """


def _common(function: F) -> F:
    """Add the argument NAME and the options -y and --dry-run to a command."""
    function = click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")(function)
    function = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")(function)
    return click.argument("name", shell_complete=completing.one_of(completing.hosts))(function)


@node.command("drain")
@_common
@click.pass_obj
def drain_command(options: Options, name: str, yes: bool, dry_run: bool) -> None:
    """Cordon a node and evict its pods, like `kubectl drain`.

    Pods of DaemonSets stay. Disruption budgets are respected; a pod that one of them protects is shown. The command
    refuses a node with a pod that no controller would replace, and names the pod.

    Example: provisioner node drain worker1
    """
    follow_up = _follow_up(f"drain {name}", name, f"to schedule pods on it again: provisioner node uncordon {name}")
    _run_steps(options, (drain.step(name), *removal.PROOFS), follow_up, (), yes=yes, dry_run=dry_run)


@node.command("uncordon")
@_common
@click.pass_obj
def uncordon_command(options: Options, name: str, yes: bool, dry_run: bool) -> None:
    """Mark a node as schedulable again.

    Example: provisioner node uncordon worker1
    """
    follow_up = _follow_up(f"uncordon {name}", name, "next: provisioner status")
    _run_steps(options, (uncordon.step(name),), follow_up, (), yes=yes, dry_run=dry_run)


@node.command("remove")
@_common
@click.option("--gone", is_flag=True, help="The machine is switched off for good: do not log in to it.")
@click.pass_obj
def remove_command(options: Options, name: str, yes: bool, dry_run: bool, gone: bool) -> None:
    """Remove a node from the cluster: drain it, run `kubeadm reset` on it, delete it from the API.

    Its packages and images stay. With --gone the node is only deleted from the API, and its pods start elsewhere at
    once: if the machine is merely unreachable and still runs them, it keeps writing to the same volumes.

    Example: provisioner node remove worker2
    """
    removal.refuse(load_site(options.file), name, gone=gone, rejoins=False)
    then = f"next: delete {name} from hosts.toml, or provisioner apply joins it again"
    follow_up = _follow_up(f"remove {name}{' --gone' if gone else ''}", name, then)
    steps = removal.remove(name, gone=gone)
    _run_steps(options, steps, follow_up, () if gone else (name,), yes=yes, dry_run=dry_run)


@node.command("rebuild")
@_common
@click.pass_obj
def rebuild_command(options: Options, name: str, yes: bool, dry_run: bool) -> None:
    """Remove a node from the cluster and join it again; its machine may have been reinstalled in the meantime.

    Drains it, runs `kubeadm reset` on it, deletes it from the API, then does what `provisioner apply` does.

    Example: provisioner node rebuild worker2
    """
    removal.refuse(load_site(options.file), name, gone=False, rejoins=True)
    follow_up = _follow_up(f"rebuild {name}", name, "next: provisioner verify")
    _run_steps(options, removal.rebuild(name, STEPS), follow_up, None, yes=yes, dry_run=dry_run)


def _run_steps(
    options: Options,
    steps: Sequence[Step],
    follow_up: FollowUp,
    hosts: tuple[str, ...] | None,
    *,
    yes: bool,
    dry_run: bool,
) -> None:
    """Plan or apply the steps. hosts: the hosts to log in to besides the first control plane; None for all."""
    if not (yes or dry_run):
        execute.require_terminal()
    with open_session(options, "node", steps) as session:
        limit = () if hosts is None else tuple(dict.fromkeys((session.site.first.name, *hosts)))
        run = execute.new_run(session, steps, Selection(limit=limit))
        if dry_run:
            execute.plan(session, run, diff=False)
        execute.apply(session, run, follow_up, ask=not yes)


def _follow_up(command: str, name: str, on_success: str) -> FollowUp:
    """Return the follow-up of a node command; after a failure it mentions a node that was left cordoned."""

    def on_failure(outcome: Outcome, steps: Sequence[str]) -> Iterator[str]:
        del steps
        yield f"retry: provisioner node {command}"
        if any(change.summary == f"cordon {name}" for _, _, change in outcome.changes) or _drain_failed(outcome):
            yield f"or schedule pods on it again: provisioner node uncordon {name}"

    return FollowUp(f"provisioner node {command}", (on_success,), on_failure)


def _drain_failed(outcome: Outcome) -> bool:
    """Return whether the drain failed; the outcome does not include the changes it made before that."""
    return any(failure.step == "drain" for failure in outcome.failures)


@click.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--limit",
    default="",
    shell_complete=completing.list_of(completing.hosts),
    metavar="HOSTS",
    help="Reset these hosts only, comma-separated.",
)
@click.option("--other-cluster", is_flag=True, help="Also reset hosts that are nodes of another cluster.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@click.pass_obj
def reset(options: Options, *, yes: bool, limit: str, other_cluster: bool, dry_run: bool) -> None:
    """Remove hosts from the cluster without draining them; without --limit, destroy the cluster and its etcd data.

    Runs `kubeadm reset` and deletes what that leaves behind: etcd's data, the pod network, the cluster's packet filter
    rules. Packages, images and files under the NFS export stay. To remove a single node gracefully, use
    `provisioner node remove`. Refuses hosts of another cluster (another CA or name) than hosts.toml describes.

    Example: provisioner reset --limit worker1
    """
    command = "provisioner reset" + (f" --limit {limit}" if limit else "")
    command += " --other-cluster" if other_cluster else ""
    if not (yes or dry_run):
        execute.require_terminal()
    site = load_site(options.file)
    names = [site.host(name).name for name in split_names(limit)] or [spec.name for spec in site.hosts]
    steps = removal.reset(site, names, other_cluster=other_cluster)
    destroyed = {spec.name for spec in site.control_planes} <= set(names)
    then = "creates a new cluster" if destroyed else "joins the hosts of hosts.toml again"
    kept = f"; {site.nfs.export} on {site.nfs_server.name} is kept" if destroyed and site.nfs.enabled else ""
    follow_up = FollowUp(
        command, (f"next: provisioner apply {then}{kept}",), lambda outcome, names: (f"retry: {command}",)
    )
    with open_session(options, "reset", steps) as session:
        run = execute.new_run(session, steps, Selection(limit=tuple(dict.fromkeys((session.site.first.name, *names)))))
        if dry_run:
            execute.plan(session, run, diff=False)
        execute.apply(session, run, follow_up, ask=not yes)
