"""Scaling the StatefulSet to 0 and back, for the statefulset check: volumes stay, pods return in order with data."""

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
class ScaleUp:
    """What was observed, read by read, while the pods were created.

    order: their names in the order of creation. early: a pod that existed before its predecessor was ready.
    """

    own: dict[str, Object] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    early: str = ""

    def observe(self, own: Mapping[str, Object], names: list[str]) -> ScaleUp:
        """Add one read of the pods; `names` are in their order."""
        self.own = dict(own)
        self.order += [name for name in names if name in own and name not in self.order]
        for before, name in pairwise(names):
            if name in own and not pods.ready(own.get(before, {})) and not self.early:
                self.early = f"{name} existed before {before} was ready"
        return self


def judge(
    context: Context, scale: Callable[[int], None], volumes: Mapping[str, tuple[str, str]], path: str, token: str
) -> Iterator[Finding]:
    """Scale to 0 and check the claims; scale back, and check order, volumes and data.

    scale: sets the number of replicas. volumes: claim and volume by pod. path: where each pod wrote token and name.
    """
    names = [*volumes]
    scale(0)
    remaining = wait_for(
        context,
        f"the pods of {WORKLOAD} to be deleted",
        lambda: statefulset_pods.own(context),
        lambda own: not own,
        timeout=60 * len(names),
    )
    if remaining:
        name, pod = next(iter(remaining.items()))
        yield statefulset_pods.not_ready(
            context, "STATEFULSET_STAYS", "was not deleted when the StatefulSet was scaled to 0", name, pod
        )
        return
    bound = {name: (claim, claims.bound_volume(context, claim)) for name, (claim, _) in volumes.items()}
    if bound != volumes:
        yield failed(
            "STATEFULSET_CLAIM_GONE",
            SUBJECT,
            "was scaled to 0, and not every claim stayed bound to its volume: "
            + ", ".join(f"{claim} to {volume or 'none'}" for claim, volume in bound.values()),
            f"kubectl -n {NAMESPACE} get pvc",
            *context.cluster.events(NAMESPACE)[-pods.EVENTS :],
        )
        return
    shown = join_words(claim for claim, _ in volumes.values())
    yield passed("STATEFULSET_KEEPS_VOLUMES", SUBJECT, f"was scaled to 0, and {shown} stayed bound to their volumes")
    scale(len(names))
    observed = ScaleUp()
    wait_for(
        context,
        f"{len(names)} pods of {WORKLOAD}, one after the other",
        lambda: observed.observe(statefulset_pods.own(context), names),
        lambda observed: all(pods.ready(observed.own.get(name, {})) for name in names),
        timeout=120 * len(names),
        pause=1,
    )
    yield from _scaled_up(context, observed, volumes, path, token)


def _scaled_up(
    context: Context, observed: ScaleUp, volumes: Mapping[str, tuple[str, str]], path: str, token: str
) -> Iterator[Finding]:
    names = [*volumes]
    for name in names:
        pod = observed.own.get(name, {})
        if not pods.ready(pod):
            yield statefulset_pods.not_ready(
                context, "STATEFULSET_NOT_BACK", "is not ready after scaling up", name, pod
            )
            return
    shown = ", ".join(observed.order)
    if observed.early or observed.order != names:
        yield failed(
            "STATEFULSET_DISORDER",
            SUBJECT,
            f"created its pods in the order {shown}" + (f": {observed.early}" if observed.early else ""),
            f"kubectl -n {NAMESPACE} get statefulset {WORKLOAD} -o yaml; podManagementPolicy should be OrderedReady",
            *context.cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
        )
    else:
        yield passed("STATEFULSET_ORDER", SUBJECT, f"created {shown} in this order, each after the last was ready")
    for name in names:
        mismatch = claims.data_mismatch(context, observed.own[name], path, f"{token} {name}")
        bound = claims.claim_and_volume(context, observed.own[name])
        if bound != volumes[name]:
            yield claims.other_volume(context, observed.own[name], "was created again", bound, volumes[name])
            return
        if mismatch:
            yield claims.lost_data(context, observed.own[name], "was created again with", bound[1], mismatch)
            return
    yield passed("STATEFULSET_FINDS_VOLUMES", SUBJECT, "was scaled up, and each pod has its volume and its data again")
