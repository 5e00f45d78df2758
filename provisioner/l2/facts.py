"""The cluster's side of a diagnosis, l2facts/v2: what nodes, MetalLB, kube-proxy and Services report.

Frozen types only, so that a diagnosis is a function of facts and frames. None and a missing key mean "unknown", never
"no". Written by `l2 collect`, read by `l2 check --facts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from provisioner.l2.facts_values import (
    AddressText,
    Count,
    MacText,
    Name,
    NetworkText,
    PortNumber,
    PrefixedAddressText,
    RangeText,
    Selector,
    VersionText,
    on_one_line,
    quoted,
)

Address = IPv4Address | IPv6Address
Announcer = Literal["metallb", "kube-vip", "cilium", "servicelb", "keepalived", "node", "other"]
SCHEMA: Literal["l2facts/v2"] = "l2facts/v2"
READABLE = ("l2facts/v1", SCHEMA)  # v2 has every key of v1, with the same meaning, and more


class Part(BaseModel):
    """A frozen part of the facts; an unknown key is an error, since a typo must not read as unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @field_validator("*")
    @classmethod
    def _on_one_line(cls, value: Any) -> Any:
        """Keep what others wrote from adding lines or colors to a report."""
        return on_one_line(value)


class MetalLB(Part):
    """MetalLB itself. version: "0.13.12"; config: whether the controller accepted its configuration.

    load_balancer_class: the only class it serves, "" for all Services without one. excluded_interfaces: Go regular
    expressions from the ConfigMap metallb-excludel2. speakers_wanted: how many nodes the DaemonSets should run a
    speaker on (desiredNumberScheduled). installed: whether MetalLB is in the cluster at all. component_label: whose
    values are "speaker" and "controller"; manifests use the first, charts the second.
    """

    version: VersionText | None = None
    namespace: str = "metallb-system"
    memberlist: bool | None = None
    ignore_exclude_lb: bool | None = None
    config: Literal["valid", "invalid", "stale", "unknown"] = "unknown"
    config_error: str = ""
    load_balancer_class: str | None = None
    excluded_interfaces: tuple[str, ...] | None = None
    speakers_wanted: Count | None = None
    installed: bool | None = None
    component_label: Literal["component", "app.kubernetes.io/component"] = "component"


class KubeProxy(Part):
    """How kube-proxy forwards; with ipvs and no strict_arp, every node's kernel answers for every external IP."""

    mode: Literal["iptables", "ipvs", "nftables", "none"] | None = None
    strict_arp: bool | None = None


class OtherAnnouncers(Part):
    """Whether other programs that announce external IPs run in the cluster."""

    kube_vip: bool | None = None
    servicelb: bool | None = None
    cilium_l2: bool | None = None


class Nic(Part):
    """A node's interface. addresses: "192.0.2.11/24"; master: its bridge or bond.

    dad_failed: addresses that failed IPv6 duplicate address detection, so the kernel does not use them; None: unknown.
    """

    name: Name
    mac: MacText = ""
    addresses: tuple[PrefixedAddressText, ...] = ()
    up: bool | None = None
    master: str | None = None
    proxy_arp: bool | None = None
    dad_failed: tuple[PrefixedAddressText, ...] | None = None


class Node(Part):
    """A node. nics: None if they could not be read; speaker: the state of MetalLB's pod; unschedulable: cordoned.

    external_ips: its addresses of the type ExternalIP.
    """

    name: Name
    internal_ips: tuple[AddressText, ...] = ()
    ready: bool | None = None
    network_unavailable: bool | None = None
    labels: Mapping[str, str] | None = None
    speaker: Literal["ready", "missing", "failing"] | None = None
    nics: tuple[Nic, ...] | None = None
    unschedulable: bool | None = None
    external_ips: tuple[AddressText, ...] = ()


class Pool(Part):
    """An IPAddressPool (an address-pool before MetalLB 0.13). addresses: CIDRs and ranges in MetalLB's syntax.

    labels: for an advertisement's pool selectors; None: unknown. protocol: layer2 or bgp before 0.13, else "".
    service_allocation: the object's serviceAllocation, which reserves the pool for some namespaces or Services.
    """

    name: Name
    addresses: tuple[RangeText, ...] = ()
    auto_assign: bool = True
    avoid_buggy_ips: bool = False
    labels: Mapping[str, str] | None = None
    protocol: Literal["", "layer2", "bgp"] = ""
    service_allocation: Mapping[str, Any] | None = None


class Advertisement(Part):
    """An L2Advertisement. An empty tuple means all, as in MetalLB. Selectors are Kubernetes label selectors.

    pools and pool_selectors add up; all pools only if both are empty.
    """

    name: Name
    pools: tuple[str, ...] = ()
    node_selectors: tuple[Selector, ...] = ()
    interfaces: tuple[str, ...] = ()
    service_selectors: tuple[Selector, ...] = ()
    pool_selectors: tuple[Selector, ...] = ()


class Port(Part):
    """A port of a Service. protocol: TCP, UDP or SCTP; name, app_protocol: as in the Service, "" without one."""

    port: PortNumber
    protocol: str = "TCP"
    name: str = ""
    app_protocol: str = ""


class Endpoint(Part):
    """An endpoint of a Service. node: "" if it is on none; ready: able to serve, by MetalLB's rule."""

    node: str = ""
    ready: bool = True


class ServiceEvent(Part):
    """An event of MetalLB about a Service: IPAllocated, AllocationFailed, nodeAssigned, announceFailed…"""

    reason: str
    node: str = ""
    message: str = ""


class Lease(Part):
    """Which node a program has elected. name: namespace/name; holder: a node's name, "" for none."""

    name: Name
    holder: str = ""
    expired: bool | None = None


class Service(Part):
    """A Service of type LoadBalancer. endpoints: None if unknown; ingress_ips: empty while it is pending.

    labels: for an advertisement's service selectors. wanted_ips, wanted_pool: requested by its annotations or spec;
    families: the IP families it needs an address of, empty if unknown. announcer: which program announces it, "other"
    for an unknown one or none, None: unknown (MetalLB is assumed); announcer_reason: how that is known; lease: of the
    announcer. status_by: the field manager that wrote
    status.loadBalancer, "" if unknown.
    """

    namespace: Name
    name: Name
    ingress_ips: tuple[AddressText, ...] = ()
    load_balancer_class: str | None = None
    external_traffic_policy: Literal["Cluster", "Local"] | None = None
    allow_shared_ip: str | None = None
    source_ranges: tuple[NetworkText, ...] = ()
    ports: tuple[Port, ...] = ()
    endpoints: tuple[Endpoint, ...] | None = None
    events: tuple[ServiceEvent, ...] = ()
    labels: Mapping[str, str] | None = None
    wanted_ips: tuple[AddressText, ...] = ()
    wanted_pool: str = ""
    families: tuple[Literal["IPv4", "IPv6"], ...] = ()
    announcer: Announcer | None = None
    announcer_reason: str = ""
    lease: Lease | None = None
    status_by: str = ""

    @property
    def key(self) -> str:
        """Return namespace/name."""
        return f"{self.namespace}/{self.name}"


class ApiAddress(Part):
    """The address at which clients reach the API. announcer: "node" for a node's own address, without failover."""

    endpoint: Name
    addresses: tuple[AddressText, ...] = ()
    port: PortNumber = 6443
    announcer: Announcer | None = None
    lease: Lease | None = None


class L2Status(Part):
    """A ServiceL2Status: the one node that claims to announce. It cannot show a split brain."""

    service: str
    node: str
    interfaces: tuple[str, ...] = ()


class SpeakerLog(Part):
    """A speaker's log. partial_join: it did not reach every other speaker by memberlist.

    interfaces: on which it answers ARP requests; None: unknown.
    """

    partial_join: bool | None = None
    interfaces: tuple[Name, ...] | None = None


class Counters(Part):
    """A speaker's counters for one address (`metallb_layer2_…`)."""

    requests_received: Count = 0
    responses_sent: Count = 0
    gratuitous_sent: Count = 0


Metrics = Mapping[str, Mapping[AddressText, Counters]]  # node -> external IP -> counters


class Facts(Part):
    """All of l2facts/v2. None: unknown; an empty tuple: none exist.

    external_ips: the addresses in spec.externalIPs of Services of any type, each with those Services' namespace/name.
    """

    schema_: Literal["l2facts/v1", "l2facts/v2"] = Field(default=SCHEMA, alias="schema")
    metallb: MetalLB = MetalLB()
    kube_proxy: KubeProxy = KubeProxy()
    others: OtherAnnouncers = OtherAnnouncers()
    nodes: tuple[Node, ...] = ()
    pools: tuple[Pool, ...] | None = None
    advertisements: tuple[Advertisement, ...] | None = None
    services: tuple[Service, ...] | None = None
    external_ips: Mapping[AddressText, tuple[str, ...]] | None = None
    l2_status: tuple[L2Status, ...] | None = None
    speaker_log: Mapping[str, SpeakerLog] | None = None
    metrics: Metrics | None = None
    metrics_after: Metrics | None = None
    api: ApiAddress | None = None

    @field_validator("schema_")
    @classmethod
    def _current(cls, schema: str) -> str:
        """Return the current schema: facts of an earlier one are current ones once they are read."""
        del schema
        return SCHEMA

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        """Refuse duplicate names of nodes, pools, advertisements or Services, which would be ambiguous."""
        named = (
            ("nodes", [node.name for node in self.nodes]),
            ("pools", [pool.name for pool in self.pools or ()]),
            ("advertisements", [advertisement.name for advertisement in self.advertisements or ()]),
            ("services", [service.key for service in self.services or ()]),
        )
        for part, names in named:
            if twice := next((name for name, times in Counter(names).items() if times > 1), ""):
                raise ValueError(f"{part}: {quoted(twice)} appears twice")
        return self

    def node(self, name: str) -> Node | None:
        """Return the node of that name, None if there is none."""
        return next((node for node in self.nodes if node.name == name), None)
