"""Keep what kubeadm put into the cluster as kubeadm makes it: its ConfigMaps, cluster-info, kube-proxy and CoreDNS.

hosts.toml wins, except over an object that is annotated with KEEP: a Corefile of one's own, say. The number of
CoreDNS's replicas is left to whoever scales it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from provisioner.engine import Change, Scope, Step
from provisioner.engine.rollout import wait_for_rollout
from provisioner.kube import Cluster, Object, kubeadm, kubeadm_drift, kubeadm_render
from provisioner.kube.objects import object_name
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps import hardening
from provisioner.steps.nodes import ready
from provisioner.text import unified_diff

KEEP = "provisioner/keep"  # annotation of an object that apply leaves alone, if "true"
_CONFIG = "/run/provisioner/kubeadm-upload.yaml"
# Of every kubelet's configuration, what kubeadm fills in on each node (cmd/kubeadm/app/componentconfigs/kubelet.go).
_PER_NODE = {"containerRuntimeEndpoint", "resolvConf"}


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield kubeadm's ConfigMaps and objects that are missing or differ, then the waits for kube-proxy and CoreDNS."""
    site = hardening.in_force(host, cluster, site)
    rendering = kubeadm_render.render(host, site)
    yield from _kubeadm_config(host, cluster, site)
    yield from _kubelet_config(host, cluster, site, rendering.files)
    yield from _cluster_info(cluster, site)
    addons = [manifest for manifest in rendering.addons if not _kept(cluster, manifest)]
    manifests = [_scaled_as(cluster, manifest) for manifest in addons]
    for manifest, diff in zip(manifests, cluster.diffs_exactly(manifests), strict=True):
        if diff:
            yield Change(f"apply {object_name(manifest)}", _overwriting(cluster, manifest), diff)
    # kube-proxy runs on any node, CoreDNS only on Ready ones, which the step nodes waits for.
    waits = ("kube-proxy", "coredns") if all(map(ready, cluster.nodes().values())) else ("kube-proxy",)
    yield from wait_for_rollout(cluster, [each for each in manifests if each["metadata"]["name"] in waits])


def _kubeadm_config(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the restoration of what joins and upgrades read; kubeadm_drift has refused what else may differ."""
    live = kubeadm_drift.document(cluster, "kubeadm-config", "ClusterConfiguration")
    wanted = _chosen(kubeadm.cluster_configuration(site))
    have = _chosen(live or {})
    if have != wanted:
        yield _upload(host, site, "kubeadm", "kubeadm-config", (_text(have) if live else "", _text(wanted)))


def _chosen(document: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {key: document.get(key) for key in ("kubernetesVersion", "imageRepository")}
    return {**chosen, "dataDir": ((document.get("etcd") or {}).get("local") or {}).get("dataDir")}


def _kubelet_config(host: Host, cluster: Cluster, site: Site, files: Mapping[str, str]) -> Iterator[Change]:
    if "config.yaml" not in files:
        return
    name = "kubelet-config" if site.version.at_least(1, 24) else f"kubelet-config-{site.version.minor_text}"
    live = kubeadm_drift.document(cluster, name, "kubelet") or {}
    have, wanted = (
        {key: value for key, value in document.items() if key not in _PER_NODE}
        for document in (live, yaml.safe_load(files["config.yaml"]))
    )
    if have != wanted:
        yield _upload(host, site, "kubelet", name, (_text(have) if have else "", _text(wanted)))


def _upload(host: Host, site: Site, phase: str, name: str, texts: tuple[str, str]) -> Change:
    """Return the change that has kubeadm write a ConfigMap. texts: what differs in it, now and wanted."""

    def upload() -> None:
        documents = kubeadm.init_documents(site, host.spec)
        host.put(_CONFIG, yaml.safe_dump_all(documents, sort_keys=False), mode=0o600)
        host.run(f"trap 'rm -f {_CONFIG}' EXIT; kubeadm init phase upload-config {phase} --config {_CONFIG}")

    verb = "restore" if texts[0] else "create"
    return Change(
        f"{verb} ConfigMap kube-system/{name}", upload, unified_diff(f"ConfigMap kube-system/{name}", *texts)
    )


def _cluster_info(cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the restoration of the API's address and CA that joining nodes read; the signatures are a controller's."""
    admin = cluster.kubeconfig()
    if admin is None:
        return
    authority = admin["clusters"][0]["cluster"]["certificate-authority-data"]
    wanted = {"certificate-authority-data": authority, "server": f"https://{site.endpoint}"}
    live = kubeadm_drift.document(cluster, "cluster-info", "kubeconfig", "kube-public") or {}
    entries = live.get("clusters") or [{}]
    have = entries[0].get("cluster") or {}
    if have == wanted:
        return
    config: Object = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "", "cluster": wanted}],
        "contexts": None,
        "current-context": "",
        "preferences": {},
        "users": None,
    }
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": _text(config)},
    }
    shown = [_text({"server": one.get("server"), "ca": _short(one)}) for one in (have, wanted)]
    yield Change(
        "restore ConfigMap kube-public/cluster-info",
        lambda: _write(cluster, manifest),
        unified_diff("ConfigMap kube-public/cluster-info", *shown),
    )


def _scaled_as(cluster: Cluster, manifest: Object) -> Object:
    """Return a manifest with the live object's number of replicas, unless that is none."""
    if manifest["kind"] != "Deployment":
        return manifest
    live = cluster.get("Deployment", manifest["metadata"]["name"], manifest["metadata"]["namespace"], "apps/v1")
    replicas = (live or {"spec": {}})["spec"].get("replicas")
    if not replicas:
        return manifest
    result = copy.deepcopy(manifest)
    result["spec"]["replicas"] = replicas
    return result


def _overwriting(cluster: Cluster, manifest: Object) -> Callable[[], None]:
    return lambda: cluster.overwrite(manifest)


def _write(cluster: Cluster, manifest: Object) -> None:
    cluster.apply(manifest)


def _short(cluster: Mapping[str, Any]) -> str:
    text = str(cluster.get("certificate-authority-data", ""))
    return f"{len(text)} characters ending in {text[-12:]}"


def _kept(cluster: Cluster, manifest: Object) -> bool:
    metadata = manifest["metadata"]
    live = cluster.get(manifest["kind"], metadata["name"], metadata.get("namespace"), manifest["apiVersion"])
    return live is not None and (live["metadata"].get("annotations") or {}).get(KEEP) == "true"


def _text(document: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(document), sort_keys=True))


STEP = Step(
    name="kubeadm-objects",
    summary="kubeadm's ConfigMaps, kube-proxy and CoreDNS as kubeadm makes them",
    scope=Scope.CLUSTER,
    changes=changes,
    query=hardening.query,
    after=("kubernetes", "control-plane", "join", "kubeadm-files"),
)
