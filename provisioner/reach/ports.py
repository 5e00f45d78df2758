"""The ports that the hosts of a cluster need of each other, and those that the operator's machine needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from provisioner.site import HostSpec, Site

NODE_PORT = 30080  # one of 30000-32767; that of the shipped workload, so that a filter with gaps shows
VXLAN_PORT = 8472  # of flannel's backend vxlan (flannel's Documentation/backends.md)


@dataclass(frozen=True)
class Port:
    """A port of a host that another one connects or sends to. what: who listens, for messages."""

    protocol: str
    number: int
    what: str

    @property
    def key(self) -> str:
        """Return "tcp/6443"."""
        return f"{self.protocol}/{self.number}"


@dataclass(frozen=True)
class Needs:
    """Who needs which ports in a site. vxlan: whether flannel encapsulates the packets between the nodes' pods."""

    site: Site
    vxlan: bool = False

    def listening(self, host: HostSpec) -> tuple[Port, ...]:
        """Return the ports of a host that any other machine needs (kubernetes.io, "Ports and Protocols")."""
        return tuple(port for port, _ in self._all(host))

    def needed(self, source: HostSpec | None, target: HostSpec) -> tuple[Port, ...]:
        """Return the ports of `target` that `source` needs; None is the operator's machine."""
        return tuple(port for port, users in self._all(target) if (source.name if source else "") in users)

    def _all(self, host: HostSpec) -> Iterator[tuple[Port, set[str]]]:
        """Yield the ports of a host, each with the names of the machines that need it; "" is the operator's."""
        site = self.site
        names = {each.name for each in site.hosts}
        if host.is_control_plane:
            yield Port("tcp", 6443, "kube-apiserver"), names | {""}
            for number in (2379, 2380):
                yield Port("tcp", number, "etcd"), {each.name for each in site.control_planes}
        yield Port("tcp", 10250, "kubelet"), names  # of every node: metrics-server may run on any
        if site.metallb.enabled:
            for protocol in ("tcp", "udp"):
                yield Port(protocol, 7946, "MetalLB"), names
        if site.nfs.enabled and host.name == site.nfs_server.name:
            yield Port("tcp", 2049, "NFS"), names
        if self.vxlan:
            yield Port("udp", VXLAN_PORT, "flannel"), names
        yield Port("tcp", NODE_PORT, "node ports"), {""}
