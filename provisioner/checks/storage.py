"""What a pod writes to an NFS volume on one worker can be read on the others and on the server."""

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
class SharedVolumePods:
    """The Deployment's pods, one ready pod by node, and how many pods there should be."""

    pods: tuple[Object, ...]
    by_node: Mapping[str, Object]
    wanted: int

    @property
    def ready(self) -> list[Object]:
        """Return the pods that are ready."""
        return [pod for pod in self.pods if pods.ready(pod)]

    @property
    def complete(self) -> bool:
        """Tell whether all wanted pods are ready."""
        return len(self.ready) >= max(self.wanted, 1)


def run(context: Context) -> Iterator[Finding]:
    """Yield findings on the claim, on each worker reading what the first one wrote, on the lines of all pods in one
    file, and on a claim too large for any volume.
    """
    cluster = context.cluster
    _delete_too_large(context)  # left by a run that was killed
    shared = wait_for(
        context,
        f"every {WORKLOAD} pod to be ready",
        lambda: read(cluster),
        lambda shared: shared.complete,
        timeout=120,
    )
    claim = claims.judge(context, WORKLOAD)
    yield claim
    if not claim.ok:  # no pod starts without the volume, so a finding on them would add nothing
        return
    problem = _placement_problem(context, shared)
    if problem:
        yield problem
        return
    token = secrets.token_hex(16)
    path = volume_files.path(token)
    (writer_node, writer), *readers = shared.by_node.items()
    try:
        volume_files.write(cluster, writer, path, token)
    except ClusterError as error:
        yield failed(
            "STORAGE_WRITE_FAILED",
            f"NFS from {writer_node}",
            f"cannot be written from pod {writer['metadata']['name']}: {error}",
            f"provisioner ssh {writer_node} -- mount -t nfs4; check owner and mode of the export on the server",
            error.tail,
            *pods.explain(cluster, writer),
        )
        return
    with restore.restoring(
        cluster,
        f"{path} to be removed",
        lambda: volume_files.remove(cluster, writer["metadata"]["name"]),
        lambda: f"{path} may remain on the volume of {WORKLOAD}",
        "the next provisioner verify storage removes it",
    ):
        for node, reader in readers or [(writer_node, writer)]:
            yield _read_back(cluster, token, path, (writer_node, node), reader)
    yield from shared_log.judge(context, WORKLOAD, shared.ready, writer)
    yield _large_claim(context)


def _large_claim(context: Context) -> Finding:
    class_ = context.site.nfs.class_
    if claims.storage_class(context.cluster, class_) is None:
        return failed(
            "STORAGE_NO_CLASS",
            f"StorageClass {class_}",
            "does not exist; new claims that name it stay Pending",
            "provisioner apply",
            *context.cluster.events("default", class_)[-pods.EVENTS :],
        )
    if context.site.nfs.provisioner == "csi":
        return skipped(
            "a claim that is too large",
            "was not tried: csi-driver-nfs provisions volumes of any size",
        )
    return _too_large(context)


def _too_large(context: Context) -> Finding:
    """Create a claim larger than any volume, check that it stays Pending with a reason, and delete it.

    That proves something about its size only while a smaller claim would be bound: a volume must be available.
    """
    cluster, class_ = context.cluster, context.site.nfs.class_
    size = "1Pi"
    subject = f"claim {NAMESPACE}/{TOO_LARGE} for {size}"
    volumes = wait_for(
        context,
        f"the volumes of class {class_} to be Available or Bound",
        lambda: claims.volumes(cluster, class_),
        lambda every: all(one.get("status", {}).get("phase", "Pending") != "Pending" for one in every),
        timeout=30,
    )
    available = [one["metadata"]["name"] for one in claims.available(volumes)]
    if not available:
        return skipped(
            subject,
            f"was not tried: none of the {len(volumes)} volumes of class {class_} is available",
        )
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": class_,
        "resources": {"requests": {"storage": size}},
    }
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec}
    with restore.restoring(
        cluster,
        f"claim {TOO_LARGE} to be deleted",
        lambda: cluster.delete("PersistentVolumeClaim", TOO_LARGE, NAMESPACE),
        lambda: f"claim {NAMESPACE}/{TOO_LARGE} may remain",
        "the next provisioner verify storage deletes it",
    ):
        created = cluster.apply(claim | {"metadata": {"name": TOO_LARGE, "namespace": NAMESPACE}})
        events = wait_for(
            context,
            f"an event on why {TOO_LARGE} is Pending",
            lambda: _events_of(cluster, created),
            bool,
            timeout=60,
        )
        live = cluster.get("PersistentVolumeClaim", TOO_LARGE, NAMESPACE) or {}
    phase = live.get("status", {}).get("phase", "new")
    sizes = sorted({volume["spec"]["capacity"]["storage"] for volume in volumes})
    capacity = f"the volumes have {join_words(sizes)} each"
    if phase == "Pending" and events:
        return passed(
            "STORAGE_TOO_LARGE",
            subject,
            f"stays Pending, as it should, although {_some(available)} available ({capacity}): {events[-1]}",
        )
    return failed(
        "STORAGE_TOO_LARGE_NOT_TOLD",
        subject,
        f"is {phase}, and should be Pending with an event that says why ({capacity})",
        "kubectl get pv,storageclass; kubectl -n kube-system logs -l component=kube-controller-manager",
        *events,
    )


def _some(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"


def _delete_too_large(context: Context) -> None:
    """Delete the claim that a killed run has left."""
    cluster = context.cluster
    if cluster.get("PersistentVolumeClaim", TOO_LARGE, NAMESPACE) is None:
        return
    cluster.delete("PersistentVolumeClaim", TOO_LARGE, NAMESPACE)
    wait_for(
        context,
        f"claim {TOO_LARGE} of an earlier run to be deleted",
        lambda: cluster.get("PersistentVolumeClaim", TOO_LARGE, NAMESPACE),
        lambda claim: claim is None,
        timeout=60,
    )


def _events_of(cluster: Cluster, claim: Object) -> list[str]:
    """Return the events about this claim by its uid: those about the claim of an earlier run last for an hour."""
    found = cluster.list("Event", NAMESPACE, fields=f"involvedObject.uid={claim['metadata']['uid']}")
    return [f"{one.get('type', '')} {one.get('reason', '')}: {one.get('message', '')}" for one in found]


def _read_back(cluster: Cluster, token: str, path: str, nodes: tuple[str, str], reader: Object) -> Finding:
    written_on, read_on = nodes
    subject = f"NFS from {written_on} to {read_on}"
    try:
        text = volume_files.read(cluster, reader, path)
        evidence = f"expected {token}, read {text!r}"
    except ClusterError as error:
        text, evidence = "", f"{error}\n{error.tail}"
    if text == token:
        where = "on another node" if written_on != read_on else "on the same node, because no other node has a pod"
        return passed("STORAGE_SHARED", subject, f"works: what one pod wrote, another one read {where}")
    return failed(
        "STORAGE_READ_DIFFERS",
        subject,
        f"does not work: pod {reader['metadata']['name']} does not read what was written",
        f"provisioner ssh {read_on} -- mount -t nfs4",
        evidence,
        *pods.explain(cluster, reader),
    )


def _placement_problem(context: Context, shared: SharedVolumePods) -> Finding | None:
    cluster = context.cluster
    workers = [host.name for host in context.site.hosts if host.is_worker]
    subject = f"Deployment {NAMESPACE}/{WORKLOAD}"
    describe = f"kubectl -n {NAMESPACE} describe pods -l app.kubernetes.io/name={WORKLOAD}"
    if not shared.complete:
        waiting = [pod for pod in shared.pods if not pods.ready(pod)]
        why = "; ".join(f"{pod['spec'].get('nodeName', 'no node')}: {pods.why_not_ready(pod)}" for pod in waiting)
        return failed(
            "STORAGE_NO_PODS",
            subject,
            f"has {len(shared.ready)} of {max(shared.wanted, 1)} pods ready{f' ({why})' if why else ''}",
            describe if shared.wanted else "provisioner apply",
            *(line for pod in waiting[:1] for line in pods.explain(cluster, pod)),
        )
    if len(shared.by_node) < 2 <= len(workers):
        return failed(
            "STORAGE_ONE_NODE",
            subject,
            f"has pods on {join_words(shared.by_node)} only, although hosts.toml has {len(workers)} workers",
            f"kubectl describe nodes shows their taints; then kubectl -n {NAMESPACE} delete pods -l "
            f"app.kubernetes.io/name={WORKLOAD}",
            *(line for node in workers if node not in shared.by_node for line in cluster.events("default", node)[-2:]),
            *(line for pod in shared.pods[:2] for line in pods.explain(cluster, pod)),
        )
    return None


def read(cluster: Cluster) -> SharedVolumePods:
    """Return the shared volume's Deployment and its pods, without those that are terminating."""
    workload = cluster.get("Deployment", WORKLOAD, NAMESPACE, "apps/v1") or {}
    found = cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={WORKLOAD}")
    own = [pod for pod in found if not pods.terminating(pod)]
    return SharedVolumePods(tuple(own), pods.ready_by_node(own), int(workload.get("spec", {}).get("replicas", 0)))


def _skip_reason(site: Site) -> str:
    if not site.nfs.enabled:
        return "[nfs] is not enabled"
    if WORKLOAD not in site.workloads.enabled:
        return f'[workloads] enabled has no "{WORKLOAD}", whose pods write and read'
    return ""


CHECK = Check(
    "storage",
    "What is written through NFS on one worker can be read on the others and on the server.",
    run,
    _skip_reason,
)
