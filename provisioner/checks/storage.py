"""What a pod writes to an NFS volume on one worker, pods on other workers and the server itself read at once."""

from __future__ import annotations

import secrets
import shlex
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
LINES = "lines"  # the file that every pod of the workload adds lines to
TOO_LARGE = "shared-volume-too-large"
NFS_DRIVER = "nfs.csi.k8s.io"


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
    seen = settle(
        context,
        f"every {WORKLOAD} pod to be ready",
        lambda: look(cluster),
        lambda now: sum(map(pods.ready, now.pods)) >= max(now.wanted, 1),
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
    yield from _lines(context, seen)
    if context.site.nfs.provisioner == "static":
        yield _too_large(context)


def _lines(context: Context, seen: Seen) -> Iterator[Finding]:
    """Yield whether every pod's lines are in the one file: seen from a pod, then on the server."""
    names = {pod["metadata"]["name"] for pod in seen.pods if pods.ready(pod)}
    writer = next(iter(seen.places.values()))
    tail = f"tail -n 500 {FOLDER}/{LINES}"
    command = ["sh", "-c", tail]
    text = settle(
        context,
        f"a line of every {WORKLOAD} pod in {FOLDER}/{LINES}",
        lambda: context.cluster.exec(NAMESPACE, writer["metadata"]["name"], command),
        lambda now: not names - writers(now),
        timeout=60,
    )
    yield _judge_lines(f"{FOLDER}/{LINES}", f"in pod {writer['metadata']['name']}", names, text)
    claim = context.cluster.get("PersistentVolumeClaim", WORKLOAD, NAMESPACE) or {"spec": {}}
    place = nfs_source(context.cluster.get("PersistentVolume", claim["spec"].get("volumeName", "")) or {})
    server = context.hosts.get(context.site.nfs_server.name)
    if server is not None and place:
        path = f"{place.partition(':')[2]}/{LINES}"
        said = server.run(f"tail -n 500 {shlex.quote(path)}", check=False)
        yield _judge_lines(path, f"on the server {server.name}", names, said.stdout or said.stderr)


def _judge_lines(path: str, where: str, names: set[str], text: str) -> Finding:
    missing = names - writers(text)
    if not missing:
        return good("STORAGE_LINES", f"{path} {where}", f"has lines of {' and '.join(sorted(names))}")
    return bad(
        "STORAGE_LINES_MISSING",
        f"{path} {where}",
        f"has no line of {' and '.join(sorted(missing))}",
        f"kubectl -n {NAMESPACE} logs -l app.kubernetes.io/name={WORKLOAD}",
        *text.splitlines()[-pods.LOG_LINES :],
    )


def writers(text: str) -> set[str]:
    """Return who wrote the lines of the file: each is a time and a pod's name."""
    return {words[1] for line in text.splitlines() if len(words := line.split()) == 2}


def _too_large(context: Context) -> Finding:
    """Claim more than any volume has, see it wait and say why, and take the claim back."""
    cluster = context.cluster
    size = "1Pi"
    subject = f"claim {NAMESPACE}/{TOO_LARGE} for {size}"
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": context.site.nfs.class_,
        "resources": {"requests": {"storage": size}},
    }
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec}
    try:
        made = cluster.apply(claim | {"metadata": {"name": TOO_LARGE, "namespace": NAMESPACE}})
        events = settle(
            context,
            f"the API to say why {TOO_LARGE} waits",
            lambda: _said_of(cluster, made),
            bool,
            timeout=60,
        )
        live = cluster.get("PersistentVolumeClaim", TOO_LARGE, NAMESPACE) or {}
    finally:
        cluster.delete("PersistentVolumeClaim", TOO_LARGE, NAMESPACE)
    phase = live.get("status", {}).get("phase", "new")
    sizes = sorted({volume["spec"]["capacity"]["storage"] for volume in cluster.list("PersistentVolume")})
    if phase == "Pending" and events:
        return good(
            "STORAGE_TOO_LARGE",
            subject,
            f"stays Pending, as it should: the volumes have {' and '.join(sizes)} each, and it says: {events[-1]}",
        )
    return bad(
        "STORAGE_TOO_LARGE_NOT_TOLD",
        subject,
        f"is {phase}, and should be Pending and say why: the volumes have {' and '.join(sizes)} each",
        "kubectl get pv,storageclass; kubectl -n kube-system logs -l component=kube-controller-manager",
        *events,
    )


def _said_of(cluster: Cluster, claim: Object) -> list[str]:
    """Return the events about this very claim: those about the claim that an earlier run made last for an hour."""
    found = cluster.list("Event", NAMESPACE, fields=f"involvedObject.uid={claim['metadata']['uid']}")
    return [f"{one.get('type', '')} {one.get('reason', '')}: {one.get('message', '')}" for one in found]


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
        *pods.explain(cluster, reader),
    )


def _places_problem(cluster: Cluster, seen: Seen, workers: int) -> Finding | None:
    subject = f"Deployment {NAMESPACE}/{WORKLOAD}"
    describe = f"kubectl -n {NAMESPACE} describe pods -l app.kubernetes.io/name={WORKLOAD}"
    shown = " and ".join(seen.places) or "no node"
    ready = sum(map(pods.ready, seen.pods))
    if ready < max(seen.wanted, 1):
        waiting = [pod for pod in seen.pods if not pods.ready(pod)]
        why = "; ".join(f"{pod['spec'].get('nodeName', 'no node')}: {pods.trouble(pod)}" for pod in waiting)
        return bad(
            "STORAGE_NO_PODS",
            subject,
            f"has {ready} of {max(seen.wanted, 1)} pods ready{f' ({why})' if why else ''}",
            describe if seen.wanted else "provisioner apply",
            *(line for pod in waiting[:1] for line in pods.explain(cluster, pod)),
        )
    if len(seen.places) < 2 <= workers:
        return bad(
            "STORAGE_ONE_NODE",
            subject,
            f"has pods on {shown} only, and hosts.toml has {workers} workers: nothing is proven between two",
            f"look at the nodes' taints: kubectl describe nodes; then kubectl -n {NAMESPACE} delete pods -l "
            f"app.kubernetes.io/name={WORKLOAD}",
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
        folder = attributes.get("subdir") or volume["metadata"]["name"]
        return f"{attributes.get('server', '')}:{attributes.get('share', '').rstrip('/')}/{folder}"
    return ""


def look(cluster: Cluster) -> Seen:
    """Read the shared volume's Deployment and its pods, but for those that are being deleted."""
    workload = cluster.get("Deployment", WORKLOAD, NAMESPACE, "apps/v1") or {}
    found = cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={WORKLOAD}")
    own = [pod for pod in found if not pods.leaving(pod)]
    return Seen(tuple(own), pods.by_node(own), int(workload.get("spec", {}).get("replicas", 0)))


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


CHECK = Check(
    "storage", "What is written through NFS on one worker is read on the others and on the server.", run, _not_for
)
