"""What stands after an apply, and where it is: the block that ends it, and the commands to go on with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from provisioner.cli.hints import INSIDE
from provisioner.cli.options import Options
from provisioner.cli.session import Session
from provisioner.errors import ClusterError, NoCluster
from provisioner.kube.node_rows import rows
from provisioner.steps import vip
from provisioner.text import join_words

ADMIN_CONF = "/etc/kubernetes/admin.conf"
_SHOWN = 8  # Services of type LoadBalancer


def event(session: Session) -> dict[str, Any] | None:
    """Return the data of the event "made", None without a cluster: a title, and parts by name of one or more lines."""
    name = session.site.cluster.name
    try:
        return {"title": f"cluster {name} is up", "parts": dict(_parts(session))}
    except NoCluster:
        return None
    except ClusterError as error:
        parts = {"API": f"https://{session.site.endpoint} does not answer now: {error.message}"}
        return {"title": f"cluster {name}", "parts": parts}


def _parts(session: Session) -> Iterator[tuple[str, str | list[str]]]:
    site, cluster = session.site, session.cluster
    table = rows(site, cluster.nodes())
    services = [item for item in cluster.list("Service") if item["spec"].get("type") == "LoadBalancer"]
    ready = [row["name"] for row in table if row["status"].startswith("Ready")]
    versions = sorted({row["version"] for row in table if row["version"]})
    yield "nodes", f"{len(ready)} of {len(table)} Ready, Kubernetes {join_words(versions)}: {', '.join(ready)}"
    yield "API", f"https://{site.endpoint}"
    if site.cluster.vip:
        holders = join_words(vip.holders(session.hosts, site)) or "no control plane that answers"
        yield "VIP", f"{site.cluster.vip}, on {holders} now"
    yield "kubeconfig", f"{ADMIN_CONF} on {join_words(spec.name for spec in site.control_planes)}"
    if site.nfs.enabled:
        yield "NFS", f"{site.nfs_server.name}:{site.nfs.export}, at {site.nfs_server.address}"
    addresses = {address for service in services for address in _addresses(service)}
    for pool in site.metallb.pools if site.metallb.enabled else ():
        used = sum(address in pool for address in addresses)
        size = sum(each.size for each in pool.ranges)
        yield f"pool {pool.name}", f"{', '.join(pool.addresses)}; {used} of {size} in use"
    if found := [_service(item) for item in sorted(services, key=_order)]:
        more = [f"{len(found) - _SHOWN} more: kubectl get services -A"] if len(found) > _SHOWN else []
        yield "external IPs", found[:_SHOWN] + more


def _addresses(service: Mapping[str, Any]) -> list[str]:
    found = [entry.get("ip", "") for entry in service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()]
    return [address for address in found if address]


def _order(service: Mapping[str, Any]) -> tuple[int, int, str]:
    addresses = _addresses(service)
    parsed = ip_address(addresses[0]) if addresses else None
    return (parsed.version if parsed else 9, int(parsed) if parsed else 0, service["metadata"]["name"])


def _service(service: Mapping[str, Any]) -> str:
    """Return a Service as "192.168.56.200 port 80  course/web"."""
    meta = service["metadata"]
    ports = ", ".join(str(port["port"]) for port in service["spec"].get("ports") or ())
    where = " and ".join(_addresses(service)) or "no address yet"
    return f"{where}{f' port {ports}' if ports else ''}  {meta.get('namespace', 'default')}/{meta['name']}"


def kubectl(options: Options, master: str) -> str:
    """Return the kubectl command that works here; a lab's API is out of reach, so there it runs on the master."""
    lab = os.environ.get(INSIDE)
    if lab:
        return f"{lab} lab ssh {master} sudo kubectl --kubeconfig {ADMIN_CONF}"
    return options.runnable("provisioner kubeconfig --merge; kubectl")
