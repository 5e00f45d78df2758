"""Data outlives its claim and its Deployment: both are deleted, and the file is on the server as it was written.

Tried on a volume that nobody claims, which is free again afterwards; what else lies in its directory is left alone.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator

from provisioner.checks import claims, pods, restore, storage, volume_files
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, skipped, wait_for
from provisioner.errors import ClusterError
from provisioner.kube import Object
from provisioner.site import Site

NAME = "retained-verify"
LABELS = {"app.kubernetes.io/name": NAME}
SUBJECT = f"claim {NAMESPACE}/{NAME}"
FILE = ".verify-retained"
DEPLOYMENT = ("Deployment", NAME, NAMESPACE, "apps/v1")
CLAIM = ("PersistentVolumeClaim", NAME, NAMESPACE, "v1")


def run(context: Context) -> Iterator[Finding]:
    """Yield whether a file is still there when claim and Deployment are not; then give the volume back."""
    if not context.thorough:
        yield skipped("data on a volume", "that it outlives its claim and its Deployment: not tried without --full")
        return
    if context.site.nfs.provisioner != "static":
        yield skipped("data on a volume", "that it outlives its claim: tried with volumes made ahead only")
        return
    model = context.cluster.get("Deployment", storage.WORKLOAD, NAMESPACE, "apps/v1")
    if model is None:
        subject = f"Deployment {NAMESPACE}/{storage.WORKLOAD}"
        yield failed("STORAGE_NO_PODS", subject, "does not exist", "provisioner apply")
        return
    _take_back(context)  # what a run that was killed has left
    if not _free(context):
        yield skipped("data on a volume", "that it outlives its claim: no volume is free to try it on")
        return
    with restore.restoring(
        context.cluster,
        "the volume to be given back",
        lambda: _take_back(context),
        lambda: f"Deployment and claim {NAMESPACE}/{NAME} may be left, and their volume with {FILE}",
        "provisioner verify retained takes them back",
    ):
        yield _tried(context, model)


def _tried(context: Context, model: Object) -> Finding:
    cluster, token = context.cluster, secrets.token_hex(16)
    for wanted in objects(context.site, model):
        cluster.apply(wanted)
    pod = wait_for(context, f"a ready {NAME} pod", lambda: _pod(context), pods.ready, timeout=120)
    if not pods.ready(pod):
        return failed(
            "STORAGE_NO_PODS",
            f"Deployment {NAMESPACE}/{NAME}",
            f"has no ready pod: {pods.why_not_ready(pod) if pod else 'there is none'}",
            f"kubectl -n {NAMESPACE} describe deployment {NAME}",
            *pods.explain_or_events(cluster, pod, NAMESPACE, NAME),
        )
    try:
        volume_files.write(cluster, pod, f"{volume_files.FOLDER}/{FILE}", token)
    except ClusterError as error:
        return failed(
            "STORAGE_WRITE_FAILED",
            SUBJECT,
            f"cannot be written to from pod {NAME}: {error}",
            "look at the owner and mode of the volume's directory on the server",
            error.tail,
            *pods.explain(cluster, pod),
        )
    volume = str((cluster.get(*CLAIM) or {"spec": {}})["spec"].get("volumeName", ""))
    cluster.delete(*DEPLOYMENT)
    cluster.delete(*CLAIM)
    phase = wait_for(
        context,
        f"volume {volume} to be released",
        lambda: _phase(context, volume),
        lambda seen: seen == "Released",
        timeout=180,
    )
    if phase != "Released":
        return failed(
            "STORAGE_NOT_RELEASED",
            f"volume {volume}",
            f"is {phase or 'gone'} after its claim and its Deployment were deleted, and should be Released",
            f"kubectl describe pv {volume}; kubectl -n {NAMESPACE} get pods,pvc",
            *cluster.events(NAMESPACE, NAME)[-pods.EVENTS :],
        )
    seen = _on_server(context, volume, f"cat {{}}/{FILE}")
    where = claims.nfs_source(cluster.get("PersistentVolume", volume) or {})
    if seen == token:
        return passed("STORAGE_RETAINED", f"{where}/{FILE}", "outlived its claim and its Deployment")
    return failed(
        "STORAGE_NOT_RETAINED",
        f"{where}/{FILE}",
        f"did not outlive its claim and its Deployment: expected {token}, read {seen!r}",
        f"kubectl get pv {volume} -o yaml: its reclaim policy should be Retain",
        *cluster.events("default", volume)[-pods.EVENTS :],
    )


def objects(site: Site, model: Object) -> list[Object]:
    """Return a claim, and a Deployment of one pod that does nothing, otherwise like those of the shared volume."""
    spec = model["spec"]["template"]["spec"]
    container = {
        key: value for key, value in spec["containers"][0].items() if key not in ("command", "readinessProbe")
    }
    volumes = [
        {**volume, "persistentVolumeClaim": {"claimName": NAME}} if "persistentVolumeClaim" in volume else volume
        for volume in spec["volumes"]
    ]
    spec = {key: value for key, value in spec.items() if key != "topologySpreadConstraints"}
    pod = {**spec, "containers": [{**container, "args": ["pause"]}], "volumes": volumes}
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": LABELS}
    claim = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": site.nfs.class_,
        "resources": {"requests": {"storage": "1Mi"}},
    }
    deployment = {
        "replicas": 1,
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": pod},
    }
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment},
    ]


def _free(context: Context) -> bool:
    return any(
        one["spec"].get("storageClassName") == context.site.nfs.class_
        and one.get("status", {}).get("phase") == "Available"
        for one in context.cluster.list("PersistentVolume")
    )


def _pod(context: Context) -> Object:
    own = context.cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={NAME}")
    return next((pod for pod in own if not pods.terminating(pod)), {})


def _phase(context: Context, volume: str) -> str:
    found = context.cluster.get("PersistentVolume", volume) or {}
    return str(found.get("status", {}).get("phase", ""))


def _on_server(context: Context, volume: str, command: str) -> str:
    """Run a command on the NFS server, {} being the volume's directory; return what it says."""
    place = claims.nfs_source(context.cluster.get("PersistentVolume", volume) or {})
    folder = shlex.quote(place.partition(":")[2])
    done = context.hosts[context.site.nfs_server.name].run(command.format(folder), check=False)
    return (done.stdout or done.stderr).strip()


def _take_back(context: Context) -> None:
    """Delete Deployment and claim, and free the volume that they had, without the file."""
    cluster = context.cluster
    for one in (DEPLOYMENT, CLAIM):
        if cluster.get(*one) is not None:
            cluster.delete(*one)
    wait_for(context, f"{NAME} to go", lambda: cluster.get(*CLAIM) is None and not _pod(context), bool, timeout=180)
    for volume in cluster.list("PersistentVolume"):
        held = volume["spec"].get("claimRef") or {}
        if (held.get("namespace"), held.get("name")) == (NAMESPACE, NAME):
            name = volume["metadata"]["name"]
            _on_server(context, name, f"rm -f {{}}/{FILE}")
            cluster.merge("PersistentVolume", name, {"spec": {"claimRef": None}})


def _skip_reason(site: Site) -> str:
    return storage.CHECK.skip_reason(site)


CHECK = Check("retained", "Data outlives its claim and its Deployment.", run, _skip_reason)
