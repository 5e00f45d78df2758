"""What a pod writes to an NFS volume on one worker, pods on other workers and the server itself read at once."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from provisioner.checks import claims, pods, restore, shared_log, volume_files
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, skipped, wait_for
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from provisioner.site import Site
from provisioner.text import join_words

WORKLOAD = "shared-volume"
TOO_LARGE = "shared-volume-too-large"


@dataclass(frozen=True)
class Seen:
    """The Deployment's pods, one ready pod for each node that has one, and how many pods there should be."""

    pods: tuple[Object, ...]
    places: Mapping[str, Object]
    wanted: int


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for the volume, one for each worker that reads what the first wrote, then those on the lines
    that all pods write, and on a claim that no volume is large enough for.
    """
    cluster = context.cluster
    _take_back(context)  # what a run that was killed has left
    seen = wait_for(
        context,
        f"every {WORKLOAD} pod to be ready",
        lambda: look(cluster),
        lambda now: sum(map(pods.ready, now.pods)) >= max(now.wanted, 1),
        timeout=120,
    )
    claim = claims.judge(context, WORKLOAD)
    yield claim
    if not claim.ok:  # without the volume no pod can start, and that has been said
        return
    problem = _places_problem(context, seen)
    if problem:
        yield problem
        return
    token = secrets.token_hex(16)
    path = volume_files.path(token)
    (writer_node, writer), *readers = seen.places.items()
    try:
        volume_files.write(cluster, writer, path, token)
    except ClusterError as error:
        yield failed(
            "STORAGE_WRITE_FAILED",
            f"NFS from {writer_node}",
            f"cannot be written from pod {writer['metadata']['name']}: {error}",
            f"provisioner ssh {writer_node} -- mount -t nfs4; and look at the export's owner and mode on the server",
            error.tail,
            *pods.explain(cluster, writer),
        )
        return
    with restore.restoring(
        cluster,
        f"{path} to be removed",
        lambda: volume_files.remove(cluster, writer["metadata"]["name"]),
        lambda: f"{path} may be left on the volume of {WORKLOAD}",
        "the next provisioner verify storage removes it",
    ):
        for node, reader in readers or [(writer_node, writer)]:
            yield _read_back(cluster, token, path, (writer_node, node), reader)
    own = [pod for pod in seen.pods if pods.ready(pod)]
    yield from shared_log.judge(context, WORKLOAD, own, writer)
    yield _large(context)


def _large(context: Context) -> Finding:
    class_ = context.site.nfs.class_
    if claims.storage_class(context.cluster, class_) is None:
        return failed(
            "STORAGE_NO_CLASS",
            f"StorageClass {class_}",
            "does not exist: no new claim that names it is served",
            "provisioner apply",
            *context.cluster.events("default", class_)[-pods.EVENTS :],
        )
    if context.site.nfs.provisioner == "csi":
        return skipped(
            "a claim that is too large",
            "not tried: csi-driver-nfs makes a volume of any size, so that no claim is too large for it",
        )
    return _too_large(context)


def _too_large(context: Context) -> Finding:
    """Claim more than any volume has, see it wait and say why, and take the claim back.

    That a claim waits shows something about its size only while a smaller one would not: a volume must be free.
    """
    cluster, class_ = context.cluster, context.site.nfs.class_
    size = "1Pi"
    subject = f"claim {NAMESPACE}/{TOO_LARGE} for {size}"
    volumes = wait_for(
        context,
        f"the volumes of class {class_} to be free or claimed",
        lambda: claims.volumes_of(cluster, class_),
        lambda every: all(one.get("status", {}).get("phase", "Pending") != "Pending" for one in every),
        timeout=30,
    )
    open_ = [one["metadata"]["name"] for one in claims.free(volumes)]
    if not open_:
        return skipped(
            subject,
            f"not tried: none of the {len(volumes)} volumes of class {class_} is free, so that any claim waits",
        )
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": class_,
        "resources": {"requests": {"storage": size}},
    }
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec}
    with restore.restoring(
        cluster,
        f"claim {TOO_LARGE} to be taken back",
        lambda: cluster.delete("PersistentVolumeClaim", TOO_LARGE, NAMESPACE),
        lambda: f"claim {NAMESPACE}/{TOO_LARGE} may be left",
        "the next provisioner verify storage takes it back",
    ):
        made = cluster.apply(claim | {"metadata": {"name": TOO_LARGE, "namespace": NAMESPACE}})
        events = wait_for(
            context,
            f"the API to say why {TOO_LARGE} waits",
            lambda: _said_of(cluster, made),
            bool,
            timeout=60,
        )
        live = cluster.get("PersistentVolumeClaim", TOO_LARGE, NAMESPACE) or {}
    phase = live.get("status", {}).get("phase", "new")
    sizes = sorted({volume["spec"]["capacity"]["storage"] for volume in volumes})
    seen = f"the volumes have {join_words(sizes)} each"
    if phase == "Pending" and events:
        return passed(
            "STORAGE_TOO_LARGE",
            subject,
            f"stays Pending, as it should, though {_some(open_)} free: {seen}, and it says: {events[-1]}",
        )
    return failed(
        "STORAGE_TOO_LARGE_NOT_TOLD",
        subject,
        f"is {phase}, and should be Pending and say why: {seen}",
        "kubectl get pv,storageclass; kubectl -n kube-system logs -l component=kube-controller-manager",
        *events,
    )


def _some(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"


def _take_back(context: Context) -> None:
    """Take back the claim that a run which was killed left behind."""
    cluster = context.cluster
    if cluster.get("PersistentVolumeClaim", TOO_LARGE, NAMESPACE) is None:
        return
    cluster.delete("PersistentVolumeClaim", TOO_LARGE, NAMESPACE)
    wait_for(
        context,
        f"the claim {TOO_LARGE} of an earlier run to go",
        lambda: cluster.get("PersistentVolumeClaim", TOO_LARGE, NAMESPACE),
        lambda claim: claim is None,
        timeout=60,
    )


def _said_of(cluster: Cluster, claim: Object) -> list[str]:
    """Return the events about this very claim: those about the claim that an earlier run made last for an hour."""
    found = cluster.list("Event", NAMESPACE, fields=f"involvedObject.uid={claim['metadata']['uid']}")
    return [f"{one.get('type', '')} {one.get('reason', '')}: {one.get('message', '')}" for one in found]


def _read_back(cluster: Cluster, token: str, path: str, nodes: tuple[str, str], reader: Object) -> Finding:
    written_on, read_on = nodes
    subject = f"NFS from {written_on} to {read_on}"
    try:
        seen = volume_files.read(cluster, reader, path)
        tail = f"expected {token}, read {seen!r}"
    except ClusterError as error:
        seen, tail = "", f"{error}\n{error.tail}"
    if seen == token:
        how = "on another node" if written_on != read_on else "on the same node: there is no second one with a pod"
        return passed("STORAGE_SHARED", subject, f"works: what one pod wrote, another read {how}")
    return failed(
        "STORAGE_READ_DIFFERS",
        subject,
        f"does not work: pod {reader['metadata']['name']} does not read what was written",
        f"provisioner ssh {read_on} -- mount -t nfs4",
        tail,
        *pods.explain(cluster, reader),
    )


def _places_problem(context: Context, seen: Seen) -> Finding | None:
    cluster = context.cluster
    workers = [host.name for host in context.site.hosts if host.is_worker]
    subject = f"Deployment {NAMESPACE}/{WORKLOAD}"
    describe = f"kubectl -n {NAMESPACE} describe pods -l app.kubernetes.io/name={WORKLOAD}"
    shown = join_words(seen.places) or "no node"
    ready = sum(map(pods.ready, seen.pods))
    if ready < max(seen.wanted, 1):
        waiting = [pod for pod in seen.pods if not pods.ready(pod)]
        why = "; ".join(f"{pod['spec'].get('nodeName', 'no node')}: {pods.why_not_ready(pod)}" for pod in waiting)
        return failed(
            "STORAGE_NO_PODS",
            subject,
            f"has {ready} of {max(seen.wanted, 1)} pods ready{f' ({why})' if why else ''}",
            describe if seen.wanted else "provisioner apply",
            *(line for pod in waiting[:1] for line in pods.explain(cluster, pod)),
        )
    if len(seen.places) < 2 <= len(workers):
        return failed(
            "STORAGE_ONE_NODE",
            subject,
            f"has pods on {shown} only, and hosts.toml has {len(workers)} workers: nothing is proven between two",
            f"look at the nodes' taints: kubectl describe nodes; then kubectl -n {NAMESPACE} delete pods -l "
            f"app.kubernetes.io/name={WORKLOAD}",
            *(line for node in workers if node not in seen.places for line in cluster.events("default", node)[-2:]),
            *(line for pod in seen.pods[:2] for line in pods.explain(cluster, pod)),
        )
    return None


def look(cluster: Cluster) -> Seen:
    """Read the shared volume's Deployment and its pods, but for those that are being deleted."""
    workload = cluster.get("Deployment", WORKLOAD, NAMESPACE, "apps/v1") or {}
    found = cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={WORKLOAD}")
    own = [pod for pod in found if not pods.terminating(pod)]
    return Seen(tuple(own), pods.by_node(own), int(workload.get("spec", {}).get("replicas", 0)))


def _skip_reason(site: Site) -> str:
    if not site.nfs.enabled:
        return "[nfs] is not enabled"
    if WORKLOAD not in site.workloads.enabled:
        return f'[workloads] enabled has no "{WORKLOAD}", whose pods would write and read'
    return ""


CHECK = Check(
    "storage", "What is written through NFS on one worker is read on the others and on the server.", run, _skip_reason
)
