"""A StatefulSet is scaled to none and back: claims and volumes stay, pods come in order and find their data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from provisioner.checks import claims, pods, statefulset_pods
from provisioner.checks.check import NAMESPACE, Context, Finding, failed, passed, wait_for
from provisioner.checks.statefulset_pods import SUBJECT, WORKLOAD
from provisioner.kube import Object
from provisioner.text import join_words


@dataclass
class Watched:
    """What was seen while the pods were made again, look by look.

    order: the names as they appeared. early: a pod that was there while the one before it was not ready.
    """

    own: dict[str, Object] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    early: str = ""

    def note(self, own: Mapping[str, Object], names: list[str]) -> Watched:
        """Take in one look at the pods; `names` in their order."""
        self.own = dict(own)
        self.order += [name for name in names if name in own and name not in self.order]
        for before, name in pairwise(names):
            if name in own and not pods.ready(own.get(before, {})) and not self.early:
                self.early = f"{name} was there before {before} was ready"
        return self


def judge(
    context: Context, scale: Callable[[int], None], volumes: Mapping[str, tuple[str, str]], path: str, token: str
) -> Iterator[Finding]:
    """Scale to none, look at the claims; scale back, watch the order, look at volumes and data.

    scale: sets the number of pods. volumes: claim and volume of each pod. path: where it wrote token and name.
    """
    names = [*volumes]
    scale(0)
    left = wait_for(
        context,
        f"the pods of {WORKLOAD} to go",
        lambda: statefulset_pods.own(context),
        lambda own: not own,
        timeout=60 * len(names),
    )
    if left:
        name, pod = next(iter(left.items()))
        yield statefulset_pods.not_ready(
            context, "STATEFULSET_STAYS", "did not go when the StatefulSet was scaled to 0", name, pod
        )
        return
    kept = {name: (claim, claims.bound_to(context, claim)) for name, (claim, _) in volumes.items()}
    if kept != volumes:
        yield failed(
            "STATEFULSET_CLAIM_GONE",
            SUBJECT,
            "was scaled to 0, and not every claim stayed bound to its volume: "
            + ", ".join(f"{claim} to {volume or 'none'}" for claim, volume in kept.values()),
            f"kubectl -n {NAMESPACE} get pvc",
            *context.cluster.events(NAMESPACE)[-pods.EVENTS :],
        )
        return
    shown = join_words(claim for claim, _ in volumes.values())
    yield passed("STATEFULSET_KEEPS_VOLUMES", SUBJECT, f"was scaled to 0, and {shown} stayed bound to their volumes")
    scale(len(names))
    watched = Watched()
    wait_for(
        context,
        f"{len(names)} pods of {WORKLOAD}, one after the other",
        lambda: watched.note(statefulset_pods.own(context), names),
        lambda seen: all(pods.ready(seen.own.get(name, {})) for name in names),
        timeout=120 * len(names),
        pause=1,
    )
    yield from _made_again(context, watched, volumes, path, token)


def _made_again(
    context: Context, watched: Watched, volumes: Mapping[str, tuple[str, str]], path: str, token: str
) -> Iterator[Finding]:
    names = [*volumes]
    for name in names:
        if not pods.ready(watched.own.get(name, {})):
            pod = watched.own.get(name, {})
            yield statefulset_pods.not_ready(
                context, "STATEFULSET_NOT_BACK", "did not come back after scaling out", name, pod
            )
            return
    shown = ", ".join(watched.order)
    if watched.early or watched.order != names:
        yield failed(
            "STATEFULSET_DISORDER",
            SUBJECT,
            f"made its pods in the order {shown}" + (f": {watched.early}" if watched.early else ""),
            f"kubectl -n {NAMESPACE} get statefulset {WORKLOAD} -o yaml: podManagementPolicy is OrderedReady?",
            *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
        )
    else:
        yield passed("STATEFULSET_ORDER", SUBJECT, f"made {shown} in this order, each when the one before was ready")
    for name in names:
        lost = claims.lost(context, watched.own[name], path, f"{token} {name}")
        now = claims.volume_of(context, watched.own[name])
        if now != volumes[name]:
            yield claims.other_volume(context, watched.own[name], "was made again", now, volumes[name])
            return
        if lost:
            yield claims.lost_data(context, watched.own[name], "was made again with its volume", now[1], lost)
            return
    yield passed(
        "STATEFULSET_FINDS_VOLUMES", SUBJECT, "was scaled out again, and each pod found its volume and its data"
    )
