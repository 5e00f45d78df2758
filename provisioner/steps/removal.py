"""Put drain, reset_node and delete_node in order for `node remove`, `node rebuild` and `reset`.

Also refuse nodes that must not be removed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from provisioner.engine import Step
from provisioner.errors import ProvisionerError
from provisioner.site import Site
from provisioner.steps import delete_node, drain, l2_proof, reset_node, successors

# What these steps see on a node that is about to be reset is not what they will find; a plan reports them as waiting.
_UNDONE_BY_RESET = ("kubernetes", "vip", "kubeadm-files", "join")
PROOFS = (successors.STEP, l2_proof.STEP)  # what is judged after pods had to move


def remove(name: str, *, gone: bool = False) -> tuple[Step, ...]:
    """Return the steps that remove one node. gone: its machine is off for good, so there is no login to it."""
    if gone:
        return (delete_node.step((name,), gone=True), *PROOFS)
    return (
        drain.step(name, removing=True),
        reset_node.step((name,), after=("drain",)),
        delete_node.step((name,), after=("leave",)),
        *PROOFS,
    )


def rebuild(name: str, apply: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps that remove one node, then those of an apply, which join it again."""
    joining: list[Step] = []
    undone: set[str] = set()
    for step in apply:
        resets = step.name in _UNDONE_BY_RESET
        before = ("leave", "forget") if resets else tuple(name for name in step.after if name in undone)
        if before:
            undone.add(step.name)
        joining.append(replace(step, undone_by=before))
    return (*remove(name)[: -len(PROOFS)], *joining)


def reset(site: Site, names: Collection[str], *, other_cluster: bool = False) -> tuple[Step, ...]:
    """Return the steps that remove hosts without draining them: workers, then control planes, the first one last.

    If all control planes go, so does the API, and there is nothing to delete the nodes from. other_cluster: also nodes
    of another cluster.
    """
    workers = [spec.name for spec in site.workers if spec.name in names]
    planes = [spec.name for spec in reversed(site.control_planes) if spec.name in names]
    resets = [reset_node.step(workers, "reset-workers", removed=names, other_cluster=other_cluster)] if workers else []
    resets += [
        reset_node.step((name,), f"reset-{name}", removed=names, other_cluster=other_cluster) for name in planes
    ]
    if len(planes) == len(site.control_planes):
        return tuple(resets)
    return (*resets, delete_node.step((*workers, *planes), after=tuple(step.name for step in resets)))


def refuse(site: Site, name: str, *, gone: bool, rejoins: bool) -> None:
    """Raise ProvisionerError for a node that the cluster, or access to it, depends on.

    rejoins: its host joins again, with the directories that it exports.
    """
    known = [spec.name for spec in site.hosts]
    if name not in known and not gone:
        raise ProvisionerError(
            f"{site.path} has no host {name}, so there is no way to log in to it",
            "put it back until the node is removed; or use --gone if its machine is off for good",
        )
    if name == site.first.name:
        only = len(site.control_planes) == 1
        raise ProvisionerError(
            f"{name} is the {'only' if only else 'first'} control plane"
            + (": without it there is no cluster" if only else ", through which the others are reached"),
            "provisioner reset destroys the cluster" if only else "put another control plane first in hosts.toml",
        )
    if name == site.nfs_server.name and not rejoins:
        raise ProvisionerError(
            f"{name} is the NFS server: it holds the cluster's volumes",
            "set another server under [nfs], and move the volumes, before you remove it",
        )
