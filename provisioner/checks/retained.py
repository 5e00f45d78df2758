"""Data outlives its claim and its Deployment: after both are deleted, the file is still on the server.

The check uses an available volume, which is available again afterwards, and leaves other files in it alone.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Iterator

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
    """Yield whether a file outlives its claim and Deployment; then release the volume."""
    if not context.thorough:
        yield skipped("data on a volume", "checking that it outlives claim and Deployment needs --full")
        return
    if context.site.nfs.provisioner != "static":
        yield skipped("data on a volume", "outliving its claim was not tried: that needs static volumes")
        return
    model = context.cluster.get("Deployment", storage.WORKLOAD, NAMESPACE, "apps/v1")
    if model is None:
        subject = f"Deployment {NAMESPACE}/{storage.WORKLOAD}"
        yield failed("STORAGE_NO_PODS", subject, "does not exist", "provisioner apply")
        return
    _clean_up(context)  # what a killed run has left
    if not _available(context):
        yield skipped("data on a volume", "outliving its claim was not tried: no volume is available")
        return
    with restore.restoring(
        context.cluster,
        "the volume to be released",
        lambda: _clean_up(context),
        lambda: f"Deployment and claim {NAMESPACE}/{NAME} may remain, and {FILE} on their volume",
        "provisioner verify retained deletes them",
    ):
        yield _outlives(context, model)


def _outlives(context: Context, model: Object) -> Finding:
    cluster, token = context.cluster, secrets.token_hex(16)
    for wanted in objects(context.site, model):
        cluster.apply(wanted)
    pod = wait_for(context, f"a ready {NAME} pod", lambda: _pod(context), pods.ready, timeout=120)
    if not pods.ready(pod):
        return failed(
            "STORAGE_NO_PODS",
            f"Deployment {NAMESPACE}/{NAME}",
            f"has no ready pod: {pods.why_not_ready(pod) if pod else 'none exists'}",
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
            "check owner and mode of the volume's directory on the server",
            error.tail,
            *pods.explain(cluster, pod),
        )
    volume = str((cluster.get(*CLAIM) or {"spec": {}})["spec"].get("volumeName", ""))
    cluster.delete(*DEPLOYMENT)
    cluster.delete(*CLAIM)
    phase = wait_for(
        context,
        f"volume {volume} to be Released",
        lambda: _phase(context, volume),
        lambda phase: phase == "Released",
        timeout=180,
    )
    if phase != "Released":
        return failed(
            "STORAGE_NOT_RELEASED",
            f"volume {volume}",
            f"is {phase or 'deleted'}, and should be Released after its claim and Deployment were deleted",
            f"kubectl describe pv {volume}; kubectl -n {NAMESPACE} get pods,pvc",
            *cluster.events(NAMESPACE, NAME)[-pods.EVENTS :],
        )
    text = _on_server(context, volume, lambda folder: volume_files.server_script(folder, FILE))
    source = claims.nfs_source(cluster.get("PersistentVolume", volume) or {})
    if text == token:
        return passed("STORAGE_RETAINED", f"{source}/{FILE}", "outlived its claim and its Deployment")
    return failed(
        "STORAGE_NOT_RETAINED",
        f"{source}/{FILE}",
        f"did not outlive its claim and its Deployment: expected {token}, read {text!r}",
        f"kubectl get pv {volume} -o yaml; its persistentVolumeReclaimPolicy should be Retain",
        *cluster.events("default", volume)[-pods.EVENTS :],
    )


def objects(site: Site, model: Object) -> list[Object]:
    """Return a claim and a Deployment with one idle pod, otherwise like those of the shared volume."""
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


def _available(context: Context) -> bool:
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


def _on_server(context: Context, volume: str, command: Callable[[str], str]) -> str:
    """Run the command for the volume's directory on the NFS server; return its output."""
    source = claims.nfs_source(context.cluster.get("PersistentVolume", volume) or {})
    folder = source.partition(":")[2]
    output = context.hosts[context.site.nfs_server.name].run(command(folder), check=False)
    return (output.stdout or output.stderr).strip()


def _clean_up(context: Context) -> None:
    """Delete Deployment, claim and file, and make their volume available again."""
    cluster = context.cluster
    for one in (DEPLOYMENT, CLAIM):
        if cluster.get(*one) is not None:
            cluster.delete(*one)
    wait_for(
        context, f"{NAME} to be deleted", lambda: cluster.get(*CLAIM) is None and not _pod(context), bool, timeout=180
    )
    for volume in cluster.list("PersistentVolume"):
        claim = volume["spec"].get("claimRef") or {}
        if (claim.get("namespace"), claim.get("name")) == (NAMESPACE, NAME):
            name = volume["metadata"]["name"]
            _on_server(context, name, lambda folder: f"rm -f {shlex.quote(folder)}/{FILE}")
            cluster.merge("PersistentVolume", name, {"spec": {"claimRef": None}})


def _skip_reason(site: Site) -> str:
    return storage.CHECK.skip_reason(site)


CHECK = Check("retained", "Data outlives its claim and its Deployment.", run, _skip_reason)
