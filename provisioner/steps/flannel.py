"""Install flannel on the cluster's own NIC: backend host-gw if all nodes share a segment, else vxlan."""

from __future__ import annotations

import copy
import ipaddress
import json
import re
from collections.abc import Iterator

from provisioner.catalogue import release
from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import objects
from provisioner.kube import Cluster, Object
from provisioner.kube.manifests import fetch_manifest
from provisioner.kube.objects import containers, order
from provisioner.site import Site
from provisioner.ssh import Host

# Where flannel's init container writes its CNI configuration on every node (kube-flannel.yml, install-cni).
CNI = "/etc/cni/net.d/10-flannel.conflist"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the objects of flannel that are missing or differ."""
    chosen = release("flannel", str(site.version))
    manifests = [item for download in chosen.manifests for item in fetch_manifest(site, download)]
    nics = {other.name: other.facts.address_nic(other.spec.address) for other in host.fleet.values()}
    names = {nic.name for nic in nics.values() if nic is not None}
    backend = "host-gw" if one_segment(host) else "vxlan"
    addresses = [spec.address for spec in site.hosts]
    yield from objects(
        cluster,
        order(patched(item, site.cluster.pod_cidr, backend, names, addresses) for item in manifests),
    )


def one_segment(host: Host) -> bool:
    """Return whether every host's address is in the network of this host's NIC."""
    nic = host.facts.address_nic(host.spec.address)
    if nic is None:
        return False
    own = ipaddress.ip_address(host.spec.address)
    network = next(
        interface.network for item in nic.addresses if (interface := ipaddress.ip_interface(item)).ip == own
    )
    return all(ipaddress.ip_address(other.spec.address) in network for other in host.fleet.values())


def patched(manifest: Object, pod_cidr: str, backend: str, nics: set[str], addresses: list[str]) -> Object:
    """Return one of flannel's objects with the site's pod network, backend and NIC.

    By default flannel uses the NIC of the default route, which on Vagrant is the NAT one that all machines share. If
    the NIC's name differs from host to host, it is chosen by address instead.
    """
    result = copy.deepcopy(manifest)
    if result["kind"] == "ConfigMap" and "net-conf.json" in result.get("data", {}):
        configuration = json.loads(result["data"]["net-conf.json"])
        configuration["Network"] = pod_cidr
        configuration["Backend"] = {"Type": backend}
        result["data"]["net-conf.json"] = json.dumps(configuration, indent=2)
    for container in containers(result):
        if container["name"] == "kube-flannel":
            chosen = (
                f"--iface={next(iter(nics))}"
                if len(nics) == 1
                else f"--iface-regex=^({'|'.join(re.escape(address) for address in sorted(addresses))})$"
            )
            container["args"] = [*container["args"], chosen]
    return result


STEP = Step(
    name="network",
    summary="pod network (flannel)",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane",),
    enabled=lambda site: site.cluster.network == "flannel",
)
