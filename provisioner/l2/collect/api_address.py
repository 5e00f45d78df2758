"""The API's own address: where clients reach it, and who announces that if it is not a node's.

From hosts.toml, the kubeconfig's server, or kubeadm's ClusterConfiguration (controlPlaneEndpoint), in this order.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from provisioner import yaml_text
from provisioner.kube import Object
from provisioner.l2.collect.announced import Written, control_plane_lease
from provisioner.l2.collect.api_reader import ApiReader
from provisioner.l2.facts import Announcer, ApiAddress, Facts, Lease

if TYPE_CHECKING:
    from provisioner.site import Site


PORT = 6443


def api_address(
    reader: ApiReader, facts: Facts, site: Site | None, found: Written, pods: Sequence[Object] | None
) -> ApiAddress | None:
    """Return the API's own address; None if no source names one that is not local, or its name has no address."""
    for host, port in _endpoints(reader, site):
        addresses = _resolve(host)
        remote = [text for text in addresses if not ip_address(text).is_loopback]
        if not addresses:
            reader.note(f"the API's address: {host} cannot be resolved here")
        if remote:
            announcer, lease = _announcer(facts, remote, found, pods)
            if site is not None and host == site.cluster.vip:
                announcer, lease = "keepalived", None
            return ApiAddress(
                endpoint=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
                addresses=tuple(remote),
                port=port,
                announcer=announcer,
                lease=lease,
            )
    return None


def _endpoints(reader: ApiReader, site: Site | None) -> list[tuple[str, int]]:
    if site is not None:
        return [_split(site.endpoint)]
    found = [_split(reader.cluster.server)] if reader.cluster.server else []
    if found and found[0][0] not in ("localhost", "127.0.0.1", "::1"):
        return found

    def fetch() -> str:
        config_map = reader.cluster.get("ConfigMap", "kubeadm-config", "kube-system") or {}
        text = (config_map.get("data") or {}).get("ClusterConfiguration", "")
        try:
            return str(yaml_text.load_mapping(text).get("controlPlaneEndpoint") or "")
        except yaml_text.NotYaml as error:
            raise ValueError(f"kubeadm's ClusterConfiguration is {error}") from None

    named = reader.read("the API's address", fetch)
    return [*found, *([_split(named)] if named else [])]


def _split(text: str) -> tuple[str, int]:
    split = urlsplit(text if "//" in text else f"//{text}")
    return split.hostname or "", split.port or (443 if split.scheme == "https" else PORT)


def _resolve(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [*dict.fromkeys(str(ip_address(str(entry[4][0]).partition("%")[0])) for entry in found)]


def _announcer(
    facts: Facts, addresses: Sequence[str], found: Written, pods: Sequence[Object] | None
) -> tuple[Announcer | None, Lease | None]:
    own = {text for node in facts.nodes for text in (*node.internal_ips, *node.external_ips)}
    if set(addresses) <= own:
        return "node", None
    lease = control_plane_lease((found.leases or {}).values())
    if lease is not None:
        return "kube-vip", lease
    images = [container.get("image", "") for pod in pods or () for container in pod["spec"]["containers"]]
    if any("keepalived" in image for image in images):
        return "keepalived", None
    return None, None
