"""Compare hosts.toml with the settings that kubeadm fixed when it created the cluster, and refuse differences.

kubeadm keeps them in the cluster: ConfigMap kubeadm-config, kubelet-config for every kubelet, and
kube-proxy (kubernetes.io, "kubeadm init phase"). apply does not change them in a running cluster; refusing keeps a
plan from reporting "nothing to do" after somebody has edited one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from provisioner import yaml_text
from provisioner.errors import ClusterError
from provisioner.kube import kubeadm
from provisioner.kube.cluster import Cluster
from provisioner.site import Site, SiteErrors, messages
from provisioner.site.rules import Problem
from provisioner.site.toml_lines import KeyPath
from provisioner.text import join_words

BY_HAND = "restore it, or change the cluster by hand first (docs/nodes.md)"
# kubeadm adds these to a component's extra arguments itself (until 1.30, cmd/kubeadm/app/util/config).
_SET_BY_KUBEADM = {"authorization-mode"}
_COMPONENTS = {
    "api_server": ("apiServer",),
    "controller_manager": ("controllerManager",),
    "scheduler": ("scheduler",),
    "etcd": ("etcd", "local"),
}
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def refuse_differences(cluster: Cluster, site: Site) -> None:
    """Raise SiteErrors, with lines of hosts.toml, for settings that differ from the running cluster's."""
    differences = [
        *_cluster_differences(cluster, site),
        *_kubelet_differences(cluster, site),
        *_kube_proxy_differences(cluster, site),
    ]
    if differences:
        text = site.path.read_text(encoding="utf-8-sig") if site.path.is_file() else ""
        raise SiteErrors(messages.locate(differences, text, site.path))


def _cluster_differences(cluster: Cluster, site: Site) -> Iterator[Problem]:
    live = document(cluster, "kubeadm-config", "ClusterConfiguration")
    if live is None:
        return
    wanted = kubeadm.cluster_configuration(site)
    have = _immutable(live)
    for path, value in _immutable(wanted).items():
        if have[path] != value:
            if path == ("cluster", "endpoint") and site.cluster.vip:
                yield _other_vip(site, have[path])
                continue
            is_default = path == ("cluster", "endpoint") and not site.cluster.endpoint
            here = "none is set here" if is_default else f'this is "{value}"'
            remedy = f'set {path[-1]} = "{have[path]}"' if have[path] else f"remove {path[-1]}"
            yield Problem(
                path,
                f'the cluster was created with "{have[path]}", and {here}',
                f"{remedy}; only a new cluster can have another value (provisioner reset)",
            )
    for key, place in _COMPONENTS.items():
        running, configured = arguments(live, place), arguments(wanted, place)
        names = {name for name in running.keys() | configured.keys() if running.get(name) != configured.get(name)}
        names -= _SET_BY_KUBEADM - configured.keys()
        if names:
            yield Problem(
                ("kubeadm", key),
                f"the running cluster has a different {join_words(sorted(names))}, which apply does not change",
                BY_HAND,
            )


def _other_vip(site: Site, endpoint: str) -> Problem:
    """Return the problem of a vip that is not the address that the cluster was created with."""
    created = f'with the endpoint "{endpoint}"' if endpoint else "without a shared address"
    remedy = f'remove vip and set endpoint = "{endpoint}"' if endpoint else "remove vip"
    return Problem(
        ("cluster", "vip"),
        f'the cluster was created {created}, and this is "{site.cluster.vip}"',
        f"{remedy}; only a new cluster can have another value (provisioner reset)",
    )


def _kubelet_differences(cluster: Cluster, site: Site) -> Iterator[Problem]:
    wanted = site.kubeadm.kubelet_configuration
    if wanted:
        live = kubelet_document(cluster, site)
        yield from _configuration_differences(live, wanted, "kubelet_configuration", "kubelets have")


def _kube_proxy_differences(cluster: Cluster, site: Site) -> Iterator[Problem]:
    wanted = site.kubeadm.kube_proxy_configuration
    if wanted:
        live = document(cluster, "kube-proxy", "config.conf")
        yield from _configuration_differences(live, wanted, "kube_proxy_configuration", "kube-proxy has")


def _configuration_differences(
    live: Mapping[str, Any] | None, wanted: Mapping[str, Any], table: str, owner: str
) -> Iterator[Problem]:
    for key, value in wanted.items() if live is not None else ():
        if not _agrees(live.get(key) if live else None, value):
            yield Problem(
                ("kubeadm", table, key),
                f"the running cluster's {owner} a different value, which apply does not change",
                BY_HAND,
            )


def cluster_name(cluster: Cluster) -> str:
    """Return the name that the running cluster has in kubeadm's configuration; "" if the API does not answer."""
    found = document(cluster, "kubeadm-config", "ClusterConfiguration") if cluster.reachable() else None
    return str((found or {}).get("clusterName", ""))


def document(cluster: Cluster, name: str, key: str, namespace: str = "kube-system") -> dict[str, Any] | None:
    """Return one of kubeadm's documents; None in a cluster without it, to which kubeadm cannot join nodes anyway."""
    found = cluster.get("ConfigMap", name, namespace)
    text = (found or {}).get("data", {}).get(key)
    try:
        return None if text is None else yaml_text.load_mapping(text)
    except yaml_text.NotYaml as error:
        raise ClusterError(
            f"the ConfigMap {name}: {key} is {error}", f"mend it: kubectl -n {namespace} edit configmap {name}"
        ) from None


def kubelet_document(cluster: Cluster, site: Site) -> dict[str, Any] | None:
    """Return the configuration of every kubelet; None in a cluster without kubeadm's ConfigMap."""
    old = f"kubelet-config-{site.version.minor_text}"  # until 1.23
    return document(cluster, "kubelet-config", "kubelet") or document(cluster, old, "kubelet")


def _immutable(document: Mapping[str, Any]) -> dict[KeyPath, str]:
    """Return the settings that can never change, by key of hosts.toml."""
    networking = document.get("networking", {})
    elliptic = document.get("featureGates", {}).get("PublicKeysECDSA", False)
    return {
        ("cluster", "name"): document.get("clusterName", ""),
        ("cluster", "pod_cidr"): networking.get("podSubnet", ""),
        ("cluster", "service_cidr"): networking.get("serviceSubnet", ""),
        ("cluster", "endpoint"): document.get("controlPlaneEndpoint", ""),
        ("kubeadm", "key_algorithm"): document.get("encryptionAlgorithm")
        or ("ECDSA-P256" if elliptic else "RSA-2048"),
    }


def arguments(document: Mapping[str, Any], place: tuple[str, ...]) -> dict[str, str]:
    """Return a component's extra arguments: a mapping until v1beta3, a list of name and value since."""
    for key in place:
        document = document.get(key) or {}
    extra = document.get("extraArgs") or {}
    return dict(extra) if isinstance(extra, Mapping) else {one["name"]: one["value"] for one in extra}


def _agrees(live: Any, wanted: Any) -> bool:
    """Return whether the live value is the wanted one; the API omits empty values and writes 10m as 10m0s."""
    if isinstance(wanted, Mapping):
        parts = live if isinstance(live, Mapping) else {}
        return all(_agrees(parts.get(key), value) for key, value in wanted.items())
    if live is None:
        return not wanted
    if isinstance(live, str) and isinstance(wanted, str):
        return live == wanted or (_duration(live) is not None and _duration(live) == _duration(wanted))
    return bool(live == wanted)


def _duration(text: str) -> float | None:
    """Return a Go duration in seconds (pkg.go.dev/time, ParseDuration); None for other text."""
    if text == "0":
        return 0.0
    if not re.fullmatch(r"(\d+(\.\d+)?(h|m|s|ms|us|µs|ns))+", text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|m|s|us|µs|ns)", text))
