"""The cluster's side of a diagnosis, read from the API and over SSH, as l2facts/v1.

Read-only. What cannot be read stays unknown and is passed to `note`. No annotation, environment variable or token
enters the facts, only what facts.py names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from provisioner.errors import ClusterError
from provisioner.kube import ClusterView, Object
from provisioner.l2.collect import announced, api_address, configuration, other_announcers, services
from provisioner.l2.collect import metrics as collect_metrics
from provisioner.l2.collect import nodes as collect_nodes
from provisioner.l2.collect.api_reader import ApiReader
from provisioner.l2.collect.metrics_token import MetricsClient
from provisioner.l2.collect.speakers import UNKNOWN, Components, components, metallb
from provisioner.l2.election.rules import since
from provisioner.l2.facts import Facts, L2Status, MetalLB, Metrics, Service
from provisioner.ssh import Host

if TYPE_CHECKING:
    from provisioner.site import Site


_CONFIG = "metallb_k8s_client_config"
Note = Callable[[str], None]


def _discard(text: str) -> None:
    del text


def from_cluster(
    cluster: ClusterView,
    hosts: Mapping[str, Host] | None,
    site: Site | None = None,
    *,
    metrics: bool = True,
    note: Note = _discard,
) -> Facts:
    """Read everything a diagnosis needs to know of the cluster.

    hosts: those whose NICs are read over SSH, None without SSH. metrics: also read the speakers' counters. note:
    receives what could not be read and stays unknown. Raises ClusterError if the API does not answer at all.
    """
    cluster.raw("/version")
    reader = ApiReader(cluster, note)
    with ThreadPoolExecutor(1) as executor:  # nodes are read over SSH while the API is
        inventory = executor.submit(collect_nodes.inventory, hosts, reader.note)
        found = reader.read_all(_sources(cluster))
        parts = (
            reader.interpret("MetalLB's pods", lambda: components(found["pods"], found["MetalLB's DaemonSets"]))
            or UNKNOWN
        )
        facts = _metallb_facts(reader, found, parts, hosts, metrics)
        nics = inventory.result()
    nodes: Mapping[str, Object] | None = found["nodes"]
    made = None
    if nodes is not None:
        made = reader.interpret("nodes", lambda: collect_nodes.nodes(nodes, nics, hosts, parts, reader.note))
    facts = facts.model_copy(
        update={
            "nodes": made if made is not None else collect_nodes.without_api(nics, site, parts),
            "services": _services(reader, found, facts),
            "external_ips": _external_ips(reader, found),
        }
    )
    return _with_announcers(reader, found, facts, site)


def metrics(cluster: ClusterView, hosts: Mapping[str, Host] | None, note: Note = _discard) -> Metrics | None:
    """Read the speakers' counters now; None if no speaker exposes any.

    hosts: reached over SSH for speakers that require a token (MetalLB from 0.16), None without SSH. A node listed
    without an address has counted nothing for it. Raises ClusterError if the API is gone.
    """
    reader = ApiReader(cluster, note)
    found = components(cluster.list("Pod"), ())
    version = metallb(found, reader.note).version
    client = MetricsClient(cluster, hosts, found.namespace)
    ready = {name: _ready(item) for name, item in cluster.nodes().items()}
    down = frozenset(name for name, is_ready in ready.items() if not is_ready)
    samples = collect_metrics.samples(reader, found.speakers or (), version, down, client, speakers=True)
    if reader.lost:
        raise ClusterError("the API no longer answers", "provisioner status")
    return collect_metrics.metrics(samples)


def with_metrics_after(facts: Facts, after: Metrics | None) -> Facts:
    """Return the facts with the counters read after the probes."""
    return facts.model_copy(update={"metrics_after": after})


def _sources(cluster: ClusterView) -> dict[str, Callable[[], Any]]:
    return {
        "nodes": cluster.nodes,
        "pods": lambda: cluster.list("Pod"),
        "MetalLB's DaemonSets": lambda: cluster.list("DaemonSet", api_version="apps/v1"),
        "services": lambda: cluster.list("Service"),
        "events": lambda: cluster.list("Event", fields="involvedObject.kind=Service"),
        "the API's versions": lambda: _served(cluster),
        "the announcers' leases": lambda: cluster.list("Lease", api_version="coordination.k8s.io/v1"),
    }


def _served(cluster: ClusterView) -> frozenset[str]:
    groups = cluster.raw("/apis")["groups"]
    return frozenset(version["groupVersion"] for group in groups for version in group["versions"])


def _metallb_facts(
    reader: ApiReader, found: Mapping[str, Any], parts: Components, hosts: Mapping[str, Host] | None, counters: bool
) -> Facts:
    """Return the facts about MetalLB and other announcers; nodes and Services are added later."""
    pods, served = found["pods"], found["the API's versions"]
    known = reader.interpret("MetalLB's pod specs", lambda: metallb(parts, reader.note)) or MetalLB(
        namespace=parts.namespace
    )
    kinds = configuration.kinds(reader, served)
    settings = configuration.configuration(reader, parts.namespace, kinds)
    down = frozenset(name for name, item in (found["nodes"] or {}).items() if not _ready(item))
    samples = _samples(reader, parts, known, down, hosts)
    state = configuration.state(reader, parts.namespace, kinds) or configuration.state_from_gauges(
        [(one.gauge(f"{_CONFIG}_loaded_bool"), one.gauge(f"{_CONFIG}_stale_bool")) for one in samples]
    )
    excluded = configuration.excluded_interfaces(reader, known)
    installed = _installed(parts, kinds)
    return Facts(
        metallb=known.model_copy(update={**state, "excluded_interfaces": excluded, "installed": installed}),
        kube_proxy=other_announcers.kube_proxy(reader, pods),
        others=other_announcers.others(reader, pods, served, found["the announcers' leases"]),
        pools=settings.pools,
        advertisements=settings.advertisements,
        l2_status=_l2_status(reader, kinds),
        speaker_log=collect_metrics.logs(reader, parts.speakers, down) if parts.speakers else None,
        metrics=collect_metrics.metrics(samples) if counters else None,
    )


def _with_announcers(reader: ApiReader, found: Mapping[str, Any], facts: Facts, site: Site | None) -> Facts:
    """Add who announces each Service, and the API's own address."""

    def add() -> Facts:
        texts = announced.written(found["services"], found["pods"], found["the announcers' leases"])
        api = api_address.api_address(reader, facts, site, texts, found["pods"])
        return announced.with_announcers(facts, texts).model_copy(update={"api": api})

    return reader.interpret("who announces each Service", add) or facts


def _samples(
    reader: ApiReader, parts: Components, known: MetalLB, down: frozenset[str], hosts: Mapping[str, Host] | None
) -> list[collect_metrics.Sample]:
    """Fetch the metrics of speakers and controllers: counters, and whether they accepted their configuration."""
    client = MetricsClient(reader.cluster, hosts, parts.namespace)
    speakers = collect_metrics.samples(reader, parts.speakers or (), known.version, down, client, speakers=True)
    controllers = collect_metrics.samples(reader, parts.controllers or (), known.version, down, client, speakers=False)
    return [*speakers, *controllers]


def _installed(parts: Components, kinds: frozenset[str] | None) -> bool | None:
    """Return whether MetalLB is in the cluster: its pods, its DaemonSets, or at least its kinds."""
    known = (parts.speakers, parts.controllers, parts.templates)
    if any(known):
        return True
    if None in known:
        return None
    return False if kinds is not None and not kinds else None if kinds is None else bool(kinds)


def _services(reader: ApiReader, found: Mapping[str, Any], facts: Facts) -> tuple[Service, ...] | None:
    if found["services"] is None:
        return None
    endpoints = _endpoints(reader, found["the API's versions"], facts)
    events = None
    if found["events"] is not None:
        events = reader.interpret("events", lambda: services.events(found["events"]))
    listed: Sequence[Object] = found["services"]
    return reader.interpret("services", lambda: services.services(listed, endpoints, events, reader.note))


def _external_ips(reader: ApiReader, found: Mapping[str, Any]) -> dict[str, tuple[str, ...]] | None:
    listed: Sequence[Object] | None = found["services"]
    if listed is None:
        return None
    return reader.interpret("services", lambda: services.external_ips(listed, reader.note))


def _endpoints(reader: ApiReader, served: frozenset[str] | None, facts: Facts) -> services.Endpoints | None:
    """Read endpoints from what the API serves: EndpointSlices, or Endpoints before 1.21."""
    if served is not None and services.SLICES not in served:
        return reader.read("endpoints", lambda: services.from_endpoints(reader.cluster.list("Endpoints")))
    serving = since(facts, "0.14.2")

    def slices() -> services.Endpoints:
        listed = reader.cluster.list("EndpointSlice", api_version=services.SLICES)
        return services.from_slices(listed, serving=serving)

    return reader.read("endpoint slices", slices)


def _l2_status(reader: ApiReader, kinds: frozenset[str] | None) -> tuple[L2Status, ...] | None:
    if not kinds or "ServiceL2Status" not in kinds:
        return None

    def fetch() -> tuple[L2Status, ...]:
        return services.l2_status(reader.cluster.list("ServiceL2Status", api_version=configuration.API))

    return reader.read("ServiceL2Statuses", fetch)


def _ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
