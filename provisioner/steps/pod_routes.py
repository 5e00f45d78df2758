"""A minimal pod network without images: the CNI bridge plugin and static routes between the nodes.

Each node bridges its own pod range and routes the ranges of the others to their node addresses, so all nodes must be
on one segment. Packets that leave the pod network are masqueraded, those between pods are not.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import file, unit
from provisioner.errors import HostError, NotYet
from provisioner.kube import Cluster
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host
from provisioner.steps.flannel import one_segment

CNI = "/etc/cni/net.d/10-provisioner-bridge.conflist"
SCRIPT = "/usr/local/sbin/provisioner-pod-routes"
UNIT = "provisioner-pod-routes.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the CNI configuration and routes of this host."""
    if not one_segment(host):
        raise HostError(
            host.name,
            'network = "bridge" needs all hosts on one segment',
            'set network = "flannel" under [cluster]',
        )
    ranges = {
        name: _network(host, name, node["spec"]["podCIDR"])
        for name, node in sorted(cluster.nodes().items())
        if node["spec"].get("podCIDR")
    }
    if host.name not in ranges:
        raise NotYet(f"{host.name} has no pod CIDR in the API yet", "provisioner apply")
    addresses = {spec.name: spec.address for spec in site.hosts}
    routes = {pods: addresses[name] for name, pods in ranges.items() if name != host.name and name in addresses}
    script = routes_script(site.cluster.pod_cidr, routes)
    yield from file(host, SCRIPT, script, mode=0o755)
    yield from file(host, UNIT_FILE, _UNIT, then="systemctl daemon-reload")
    facts = host.facts
    stale = facts.files[SCRIPT].content != script or (
        facts.units[UNIT].active and int(facts.files[SCRIPT].mtime) > facts.units[UNIT].since
    )
    yield from unit(host, UNIT, restart=stale)
    # Last: the kubelet reports Ready as soon as this file exists, and by then the routes must.
    yield from file(host, CNI, cni_config(ranges[host.name]))


def _network(host: Host, node: str, text: str) -> str:
    """Return a pod range of the API, which ends up in a root shell; raise HostError if it is not a network."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise HostError(
            host.name,
            f"the API's pod CIDR of node {node} is not a network: {text!r}",
            f"kubectl get node {node} -o yaml",
        ) from error


def cni_config(pod_range: str) -> str:
    """Return a node's conflist: bridge with host-local addresses from its pod range, and portmap."""
    gateway = str(next(ipaddress.ip_network(pod_range).hosts()))
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": pod_range, "gateway": gateway}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    document = {"cniVersion": "0.3.1", "name": "provisioner-bridge", "plugins": [bridge, portmap]}
    return json.dumps(document, indent=2) + "\n"


def routes_script(pod_cidr: str, routes: dict[str, str]) -> str:
    """Return the idempotent script that sets up routes and masquerading."""
    lines = [
        "#!/bin/sh",
        "# Routes to the pods of the other nodes; written by provisioner, which rewrites it.",
        "set -eu",
        *(f"ip route replace {pods} via {address}" for pods, address in routes.items()),
        "iptables -t nat -N PROVISIONER-MASQ 2>/dev/null || iptables -t nat -F PROVISIONER-MASQ",
        f"iptables -t nat -A PROVISIONER-MASQ -d {pod_cidr} -j RETURN",
        "iptables -t nat -A PROVISIONER-MASQ -d 224.0.0.0/4 -j RETURN",
        "iptables -t nat -A PROVISIONER-MASQ -j MASQUERADE",
        f"iptables -t nat -C POSTROUTING -s {pod_cidr} -j PROVISIONER-MASQ 2>/dev/null ||",
        f"  iptables -t nat -A POSTROUTING -s {pod_cidr} -j PROVISIONER-MASQ",
    ]
    return "\n".join(lines) + "\n"


_UNIT = f"""\
[Unit]
Description=Routes to the pods of the other nodes
After=network-online.target
Wants=network-online.target
Before=kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={SCRIPT}

[Install]
WantedBy=multi-user.target
"""

STEP = Step(
    name="pod-routes",
    summary="pod network (bridge plugin and static routes)",
    scope=Scope.ALL,
    changes=changes,
    query=lambda site: FactQuery(files=(CNI, SCRIPT, UNIT_FILE), units=(UNIT,)),
    after=("join",),
    enabled=lambda site: site.cluster.network == "bridge",
)
