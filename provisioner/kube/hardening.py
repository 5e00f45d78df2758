"""The files that a hardened API server reads, and the hardening that a running cluster was created with.

Formats: apiserver.config.k8s.io/v1 (EncryptionConfiguration, AdmissionConfiguration) and audit.k8s.io/v1, which all
supported versions have; pod-security.admission.config.k8s.io is v1beta1 until 1.24.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

import yaml

from provisioner import redact
from provisioner.kube import kubeadm_drift
from provisioner.kube.cluster import Cluster
from provisioner.site import Site, hardening

# What may do there what the standard forbids: kubeadm's and the CSI driver's pods, flannel's, MetalLB's speakers.
SYSTEM_NAMESPACES = ("kube-system", "kube-flannel", "metallb-system")
PROVIDER = "secretbox"
PREFIX = f"k8s:enc:{PROVIDER}:v1:"  # of a value in etcd (staging/src/k8s.io/apiserver, value/encrypt)
_KEY_BYTES = 32
_COMPONENTS = ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"]
_READS = ["get", "list", "watch"]
# Who did what, never with what content: a body may hold a secret, and bodies would fill the log. What the components
# read by themselves all the time is left out, except for Secrets.
_AUDIT_RULES: list[dict[str, Any]] = [
    {
        "level": "None",
        "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version", "/api*", "/openapi*", "/metrics"],
    },
    {"level": "None", "resources": [{"group": "", "resources": ["events"]}, {"group": "events.k8s.io"}]},
    {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
    {
        "level": "None",
        "userGroups": ["system:nodes"],
        "verbs": ["patch", "update"],
        "resources": [{"group": "", "resources": ["nodes/status", "pods/status"]}],
    },
    {
        "level": "Metadata",
        "resources": [
            {"group": "", "resources": ["secrets", "serviceaccounts/token"]},
            {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
        ],
    },
    {"level": "None", "users": _COMPONENTS, "verbs": _READS},
    {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"], "verbs": _READS},
    {
        "level": "None",
        "resources": [
            {"group": "authentication.k8s.io", "resources": ["selfsubjectreviews"]},
            {"group": "authorization.k8s.io", "resources": ["subjectaccessreviews", "selfsubjectaccessreviews"]},
        ],
    },
    {"level": "Metadata"},
]


def files(site: Site) -> dict[str, str]:
    """Return the files without secrets that the API server reads, by path."""
    on = hardening.items(site)
    found = {}
    if "audit" in on:
        found[hardening.AUDIT_POLICY] = _text(
            {
                "apiVersion": "audit.k8s.io/v1",
                "kind": "Policy",
                "omitStages": ["RequestReceived"],
                "rules": _AUDIT_RULES,
            }
        )
    if "pod_security" in on:
        found[hardening.ADMISSION] = _text(_admission(site))
    return found


def _admission(site: Site) -> dict[str, Any]:
    modes = ("enforce", "audit", "warn")
    version = "v1" if site.version.at_least(1, 25) else "v1beta1"
    levels = {key: value for mode in modes for key, value in ((mode, "baseline"), (f"{mode}-version", "latest"))}
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [
            {
                "name": "PodSecurity",
                "configuration": {
                    "apiVersion": f"pod-security.admission.config.k8s.io/{version}",
                    "kind": "PodSecurityConfiguration",
                    "defaults": levels,
                    "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": [*SYSTEM_NAMESPACES]},
                },
            }
        ],
    }


def new_encryption() -> str:
    """Return an EncryptionConfiguration with a new key; a secret. What was written without one stays readable."""
    key = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
    redact.hide(key)
    providers = [{PROVIDER: {"keys": [{"name": "key1", "secret": key}]}}, {"identity": {}}]
    return _text(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [{"resources": ["secrets"], "providers": providers}],
        }
    )


def created_with(cluster: Cluster, site: Site) -> tuple[str, ...] | None:
    """Return the items of the running cluster by kubeadm's own ConfigMaps; None in a cluster without them."""
    live = kubeadm_drift.document(cluster, "kubeadm-config", "ClusterConfiguration")
    if live is None:
        return None
    flags = kubeadm_drift.arguments(live, ("apiServer",))
    found = [
        item for item, own in hardening.FLAGS.items() if flags.get(hardening.mark(item)) == own[hardening.mark(item)]
    ]
    kubelet = kubeadm_drift.kubelet_document(cluster, site) or {}
    if kubelet.get(hardening.PROTECT) is True:
        found.append("kubelet")
    return tuple(item for item in hardening.ITEMS if item in found and not hardening.replaced_by(site, item))


def _text(document: dict[str, Any]) -> str:
    return str(yaml.safe_dump(document, sort_keys=False))
