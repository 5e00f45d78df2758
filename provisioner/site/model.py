"""The site: what hosts.toml says, validated and frozen, with every default filled in.

syntax.py checks single values, rules.py what must hold between them; messages.py words the mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from provisioner.addresses import Range, host_port, parse_range, split_host_port
from provisioner.catalogue import default_minor, kubernetes_version
from provisioner.errors import ProvisionerError
from provisioner.site import syntax, types
from provisioner.site.types import AsTuple, Unique
from provisioner.text import did_you_mean
from provisioner.version import Version

API_PORT = 6443

SLOW_ABOVE = 2.0  # a site with a larger cluster.timeout_scale is slow


class Model(BaseModel):
    """A table of hosts.toml: frozen, strictly typed, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class ClusterSpec(Model):
    """`[cluster]`. pod_cidr and service_cidr: normalized networks.

    vip: an address that the control planes share; vip_router_id: its VRRP number, 0 for the address's last byte.
    """

    name: types.Name = "lab"
    kubernetes: types.KubernetesVersion = Field(default_factory=default_minor)
    pod_cidr: types.Cidr = "10.244.0.0/16"
    service_cidr: types.Cidr = "10.96.0.0/16"
    network: Literal["flannel", "bridge"] = "flannel"
    vip: Annotated[types.VirtualAddress, Field(examples=["192.168.56.9"])] = ""
    vip_router_id: Annotated[int, Field(ge=0, le=255)] = 0
    endpoint: Annotated[types.Endpoint, Field(examples=["api.example.org:6443"])] = ""
    timeout_scale: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0

    @property
    def router_id(self) -> int:
        """Return the VRRP number (VRID) of the vip, 1 to 255."""
        return self.vip_router_id or int(ip_address(self.vip)) & 0xFF or 1


class Ssh(Model):
    """`[ssh]`. Paths are relative to the directory of hosts.toml; connect_timeout: seconds.

    config: an ssh_config(5) that answers where hosts.toml is silent; "" reads none.
    """

    user: types.User = "vagrant"
    port: types.Port = 22
    key: Annotated[types.Text, Field(examples=["~/.ssh/id_ed25519"])] = ""
    jump: Annotated[types.Jump, Field(examples=["user@gate.example.org:22"])] = ""
    config: Annotated[types.Text, Field(examples=["~/.ssh/config"])] = "~/.ssh/config"
    host_keys: Literal["strict", "accept-new", "off"] = "accept-new"
    known_hosts: Annotated[types.Text, Field(min_length=1)] = ".provisioner/known_hosts"
    sudo_password: Annotated[types.SudoPassword, Field(examples=["prompt"])] = "none"
    connect_timeout: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 10.0


class HostSsh(Model):
    """`ssh` of one host: what differs from `[ssh]`; "" and 0 inherit."""

    user: Annotated[types.OptionalUser, Field(examples=["debian"])] = ""
    port: Annotated[int, Field(ge=0, le=65535, examples=[2222])] = 0
    key: Annotated[types.Text, Field(examples=["~/.ssh/id_ed25519"])] = ""


class HostSpec(Model):
    """One of `[[hosts]]`. address: the node IP on the cluster's segment, normalized."""

    name: Annotated[types.Name, Field(examples=["worker1"])]
    address: Annotated[types.NodeAddress, Field(examples=["192.168.56.11"])]
    ssh_address: Annotated[types.SshAddress, Field(examples=["node1.example.org"])] = ""
    roles: Annotated[
        tuple[Literal["control-plane", "worker"], ...], AsTuple, Unique, Field(min_length=1, examples=[["worker"]])
    ]
    interface: Annotated[types.OptionalInterface, Field(examples=["eth1"])] = ""
    labels: Annotated[Mapping[types.LabelKey, types.LabelValue], Field(examples=[{"disk": "ssd"}])] = Field(
        default_factory=dict
    )
    taints: Annotated[
        tuple[types.Taint, ...], AsTuple, Unique, Field(examples=[["dedicated=storage:NoSchedule"]])
    ] = ()
    ssh: Annotated[HostSsh, Field(examples=[{"port": 2222}])] = HostSsh()

    @property
    def is_control_plane(self) -> bool:
        """Return whether the host runs the API server."""
        return "control-plane" in self.roles

    @property
    def api_server(self) -> str:
        """Return "host:port" of a control plane's own API server."""
        return host_port(self.address, API_PORT)

    @property
    def is_worker(self) -> bool:
        """Return whether the host takes ordinary pods; a control plane can, too."""
        return "worker" in self.roles

    @property
    def parsed_taints(self) -> tuple[syntax.Taint, ...]:
        """Return the taints as (key, value, effect)."""
        return tuple(syntax.parse_taint(taint) for taint in self.taints)


class Nfs(Model):
    """`[nfs]`. clients: addresses and networks besides the cluster's hosts, which always have access.

    provisioner: "static" creates `volumes` volumes of `size` in advance; "csi": csi-driver-nfs creates one per claim.
    """

    enabled: bool = True
    server: Annotated[types.Text, Field(examples=["master"])] = ""
    export: types.Export = "/srv/nfs"
    clients: Annotated[tuple[types.Client, ...], AsTuple, Unique, Field(examples=[["192.168.56.1"]])] = ()
    root_squash: bool = True
    volumes: Annotated[int, Field(ge=0, le=1000)] = 8
    size: types.Size = "1Gi"
    class_: Annotated[types.Name, Field(alias="class")] = "nfs"
    provisioner: Literal["static", "csi"] = "static"


class PoolSpec(Model):
    """One of `[[metallb.pools]]`. addresses: networks or ranges, as written."""

    name: Annotated[types.Name, Field(examples=["lab"])]
    addresses: Annotated[
        tuple[types.PoolRange, ...],
        AsTuple,
        Field(min_length=1, examples=[["192.168.56.200-192.168.56.230"]]),
    ]
    auto_assign: bool = True
    avoid_buggy_ips: bool = False
    interfaces: Annotated[tuple[types.Interface, ...], AsTuple, Unique, Field(examples=[["eth1"]])] = ()

    @property
    def ranges(self) -> tuple[Range, ...]:
        """Return the range of every entry of `addresses`, in order."""
        return tuple(parse_range(text) for text in self.addresses)

    def __contains__(self, address: object) -> bool:
        """Return whether an address, as text or parsed, is in the pool."""
        return any(address in each for each in self.ranges)


class Metallb(Model):
    """`[metallb]`. version: "" selects the one that fits the Kubernetes version."""

    enabled: bool = True
    version: Annotated[types.Release, Field(examples=["0.16.1"])] = ""
    pools: Annotated[tuple[PoolSpec, ...], AsTuple] = ()


class Metrics(Model):
    """`[metrics]`. version: "" selects the one that fits the Kubernetes version."""

    enabled: bool = True
    version: Annotated[types.Release, Field(examples=["0.9.0"])] = ""


class Ingress(Model):
    """`[ingress]`. controller: "" selects the one that fits the Kubernetes version."""

    enabled: bool = True
    controller: Annotated[Literal["", "nginx", "haproxy", "traefik"], Field(examples=["traefik"])] = ""


class Workloads(Model):
    """`[workloads]`. enabled: names of files in workloads/, without .yaml."""

    enabled: Annotated[tuple[types.Workload, ...], AsTuple, Unique] = (
        "nodeport",
        "loadbalancer",
        "ingress",
        "hpa",
        "daemonset",
        "configmap",
        "shared-volume",
        "statefulset",
    )


class Mirror(Model):
    """`[mirror]`. URLs that replace upstream's, without a trailing slash; "" is upstream itself."""

    packages: Annotated[types.Url, Field(examples=["http://192.168.56.2/pkgs.k8s.io"])] = ""
    images: Annotated[types.Url, Field(examples=["http://192.168.56.2:5000"])] = ""
    manifests: Annotated[types.Url, Field(examples=["http://192.168.56.2"])] = ""
    containerd: Annotated[types.Url, Field(examples=["http://192.168.56.2/download.docker.com"])] = ""
    packages_key: Annotated[tuple[types.Fingerprint, ...], AsTuple, Unique, Field(examples=[["A1" * 20]])] = ()
    containerd_key: Annotated[tuple[types.Fingerprint, ...], AsTuple, Unique, Field(examples=[["A1" * 20]])] = ()


class Proxy(Model):
    """`[proxy]`. The proxy through which hosts reach other networks; "" is none.

    no_proxy: names, addresses and networks besides the cluster's own, which are reached without it.
    """

    http: Annotated[types.Proxy, Field(examples=["http://192.168.56.2:3128"])] = ""
    https: Annotated[types.Proxy, Field(examples=["http://192.168.56.2:3128"])] = ""
    no_proxy: Annotated[tuple[types.Unproxied, ...], AsTuple, Unique, Field(examples=[[".example.org"]])] = ()


class Hardening(Model):
    """`[hardening]`. What a new cluster is protected with; hardening.py says what each item stands for."""

    encryption: bool = True
    audit: bool = True
    pod_security: bool = True
    kubelet: bool = True
    verify_kubelets: bool = True


Flags = Annotated[Mapping[types.Flag, types.Text], Field(examples=[{"v": "2"}])]


class Kubeadm(Model):
    """`[kubeadm]`. Extra arguments by component, passed through; init_timeout, not scaled.

    key_algorithm: of the keys that `kubeadm init` generates, as in v1beta4's encryptionAlgorithm.
    ignore_preflight_errors: names of kubeadm's preflight checks that may fail.
    """

    api_server: Flags = Field(default_factory=dict)
    controller_manager: Flags = Field(default_factory=dict)
    scheduler: Flags = Field(default_factory=dict)
    etcd: Flags = Field(default_factory=dict)
    kubelet: Flags = Field(default_factory=dict)
    kubelet_configuration: Annotated[types.JsonObject, Field(examples=[{"maxPods": 50}])] = Field(default_factory=dict)
    kube_proxy_configuration: Annotated[types.JsonObject, Field(examples=[{"mode": "nftables"}])] = Field(
        default_factory=dict
    )
    ignore_preflight_errors: Annotated[
        tuple[types.Text, ...], AsTuple, Unique, Field(examples=[["SystemVerification"]])
    ] = ()
    key_algorithm: Literal["RSA-2048", "ECDSA-P256"] = "RSA-2048"
    init_timeout: types.Duration = "4m"

    @property
    def init_seconds(self) -> float:
        """Return `init_timeout` in seconds, not scaled."""
        parts = re.findall(r"(\d+)([hms])", self.init_timeout)
        return float(sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts))


class Site(Model):
    """The whole hosts.toml."""

    cluster: ClusterSpec = ClusterSpec()
    ssh: Ssh = Ssh()
    hosts: Annotated[tuple[HostSpec, ...], AsTuple, Field(min_length=1)]
    nfs: Nfs = Nfs()
    metallb: Metallb = Metallb()
    metrics: Metrics = Metrics()
    ingress: Ingress = Ingress()
    workloads: Workloads = Workloads()
    mirror: Mirror = Mirror()
    proxy: Proxy = Proxy()
    hardening: Hardening = Hardening()
    kubeadm: Kubeadm = Kubeadm()
    _path: Path = PrivateAttr(default=Path("hosts.toml"))

    @property
    def path(self) -> Path:
        """Return the path of the file as given."""
        return self._path

    @property
    def directory(self) -> Path:
        """Return the absolute path of the file's directory, which relative paths in the file start from."""
        return self._path.absolute().parent

    @property
    def state(self) -> Path:
        """Return the directory of caches and logs; deleting it loses nothing."""
        return self.directory / ".provisioner"

    @property
    def version(self) -> Version:
        """Return the Kubernetes version, with the patch from the catalogue if none is given."""
        return kubernetes_version(self.cluster.kubernetes)

    @property
    def control_planes(self) -> tuple[HostSpec, ...]:
        """Return the hosts with the role control-plane, in the file's order."""
        return tuple(host for host in self.hosts if host.is_control_plane)

    @property
    def workers(self) -> tuple[HostSpec, ...]:
        """Return the hosts without the role control-plane, in the file's order."""
        return tuple(host for host in self.hosts if not host.is_control_plane)

    @property
    def first(self) -> HostSpec:
        """Return the control plane that `kubeadm init` runs on."""
        return self.control_planes[0]

    @property
    def nfs_server(self) -> HostSpec:
        """Return the NFS server."""
        return self.host(self.nfs.server) if self.nfs.server else self.first

    @property
    def ingress_controller(self) -> str:
        """Return the name of the ingress controller; unless chosen, the one that fits the Kubernetes version."""
        # 1.28 is the oldest minor that NGINX's controller 5.x is tested with.
        return self.ingress.controller or ("nginx" if self.version.at_least(1, 28) else "haproxy")

    @property
    def endpoint(self) -> str:
        """Return "host:port" of the API for clients, IPv6 in brackets."""
        return self.shared_endpoint or self.first.api_server

    @property
    def shared_endpoint(self) -> str:
        """Return "host:port" of the API at the address that all control planes share, "" if they share none."""
        shared = self.cluster.vip or self.cluster.endpoint
        return host_port(*split_host_port(shared, API_PORT)) if shared else ""

    def host(self, name: str) -> HostSpec:
        """Return the host of that name; raise ProvisionerError, suggesting the closest, if there is none."""
        names = [host.name for host in self.hosts]
        if name in names:
            return self.hosts[names.index(name)]
        remedy = did_you_mean(name, names) or f"the hosts are {', '.join(names)}"
        raise ProvisionerError(f"{self._path} has no host {name!r}", remedy)

    @property
    def slow(self) -> bool:
        """Return whether the machines are slow: what could run in parallel then runs in sequence (decision 0011)."""
        return self.cluster.timeout_scale > SLOW_ABOVE

    def timeout(self, seconds: float) -> float:
        """Return a timeout in seconds, multiplied by cluster.timeout_scale."""
        return seconds * self.cluster.timeout_scale
