"""What a `[hardening]` means: its items, the settings that each stands for, and which of them a site can have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from provisioner.site.model import Hardening, Site

DIRECTORY = "/etc/kubernetes/hardening"  # on control planes; the API server has it read-only
ENCRYPTION = f"{DIRECTORY}/encryption.yaml"
AUDIT_POLICY = f"{DIRECTORY}/audit-policy.yaml"
ADMISSION = f"{DIRECTORY}/admission.yaml"
AUDIT_FOLDER = "/var/log/kubernetes/audit"
AUDIT_LOG = f"{AUDIT_FOLDER}/audit.log"
ITEMS = tuple(Hardening.model_fields)
# The API server's flags of each item. The first one tells that the cluster has it. The limits of the audit log are the
# CIS benchmark's: days, files, and MB a file.
FLAGS: Mapping[str, Mapping[str, str]] = {
    "encryption": {"encryption-provider-config": ENCRYPTION},
    "audit": {
        "audit-policy-file": AUDIT_POLICY,
        "audit-log-path": AUDIT_LOG,
        "audit-log-maxage": "30",
        "audit-log-maxbackup": "10",
        "audit-log-maxsize": "100",
    },
    "pod_security": {"admission-control-config-file": ADMISSION},
    "verify_kubelets": {"kubelet-certificate-authority": "/etc/kubernetes/pki/ca.crt"},
}
# The oldest Kubernetes that has an item by default; the others are older than 1.20.
SINCE = {"pod_security": (1, 23)}
BOOTSTRAP = "serverTLSBootstrap"  # of a kubelet's configuration: the cluster's CA signs its serving certificate
PROTECT = "protectKernelDefaults"
KUBELET: Mapping[str, Any] = {"authentication": {"anonymous": {"enabled": False}}, "readOnlyPort": 0, PROTECT: True}


def mark(item: str) -> str:
    """Return the API server's flag that tells that a cluster has the item; "" for one of the kubelets."""
    return next(iter(FLAGS.get(item, {})), "")


def replaced_by(site: Site, item: str) -> str:
    """Return the key under `[kubeadm]` that stands in the way of an item, as the operator's own choice; "" if none."""
    if mark(item) in site.kubeadm.api_server:
        return f"api_server.{mark(item)}"
    if item == "verify_kubelets" and site.kubeadm.kubelet_configuration.get(BOOTSTRAP) is False:
        return f"kubelet_configuration.{BOOTSTRAP}"
    return ""


def lacking(site: Site, item: str) -> str:
    """Return the Kubernetes that an item needs, if the site's is older; "" otherwise."""
    since = SINCE.get(item)
    return "" if since is None or site.version.at_least(*since) else ".".join(map(str, since))


def items(site: Site) -> tuple[str, ...]:
    """Return the items that are on, that the site's Kubernetes has, and that `[kubeadm]` does not replace."""
    return tuple(
        item
        for item in ITEMS
        if getattr(site.hardening, item) and not lacking(site, item) and not replaced_by(site, item)
    )


def asked_for(site: Site) -> dict[str, bool]:
    """Return the items that hosts.toml itself turns on or off."""
    return {item: getattr(site.hardening, item) for item in ITEMS if item in site.hardening.model_fields_set}


def with_items(site: Site, on: Collection[str]) -> Site:
    """Return the site with exactly these items on."""
    return site.model_copy(update={"hardening": Hardening(**{item: item in on for item in ITEMS})})


def left_off(site: Site) -> Iterator[str]:
    """Yield a sentence for each item that hosts.toml leaves on and the site's Kubernetes lacks."""
    for item in ITEMS:
        if getattr(site.hardening, item) and lacking(site, item):
            yield f"[hardening] {item} is left off: Kubernetes {site.version} lacks it, {lacking(site, item)} has it"


def api_server_flags(site: Site) -> dict[str, str]:
    """Return the API server's flags; those under `[kubeadm]` come on top of them."""
    return {name: value for item in items(site) for name, value in FLAGS.get(item, {}).items()}


def api_server_volumes(site: Site) -> list[dict[str, Any]]:
    """Return kubeadm's extraVolumes of the API server."""
    on, volumes = items(site), []
    if {"encryption", "audit", "pod_security"} & set(on):
        volumes.append(_volume("hardening", DIRECTORY, read_only=True))
    if "audit" in on:
        volumes.append(_volume("audit", AUDIT_FOLDER, read_only=False))
    return volumes


def _volume(name: str, path: str, *, read_only: bool) -> dict[str, Any]:
    kind = "Directory" if read_only else "DirectoryOrCreate"
    volume = {"name": name, "hostPath": path, "mountPath": path, "readOnly": read_only, "pathType": kind}
    return {key: value for key, value in volume.items() if value is not False}


def kubelet_configuration(site: Site) -> dict[str, Any]:
    """Return the fields of every kubelet's configuration; those under `[kubeadm]` come on top of them."""
    return dict(KUBELET) if "kubelet" in items(site) else {}
