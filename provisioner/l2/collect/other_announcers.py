"""Other programs in the cluster that may answer for an external IP: kube-proxy (ipvs), kube-vip, ServiceLB, Cilium.

Sources: kube-proxy's KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1; an empty mode is iptables on Linux);
kube-vip's environment (`svc_enable`); k3s' pods svclb-*; Cilium's CiliumL2AnnouncementPolicy and leases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from provisioner import yaml_text
from provisioner.kube import Object
from provisioner.l2.collect.api_reader import ApiReader
from provisioner.l2.facts import KubeProxy, OtherAnnouncers

_MODES = {"": "iptables", "iptables": "iptables", "ipvs": "ipvs", "nftables": "nftables"}
_CILIUM = "CiliumL2AnnouncementPolicy"


def kube_proxy(reader: ApiReader, pods: Sequence[Object] | None) -> KubeProxy:
    """Read kube-proxy's mode from its ConfigMap; "none" only if Cilium replaces kube-proxy."""
    return reader.read("kube-proxy's mode", lambda: _kube_proxy(reader, pods)) or KubeProxy()


def others(
    reader: ApiReader,
    pods: Sequence[Object] | None,
    served: frozenset[str] | None,
    leases: Sequence[Object] | None = None,
) -> OtherAnnouncers:
    """Find other announcers. pods, leases: the whole cluster's; served: the API versions; None: unknown."""
    return OtherAnnouncers(
        kube_vip=None if pods is None else _kube_vip(pods),
        servicelb=None if pods is None else any(pod["metadata"]["name"].startswith("svclb-") for pod in pods),
        cilium_l2=reader.read("Cilium's layer-2 announcements", lambda: _cilium(reader, served, leases)),
    )


def _kube_proxy(reader: ApiReader, pods: Sequence[Object] | None) -> KubeProxy:
    config_map = reader.cluster.get("ConfigMap", "kube-proxy", "kube-system")
    if config_map is None:
        if _replaced_by_cilium(reader) and pods is not None and not _of_kube_proxy(pods):
            return KubeProxy(mode="none", strict_arp=False)
        reader.note("kube-proxy has no ConfigMap in kube-system, so its mode is unknown")
        return KubeProxy()
    try:
        document = yaml_text.load_mapping((config_map.get("data") or {}).get("config.conf", ""))
    except yaml_text.NotYaml as error:
        raise ValueError(f"the ConfigMap kube-proxy is {error}") from None
    mode = _MODES.get(document.get("mode") or "")
    if mode is None:
        reader.note(f"kube-proxy has the unknown mode {document.get('mode')!r}")
    strict = (document.get("ipvs") or {}).get("strictARP", False)
    return KubeProxy.model_validate({"mode": mode, "strict_arp": strict is True})


def _replaced_by_cilium(reader: ApiReader) -> bool:
    config_map = reader.cluster.get("ConfigMap", "cilium-config", "kube-system") or {}
    return (config_map.get("data") or {}).get("kube-proxy-replacement") in ("true", "strict")


def _of_kube_proxy(pods: Iterable[Object]) -> bool:
    return any((pod["metadata"].get("labels") or {}).get("k8s-app") == "kube-proxy" for pod in pods)


def _kube_vip(pods: Iterable[Object]) -> bool | None:
    """Return whether a kube-vip serves Services (one for the control plane alone does not), None if unclear."""
    verdicts = []
    for pod in pods:
        for container in pod["spec"]["containers"]:
            if "/kube-vip" in f"/{container.get('image', '')}".replace("kube-vip-cloud-provider", ""):
                verdicts.append(_serves_services(container))
    if True in verdicts:
        return True
    return None if None in verdicts else False


def _serves_services(container: Object) -> bool | None:
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    if any(word in ("--services", "--services=true") for word in words):
        return True
    for entry in container.get("env") or ():
        if entry["name"] == "svc_enable":
            return None if entry.get("valueFrom") else str(entry.get("value")).lower() in ("true", "1", "t")
    return None if container.get("envFrom") else False


def _cilium(reader: ApiReader, served: frozenset[str] | None, leases: Sequence[Object] | None) -> bool | None:
    if served is None:
        return None
    for version in sorted(served):
        if version.startswith("cilium.io/") and reader.cluster.list(_CILIUM, api_version=version):
            return True
    if any(lease["metadata"]["name"].startswith("cilium-l2announce-") for lease in leases or ()):
        return True
    # Without Cilium's kinds there is no Cilium, whether its Leases may be read or not.
    return None if leases is None and any(version.startswith("cilium.io/") for version in served) else False
