"""What a pod writes to an NFS volume on one worker, a pod on every other worker reads at once."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.checks import pods
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, bad, good, settle
from provisioner.errors import ClusterError

if TYPE_CHECKING:
    from provisioner.kube import Cluster
    from provisioner.objects import Object
    from provisioner.site import Site

WORKLOAD = "shared-volume"
FOLDER = "/data"
NFS_DRIVER = "nfs.csi.k8s.io"


@dataclass(frozen=True)
class Seen:
    """The DaemonSet's pods, one ready pod for each node that has one, and how many nodes should have one."""

    pods: tuple[Object, ...]
    places: Mapping[str, Object]
    wanted: int


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for the volume, then one for each worker that reads what the first wrote."""
    cluster = context.cluster
    seen = settle(
        context,
        f"a ready {WORKLOAD} pod on every worker",
        lambda: look(cluster),
        lambda now: len(now.places) >= max(now.wanted, 1),
        timeout=120,
    )
    claim = _claim(cluster)
    yield claim
    if not claim.ok:  # without the volume no pod can start, and that has been said
        return
    workers = sum(host.is_worker for host in context.site.hosts)
    problem = _places_problem(cluster, seen, workers)
    if problem:
        yield problem
        return
    (writer_node, writer), *readers = seen.places.items()
    token = secrets.token_hex(16)
    path = f"{FOLDER}/.verify-{token[:8]}"
    try:
        write(cluster, writer, path, token)
    except ClusterError as error:
        yield bad(
            "STORAGE_WRITE_FAILED",
            f"NFS from {writer_node}",
            f"cannot be written from pod {writer['metadata']['name']}: {error}",
            f"provisioner ssh {writer_node} -- mount -t nfs4; and look at the export's owner and mode on the server",
            error.tail,
        )
        return
    try:
        for node, reader in readers or [(writer_node, writer)]:
            yield _read_back(cluster, token, path, (writer_node, node), reader)
    finally:
        cluster.exec(NAMESPACE, writer["metadata"]["name"], ["rm", "-f", path])


def _read_back(cluster: Cluster, token: str, path: str, nodes: tuple[str, str], reader: Object) -> Finding:
    written_on, read_on = nodes
    subject = f"NFS from {written_on} to {read_on}"
    try:
        seen = read(cluster, reader, path)
        tail = f"expected {token}, read {seen!r}"
    except ClusterError as error:
        seen, tail = "", f"{error}\n{error.tail}"
    if seen == token:
        how = "on another node" if written_on != read_on else "on the same node: there is no second one with a pod"
        return good("STORAGE_SHARED", subject, f"works: what one pod wrote, another read {how}")
    return bad(
        "STORAGE_READ_DIFFERS",
        subject,
        f"does not work: pod {reader['metadata']['name']} does not read what was written",
        f"provisioner ssh {read_on} -- mount -t nfs4",
        tail,
    )


def _places_problem(cluster: Cluster, seen: Seen, workers: int) -> Finding | None:
    subject = f"DaemonSet {NAMESPACE}/{WORKLOAD}"
    describe = f"kubectl -n {NAMESPACE} describe pods -l app.kubernetes.io/name={WORKLOAD}"
    shown = " and ".join(seen.places) or "no node"
    if len(seen.places) < max(seen.wanted, 1):
        waiting = [pod for pod in seen.pods if not pods.ready(pod)]
        why = "; ".join(f"{pod['spec'].get('nodeName', 'no node')}: {pods.trouble(pod)}" for pod in waiting)
        return bad(
            "STORAGE_NO_PODS",
            subject,
            f"has a ready pod on {shown}, of {max(seen.wanted, 1)} nodes{f' ({why})' if why else ''}",
            describe if seen.wanted else "provisioner apply",
            *(line for pod in waiting[:1] for line in pods.explain(cluster, pod)),
        )
    if len(seen.places) < 2 <= workers:
        return bad(
            "STORAGE_ONE_NODE",
            subject,
            f"has a pod on {shown} only, and hosts.toml has {workers} workers: nothing is proven between two",
            f"look at the nodes' taints: kubectl describe nodes; {describe}",
        )
    return None


def _claim(cluster: Cluster) -> Finding:
    claim = cluster.get("PersistentVolumeClaim", WORKLOAD, NAMESPACE)
    subject = f"claim {NAMESPACE}/{WORKLOAD}"
    if claim is None:
        return bad("STORAGE_NO_CLAIM", subject, "does not exist", "provisioner apply")
    phase = claim.get("status", {}).get("phase", "new")
    if phase != "Bound":
        return bad(
            "STORAGE_NOT_BOUND",
            subject,
            f"is {phase}: no volume fits it",
            "kubectl get pv: a free one of its class and size is needed ([nfs] volumes and size in hosts.toml)",
            *cluster.events(NAMESPACE, WORKLOAD)[-pods.EVENTS :],
        )
    name = claim["spec"]["volumeName"]
    place = nfs_source(cluster.get("PersistentVolume", name) or {})
    if not place:
        return bad(
            "STORAGE_NOT_NFS",
            subject,
            f"is bound to {name}, which is not on NFS",
            f"look at its class: kubectl -n {NAMESPACE} get pvc {WORKLOAD} -o yaml",
        )
    return good("STORAGE_BOUND", subject, f"is bound to {name} ({place})")


def nfs_source(volume: Object) -> str:
    """Return "server:path" of a volume on NFS, static or by the CSI driver; "" for any other."""
    spec = volume.get("spec", {})
    if source := spec.get("nfs"):
        return f"{source['server']}:{source['path']}"
    if (csi := spec.get("csi")) and csi.get("driver") == NFS_DRIVER:
        attributes = csi.get("volumeAttributes") or {}
        return f"{attributes.get('server', '')}:{attributes.get('share', '')}"
    return ""


def look(cluster: Cluster) -> Seen:
    """Read the shared volume's DaemonSet and its pods."""
    workload = cluster.get("DaemonSet", WORKLOAD, NAMESPACE, "apps/v1") or {}
    own = cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={WORKLOAD}")
    return Seen(tuple(own), pods.by_node(own), workload.get("status", {}).get("desiredNumberScheduled", 0))


def write(cluster: Cluster, pod: Object, path: str, text: str) -> None:
    """Write a file in a pod; the shell's redirection closes it, and NFS has it on the server by then."""
    command = ["sh", "-c", 'printf %s "$1" > "$2"', "sh", text, path]
    cluster.exec(NAMESPACE, pod["metadata"]["name"], command)


def read(cluster: Cluster, pod: Object, path: str) -> str:
    """Return a file's text as a pod sees it."""
    return cluster.exec(NAMESPACE, pod["metadata"]["name"], ["cat", path])


def _not_for(site: Site) -> str:
    if not site.nfs.enabled:
        return "[nfs] is not enabled"
    if WORKLOAD not in site.workloads.enabled:
        return f'[workloads] enabled has no "{WORKLOAD}", whose pods would write and read'
    return ""


CHECK = Check("storage", "A file written through NFS on one worker is read on the others.", run, _not_for)
