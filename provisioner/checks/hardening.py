"""What [hardening] promises holds on the standing cluster: each item is tried, none is read from a manifest alone."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Iterator
from typing import Any

from provisioner.checks import hardened_hosts, restore
from provisioner.checks.check import Check, Context, Finding, failed, passed, skipped, wait_for
from provisioner.errors import ApiForbidden, ClusterError
from provisioner.kube import Object
from provisioner.kube import hardening as documents
from provisioner.site import hardening
from provisioner.text import join_words

NAME = "verify-hardening"
LABELS = {"app.kubernetes.io/name": NAME}
NAMESPACE = "default"  # of the Secret
SYSTEM = "kube-system"
REMEDY = "provisioner apply --only kubeadm-files"
_ETCD = "/etc/kubernetes/pki/etcd"
_ETCDCTL = (
    "etcdctl", "--endpoints=https://127.0.0.1:2379", f"--cacert={_ETCD}/ca.crt", f"--cert={_ETCD}/server.crt",
    f"--key={_ETCD}/server.key", "get", "--write-out=json",
)  # fmt: skip


def run(context: Context) -> Iterator[Finding]:
    """Yield what holds and what does not, for the items that the cluster has; then delete what was made for it."""
    on = documents.created_with(context.cluster, context.site)
    if on is None:
        yield skipped("hardening", "was not tried: the cluster has no ConfigMap kube-system/kubeadm-config")
        return
    off = [item for item in hardening.ITEMS if item not in on]
    if off:
        yield skipped("hardening", f"was not tried for {join_words(off)}, which this cluster does not have")
    _clean_up(context)  # what a killed run has left
    with restore.restoring(
        context.cluster,
        f"the Secret and namespace of {NAME} to be deleted",
        lambda: _clean_up(context),
        lambda: f"a Secret in namespace {NAMESPACE} and a namespace, both named {NAME}-…, may remain",
        "provisioner verify hardening deletes them",
    ):
        token = secrets.token_hex(16)
        name = f"{NAME}-{token[:8]}"
        if {"encryption", "audit"} & set(on):
            context.cluster.apply(secret(name, token))
        if "encryption" in on:
            yield from _encrypted(context, name, token)
        if "audit" in on:
            yield from hardened_hosts.audit(context, name, token)
        if "pod_security" in on:
            yield from _pod_security(context, name)
    yield from hardened_hosts.kubelets(context, on)


def secret(name: str, token: str) -> Object:
    """Return a Secret whose only value is the token."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": LABELS},
        "stringData": {"token": token},
    }


def _encrypted(context: Context, name: str, token: str) -> Iterator[Finding]:
    """Yield how a Secret lies in etcd, and whether every API server reads it."""
    key = f"/registry/secrets/{NAMESPACE}/{name}"
    subject = "a Secret in etcd"
    for spec in context.site.control_planes:
        try:
            answer = context.cluster.exec(SYSTEM, f"etcd-{spec.name}", [*_ETCDCTL, key], "etcd", timeout=60)
        except ClusterError as error:
            silent = error
            continue
        break
    else:
        yield failed("SECRETS_UNKNOWN", subject, f"could not be read: {silent.message}", silent.remedy, silent.tail)
        return
    raw = stored(answer)
    if raw is None:
        yield failed("SECRETS_UNKNOWN", subject, f"was not found at {key}", "provisioner verify hardening", answer)
    elif not raw.startswith(documents.PREFIX.encode()) or token.encode() in raw:
        how = "not as hosts.toml says" if raw.startswith(b"k8s:enc:") and token.encode() not in raw else "as it is"
        yield failed("SECRETS_PLAIN", subject, f"is stored {how}, without {documents.PREFIX}", REMEDY)
    else:
        prefix = raw[: len(documents.PREFIX)].decode()
        yield passed("SECRETS_ENCRYPTED", subject, f"written through the API, is stored as {prefix}… by {spec.name}")
    yield from hardened_hosts.readable(context, NAMESPACE, name, token)


def stored(answer: str) -> bytes | None:
    """Return the value in etcdctl's JSON; None if there is none."""
    try:
        (entry,) = json.loads(answer)["kvs"]
        return base64.b64decode(entry["value"])
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None


def privileged_pod(namespace: str) -> Object:
    """Return a pod that the standard "baseline" forbids; it is only ever sent as a dry run."""
    container: dict[str, Any] = {
        "name": "pause",
        "image": "registry.k8s.io/pause",
        "securityContext": {"privileged": True},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"hostPID": True, "containers": [container]},
    }


def fresh_namespace(name: str) -> Object:
    """Return a namespace without any label of Pod Security's."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LABELS}}


def _pod_security(context: Context, name: str) -> Iterator[Finding]:
    """Yield whether a privileged pod is refused in a fresh namespace and admitted in a system namespace."""
    cluster = context.cluster
    cluster.apply(fresh_namespace(name))
    # Without its ServiceAccount every pod is refused, for another reason.
    wait_for(
        context,
        f"the ServiceAccount of namespace {name}",
        lambda: cluster.get("ServiceAccount", "default", name),
        lambda found: found is not None,
        timeout=60,
    )
    subject = "a privileged pod"
    try:
        cluster.apply(privileged_pod(name), dry_run=True)
    except ApiForbidden as error:
        if "PodSecurity" not in error.message:
            raise
        yield passed("PODS_RESTRICTED", subject, 'is refused in a fresh namespace, by the standard "baseline"')
    else:
        yield failed("PODS_UNRESTRICTED", subject, "is admitted in a fresh namespace", REMEDY)
    try:
        cluster.apply(privileged_pod(SYSTEM), dry_run=True)
    except ApiForbidden as error:
        yield failed("PODS_SYSTEM_RESTRICTED", subject, f"is refused in {SYSTEM}: {error.message}", REMEDY)
    else:
        yield passed("PODS_SYSTEM_ADMITTED", subject, f"is admitted in {SYSTEM}")


def _clean_up(context: Context) -> None:
    labels = ",".join(f"{key}={value}" for key, value in LABELS.items())
    for kind, namespace in (("Secret", NAMESPACE), ("Namespace", None)):
        for item in context.cluster.list(kind, namespace, labels=labels):
            context.cluster.delete(kind, item["metadata"]["name"], namespace)


CHECK = Check("hardening", "Secrets are encrypted, requests logged, pods and kubelets restricted.", run)
