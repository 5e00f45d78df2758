"""The cluster's side of a diagnosis, l2facts/v1: what nodes, MetalLB, kube-proxy and the Services say of themselves.

Frozen types and nothing else, so that a diagnosis is a function of facts and frames. None, and a missing key, mean
"unknown", never "no". Written by `l2 collect`, read by `l2 check --facts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Address = IPv4Address | IPv6Address
SCHEMA = "l2facts/v1"


class Part(BaseModel):
    """A frozen part of the facts; a key that is not known is an error, since a typo must not read as unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class MetalLB(Part):
    """What is known of MetalLB. version: "0.13.12"; config: whether the controller has taken its configuration."""

    version: str | None = None
    namespace: str = "metallb-system"
    memberlist: bool | None = None
    ignore_exclude_lb: bool | None = None
    config: Literal["valid", "invalid", "stale", "unknown"] = "unknown"
    config_error: str = ""


class KubeProxy(Part):
    """How kube-proxy forwards; with ipvs and no strict_arp every node's kernel answers for every external IP."""

    mode: Literal["iptables", "ipvs", "nftables", "none"] | None = None
    strict_arp: bool | None = None


class Others(Part):
    """Whether another program that announces external IPs runs in the cluster."""

    kube_vip: bool | None = None
    servicelb: bool | None = None
    cilium_l2: bool | None = None


class Nic(Part):
    """A node's interface. addresses: "192.0.2.11/24"; master: the bridge or bond that it is enslaved to."""

    name: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    up: bool | None = None
    master: str | None = None
    proxy_arp: bool | None = None


class Node(Part):
    """A node. nics: None when nobody could look; speaker: the state of MetalLB's pod there."""

    name: str
    internal_ips: tuple[str, ...] = ()
    ready: bool | None = None
    network_unavailable: bool | None = None
    labels: Mapping[str, str] | None = None
    speaker: Literal["ready", "missing", "failing"] | None = None
    nics: tuple[Nic, ...] | None = None


class Pool(Part):
    """An IPAddressPool (an address-pool before MetalLB 0.13). addresses: CIDRs and ranges, as MetalLB takes them."""

    name: str
    addresses: tuple[str, ...] = ()
    auto_assign: bool = True
    avoid_buggy_ips: bool = False


class Advertisement(Part):
    """An L2Advertisement. An empty tuple means all, as in MetalLB. Selectors are Kubernetes label selectors."""

    name: str
    pools: tuple[str, ...] = ()
    node_selectors: tuple[Mapping[str, Any], ...] = ()
    interfaces: tuple[str, ...] = ()
    service_selectors: tuple[Mapping[str, Any], ...] = ()


class Port(Part):
    """A port of a Service. protocol: TCP, UDP or SCTP."""

    port: int
    protocol: str = "TCP"


class Endpoint(Part):
    """An endpoint of a Service. node: "" when it is on no node."""

    node: str = ""
    ready: bool = True


class Event(Part):
    """An event about a Service, by MetalLB: IPAllocated, AllocationFailed, nodeAssigned, announceFailed…"""

    reason: str
    node: str = ""
    message: str = ""


class Service(Part):
    """A Service of type LoadBalancer. endpoints: None when unknown; ingress_ips: empty while it is pending.

    labels: for an advertisement's service selectors. wanted_ips, wanted_pool: what its annotations or its spec ask
    for.
    """

    namespace: str
    name: str
    ingress_ips: tuple[str, ...] = ()
    load_balancer_class: str | None = None
    external_traffic_policy: Literal["Cluster", "Local"] | None = None
    allow_shared_ip: str | None = None
    source_ranges: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    endpoints: tuple[Endpoint, ...] | None = None
    events: tuple[Event, ...] = ()
    labels: Mapping[str, str] | None = None
    wanted_ips: tuple[str, ...] = ()
    wanted_pool: str = ""

    @property
    def key(self) -> str:
        """Return namespace/name."""
        return f"{self.namespace}/{self.name}"


class L2Status(Part):
    """A ServiceL2Status: the one node that says it announces. It cannot show a split brain."""

    service: str
    node: str
    interfaces: tuple[str, ...] = ()


class SpeakerLog(Part):
    """What a speaker's log says. partial_join: it did not reach every other speaker by memberlist."""

    partial_join: bool | None = None


class Counters(Part):
    """A speaker's counters for one address (`metallb_layer2_…`)."""

    requests_received: int = 0
    responses_sent: int = 0
    gratuitous_sent: int = 0


Metrics = Mapping[str, Mapping[str, Counters]]  # node -> external IP -> counters


class Facts(Part):
    """All of l2facts/v1. None: unknown; an empty tuple: known to be none."""

    schema_: Literal["l2facts/v1"] = Field(default=SCHEMA, alias="schema")
    metallb: MetalLB = MetalLB()
    kube_proxy: KubeProxy = KubeProxy()
    others: Others = Others()
    nodes: tuple[Node, ...] = ()
    pools: tuple[Pool, ...] | None = None
    advertisements: tuple[Advertisement, ...] | None = None
    services: tuple[Service, ...] | None = None
    l2_status: tuple[L2Status, ...] | None = None
    speaker_log: Mapping[str, SpeakerLog] | None = None
    metrics: Metrics | None = None
    metrics_after: Metrics | None = None

    def node(self, name: str) -> Node | None:
        """Return the node of that name, None without one."""
        return next((node for node in self.nodes if node.name == name), None)
