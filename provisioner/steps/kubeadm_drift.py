"""Hold hosts.toml against what kubeadm settled when it made the cluster, and changes no more afterwards.

kubeadm keeps its configuration in the cluster: ConfigMap kubeadm-config, and kubelet-config for what every kubelet is
given (kubernetes.io, "kubeadm init phase upload-config"). What a running cluster does not take over is refused, so
that a plan never says "nothing to do" to somebody who has just changed it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from provisioner.kube import Cluster, kubeadm
from provisioner.site import Site, SiteErrors, messages
from provisioner.site.rules import Problem
from provisioner.site.toml_lines import Path

BY_HAND = "put it back, or change it by hand first (docs/nodes.md)"
# What kubeadm sets of its own among a component's extra arguments (until 1.30, cmd/kubeadm/app/util/config).
_KUBEADMS_OWN = {"authorization-mode"}
_COMPONENTS = {
    "api_server": ("apiServer",),
    "controller_manager": ("controllerManager",),
    "scheduler": ("scheduler",),
    "etcd": ("etcd", "local"),
}
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def refuse_differences(cluster: Cluster, site: Site) -> None:
    """Raise SiteErrors, with the lines of hosts.toml, for settings that are others than the running cluster's."""
    found = [*_of_cluster(cluster, site), *_of_kubelets(cluster, site)]
    if found:
        text = site.path.read_text(encoding="utf-8-sig") if site.path.is_file() else ""
        raise SiteErrors(messages.placed(found, text, site.path))


def _of_cluster(cluster: Cluster, site: Site) -> Iterator[Problem]:
    live = _document(cluster, "kubeadm-config", "ClusterConfiguration")
    if live is None:
        return
    wanted = kubeadm.cluster_configuration(site)
    have, ask = _once(live), _once(wanted)
    for path, value in ask.items():
        if have[path] != value:
            is_default = path == ("cluster", "endpoint") and not site.cluster.endpoint
            said = "none is named" if is_default else f'this is "{value}"'
            remedy = f'write {path[-1]} = "{have[path]}"' if have[path] else f"take {path[-1]} out"
            yield Problem(
                path,
                f'the cluster was made with "{have[path]}", and {said}',
                f"{remedy}; only a new cluster takes another one (provisioner reset)",
            )
    for key, place in _COMPONENTS.items():
        running, asked = _arguments(live, place), _arguments(wanted, place)
        names = {name for name in running.keys() | asked.keys() if running.get(name) != asked.get(name)}
        names -= _KUBEADMS_OWN - asked.keys()
        if names:
            listed = ", ".join(sorted(names))
            yield Problem(
                ("kubeadm", key), f"the running cluster has {listed} otherwise, and apply does not change it", BY_HAND
            )


def _of_kubelets(cluster: Cluster, site: Site) -> Iterator[Problem]:
    wanted = site.kubeadm.kubelet_configuration
    if not wanted:
        return
    old = f"kubelet-config-{site.version.minor_text}"  # until 1.23
    live = _document(cluster, "kubelet-config", "kubelet") or _document(cluster, old, "kubelet")
    for key, value in wanted.items() if live is not None else ():
        if not _holds(live.get(key) if live else None, value):
            yield Problem(
                ("kubeadm", "kubelet_configuration", key),
                "the running cluster's kubelets have this otherwise, and apply does not change it",
                BY_HAND,
            )


def _document(cluster: Cluster, name: str, key: str) -> dict[str, Any] | None:
    """Return one of kubeadm's documents; None in a cluster that has none, which kubeadm cannot join anyway."""
    found = cluster.get("ConfigMap", name, "kube-system")
    text = (found or {}).get("data", {}).get(key)
    return None if text is None else yaml.safe_load(text)


def _once(document: Mapping[str, Any]) -> dict[Path, str]:
    """Return what can never change, by its key in hosts.toml."""
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


def _arguments(document: Mapping[str, Any], place: tuple[str, ...]) -> dict[str, str]:
    """Return a component's extra arguments: a mapping until v1beta3, a list of name and value since."""
    for key in place:
        document = document.get(key) or {}
    given = document.get("extraArgs") or {}
    return dict(given) if isinstance(given, Mapping) else {one["name"]: one["value"] for one in given}


def _holds(live: Any, wanted: Any) -> bool:
    """Tell whether the API has what is wanted: it leaves out what is empty, and writes 10m as 10m0s."""
    if isinstance(wanted, Mapping):
        there = live if isinstance(live, Mapping) else {}
        return all(_holds(there.get(key), value) for key, value in wanted.items())
    if live is None:
        return not wanted
    if isinstance(live, str) and isinstance(wanted, str):
        return live == wanted or (_duration(live) is not None and _duration(live) == _duration(wanted))
    return bool(live == wanted)


def _duration(text: str) -> float | None:
    """Return the seconds of a duration as Go writes them (pkg.go.dev/time, ParseDuration); None for other text."""
    if text == "0":
        return 0.0
    if not re.fullmatch(r"(\d+(\.\d+)?(h|m|s|ms|us|µs|ns))+", text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|m|s|us|µs|ns)", text))
