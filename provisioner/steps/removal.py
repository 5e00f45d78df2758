"""Which steps take a node out of the cluster, or all of them, and who may not be taken out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from provisioner.engine import Step
from provisioner.errors import ProvisionerError
from provisioner.site import Site
from provisioner.steps import STEPS, delete_node, drain, l2_proof, reset_node

# Those of the road that would find a leaving node where there is none a moment later: a plan waits with them.
AFTER = ("kubernetes", "join")


def remove(name: str, *, gone: bool = False) -> tuple[Step, ...]:
    """Return the steps that take one node out. gone: its machine is off for good, and nobody logs in to it."""
    if gone:
        return (delete_node.step((name,), gone=True), l2_proof.STEP)
    return (
        drain.step(name, leaves=True),
        reset_node.step((name,), after=("drain",)),
        delete_node.step((name,), after=("leave",)),
        l2_proof.STEP,
    )


def rebuild(name: str) -> tuple[Step, ...]:
    """Return the steps that take one node out, and then the whole road, which joins it anew."""
    road = (replace(step, after=(*step.after, "leave", "forget")) if step.name in AFTER else step for step in STEPS)
    return (*remove(name)[:-1], *road)


def reset(site: Site, names: Collection[str]) -> tuple[Step, ...]:
    """Return the steps that take these hosts out without draining them: workers, then control planes, the first last.

    Where no control plane stays there is no API that would have to forget them.
    """
    workers = [spec.name for spec in site.workers if spec.name in names]
    planes = [spec.name for spec in reversed(site.control_planes) if spec.name in names]
    going = [reset_node.step(workers, "reset-workers", together=names)] if workers else []
    going += [reset_node.step((name,), f"reset-{name}", together=names) for name in planes]
    if len(planes) == len(site.control_planes):
        return tuple(going)
    return (*going, delete_node.step((*workers, *planes), after=tuple(step.name for step in going)))


def refuse(site: Site, name: str, *, gone: bool, stays: bool) -> None:
    """Raise ProvisionerError for a node without which there would be no cluster, or no way to it.

    stays: its host joins again, with what it exports.
    """
    known = [spec.name for spec in site.hosts]
    if name not in known and not gone:
        raise ProvisionerError(
            f"{site.path} has no host {name}, so nobody can log in to it",
            "put it back until it is taken out; or --gone, where its machine is off for good",
        )
    if name == site.first.name:
        only = len(site.control_planes) == 1
        raise ProvisionerError(
            f"{name} is the {'only' if only else 'first'} control plane"
            + (": without it there is no cluster" if only else ", through which the others are reached"),
            "provisioner reset ends the whole cluster" if only else "name another one first in hosts.toml",
        )
    if name == site.nfs_server.name and not stays:
        raise ProvisionerError(
            f"{name} is the NFS server: the cluster's volumes lie there",
            "name another one in [nfs] server, and move them, before it leaves",
        )
