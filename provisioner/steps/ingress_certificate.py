"""Part of the step ingress: self-signed certificates for the workloads' Ingresses.

The Secret that an Ingress names is created if it does not exist, and renewed before its certificate expires. A Secret
that somebody else created is left alone. Plans, diffs and logs show host names, never a key.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

from provisioner.engine import Change
from provisioner.kube import Cluster, Object, certificates, templates
from provisioner.kube.objects import object_name
from provisioner.site import Site

# They mark the Secrets that this step owns.
LABELS = {"app.kubernetes.io/managed-by": "provisioner", "app.kubernetes.io/component": "ingress-certificate"}
_TLS = "kubernetes.io/tls"


def changes(cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the certificates to create or renew, then the deletion of those that no Ingress names any more."""
    needed = wanted(site)
    for (namespace, name), hosts in needed.items():
        reason = _reason(cluster.get("Secret", name, namespace), hosts)
        if reason:
            summary = f"create a certificate for {', '.join(hosts)} (Secret {namespace}/{name}: {reason})"
            yield Change(summary, _creating(cluster, namespace, name, hosts), _diff(namespace, name, hosts))
    labels = ",".join(f"{key}={value}" for key, value in LABELS.items())
    for secret in cluster.list("Secret", labels=labels):
        metadata = secret["metadata"]
        if _ours(secret) and (metadata["namespace"], metadata["name"]) not in needed:
            yield Change(
                f"delete {object_name(secret)}: no Ingress of the workloads names it",
                _deleting(cluster, metadata["namespace"], metadata["name"]),
                f"- {object_name(secret)}\n",
            )


def wanted(site: Site) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the host names of each certificate that an Ingress of the workloads names, by (namespace, name)."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for workload in site.workloads.enabled:
        for item in templates.read(site, f"workloads/{workload}.yaml"):
            if item["kind"] != "Ingress":
                continue
            for entry in item["spec"].get("tls") or ():
                if entry.get("secretName") and entry.get("hosts"):
                    key = (item["metadata"].get("namespace", "default"), entry["secretName"])
                    found[key] = tuple(dict.fromkeys((*found.get(key, ()), *entry["hosts"])))
    return found


def _reason(live: Object | None, hosts: tuple[str, ...]) -> str:
    if live is None:
        return "missing"
    if not _ours(live):
        return ""
    data = live.get("data") or {}
    certificate, key = (base64.b64decode(data.get(part, "")) for part in ("tls.crt", "tls.key"))
    return certificates.reason_to_renew(certificate, key, hosts)


def _ours(secret: Object) -> bool:
    return LABELS.items() <= (secret["metadata"].get("labels") or {}).items()


def _creating(cluster: Cluster, namespace: str, name: str, hosts: tuple[str, ...]) -> Callable[[], None]:
    def create() -> None:
        if cluster.get("Namespace", namespace) is None:
            cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        certificate, key = certificates.self_signed(hosts)
        data = {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}
        metadata = {"name": name, "namespace": namespace, "labels": LABELS}
        cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": _TLS, "data": data})

    return create


def _deleting(cluster: Cluster, namespace: str, name: str) -> Callable[[], None]:
    def delete() -> None:
        cluster.delete("Secret", name, namespace)

    return delete


def _diff(namespace: str, name: str, hosts: tuple[str, ...]) -> str:
    return f"+ Secret {namespace}/{name}: self-signed, for {', '.join(hosts)}, {certificates.DAYS} days\n"
