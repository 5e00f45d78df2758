"""Each external IP is from a pool, is announced by the right node alone, and leads to all pods behind it.

Layer-2 diagnosis (provisioner/l2) judges the announcement by the cluster's state and frames sent from this machine;
when that allows no conclusion, the finding says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from provisioner.checks import backends, http_client, pods, workload_manifests
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, wait_for
from provisioner.kube import Object, address_pools
from provisioner.kube.address_pools import AddressPool
from provisioner.kube.load_balancers import assigned_ips, is_metallb_service
from provisioner.kube.objects import namespaced_name, object_name
from provisioner.l2 import verdicts
from provisioner.l2.result import AddressOwner, Result
from provisioner.site import Site
from provisioner.text import join_words, pluralize

WORKLOADS = ("loadbalancer", "hpa")  # the shipped ones with a Service of this type
PATH = "/hostname"
REQUESTS_PER_POD = 10  # as in nodeport: the chance to miss one of n pods is about n e^-10


@dataclass(frozen=True)
class ExternalIP:
    """One external IP of one Service."""

    service: Object
    ip: str

    def __str__(self) -> str:
        return f"{self.ip} ({namespaced_name(self.service)})"


@dataclass
class Responses:
    """The responses so far: the last one, and the names of the pods that answered."""

    last: http_client.Response = field(default_factory=lambda: http_client.Response(""))
    names: set[str] = field(default_factory=set)
    requests: int = 0


def run(context: Context) -> Iterator[Finding]:
    """Yield findings on each LoadBalancer Service: its addresses, their announcement, and what they serve."""
    cluster = context.cluster
    services = wait_for(
        context,
        "every LoadBalancer Service to have an address",
        lambda: [one for one in cluster.list("Service") if is_metallb_service(one)],
        lambda found: bool(found) and all(assigned_ips(one) for one in found),
        timeout=60,
    )
    for name in workload_manifests.services(context.site, "LoadBalancer", *WORKLOADS):
        if not _named(services, name):
            detail = "does not exist, or is not a LoadBalancer Service for MetalLB"
            yield failed("LB_NONE", f"Service {NAMESPACE}/{name}", detail, "provisioner apply")
    if not services:
        return
    others = address_pools.unmanaged_pools(cluster, context.site)
    for service in services:
        yield from _pools(context, service, others)
    yield from _distinct(context, services)
    patience = verdicts.PATIENCE if context.patient else 0.0
    results = verdicts.verdicts(context.site, cluster, context.hosts, progress=cluster.progress, patience=patience)
    yield from map(verdict, results)
    for external in [ExternalIP(service, ip) for service in services for ip in assigned_ips(service)]:
        yield from serves(context, external)


def _named(services: Sequence[Object], name: str) -> Object | None:
    return next((one for one in services if namespaced_name(one) == f"{NAMESPACE}/{name}"), None)


def _distinct(context: Context, services: Sequence[Object]) -> Iterator[Finding]:
    """Yield whether the Services of the LoadBalancer workload have an address each instead of sharing one."""
    names = workload_manifests.services(context.site, "LoadBalancer", "loadbalancer")
    assigned = {name: assigned_ips(one) for name in names if (one := _named(services, name)) and assigned_ips(one)}
    if len(assigned) < 2:
        return
    subject = f"Services {join_words(f'{NAMESPACE}/{name}' for name in assigned)}"
    shown = ", ".join(f"{name} has {join_words(ips)}" for name, ips in assigned.items())
    every = [ip for ips in assigned.values() for ip in ips]
    if len(set(every)) == len(every):
        yield passed("LB_DISTINCT", subject, f"have different addresses: {shown}")
    else:
        yield failed(
            "LB_NOT_DISTINCT",
            subject,
            f"share an address: {shown}",
            f"kubectl -n {NAMESPACE} get services -o yaml; remove the annotation allow-shared-ip",
            *(line for name in assigned for line in context.cluster.events(NAMESPACE, name)[-pods.EVENTS :]),
        )


def _pools(context: Context, service: Object, others: Sequence[AddressPool]) -> Iterator[Finding]:
    subject = object_name(service)
    for ip in assigned_ips(service):
        pool = next((pool for pool in context.site.metallb.pools if ip in pool), None)
        other = next((other for other in others if other.holds(ip)), None)
        if pool is not None:
            yield passed("LB_ADDRESS", subject, f"has {ip} from pool {pool.name}")
        elif other is not None:
            yield passed("LB_ADDRESS", subject, f"has {ip} from pool {other.name}, which is not in hosts.toml")
        else:
            yield failed(
                "LB_OFF_POOL",
                subject,
                f"has {ip}, which is in no pool of hosts.toml",
                "provisioner plan shows whether the cluster's pools match hosts.toml",
                *context.cluster.events(service["metadata"]["namespace"], service["metadata"]["name"])[-pods.EVENTS :],
            )


def verdict(result: Result) -> Finding:
    """Return a verdict of the layer-2 diagnosis as a finding, with the code L2_VERDICT."""
    subject, code = verdicts.subject(result), f"L2_{result.verdict}"
    if result.ok:
        owners = join_words(map(_owner, result.owners))
        predicted = ", as predicted" if result.predicted_leader and not result.warnings else ""
        warnings = f" ({', '.join(result.warnings)})" if result.warnings else ""
        return passed(code, subject, f"is answered only by {owners}{predicted}{warnings}")
    first, *more = result.evidence or ("",)
    remedy = " ".join(part for part in (result.remedy, result.command) if part)
    if result.inconclusive:
        return failed(code, subject, f"cannot be judged from here: {first}", remedy, *more)
    confidence = "" if result.confidence == "certain" else f" ({result.confidence})"
    return failed(code, subject, f"has a layer-2 fault{confidence}: {first}", remedy, *more)


def _owner(owner: AddressOwner) -> str:
    place = " ".join(part for part in (owner.node or join_words(owner.nodes, "or"), owner.nic) if part)
    return f"{place} ({owner.mac})" if place else owner.mac


def serves(context: Context, external: ExternalIP) -> Iterator[Finding]:
    """Yield whether a Service answers at its external IP.

    A shipped one must lead to every pod, over HTTP; one of another namespace must accept TCP on at least one port.
    A user's own Service in the shipped namespace is judged by its announcement only.
    """
    service = external.service
    ports = [int(one["port"]) for one in service["spec"]["ports"] if one.get("protocol", "TCP") == "TCP"]
    shipped = workload_manifests.services(context.site, "LoadBalancer", *WORKLOADS)
    ours = service["metadata"]["namespace"] == NAMESPACE
    if ours and service["metadata"]["name"] not in shipped:
        return
    if not ports:
        yield passed("LB_NO_TCP", str(external), "has no TCP port to connect to")
    elif ours:
        yield from _http(context, external, ports[0])
    else:
        yield _tcp(context, external, ports)


def _http(context: Context, external: ExternalIP, port: int) -> Iterator[Finding]:
    behind = backends.wait_ready(context, external.service)
    if finding := backends.judge(context, "LB", external.service, behind):
        yield finding
    if not behind.ready:
        return
    responses = _request_until_all(context, external.ip, port, behind.ready)
    if responses.last.status != 200:
        explained = pods.explain_named(context.cluster, behind.pods, behind.ready)
        yield _not_serving(context, external, str(responses.last), explained)
        return
    yield passed("LB_SERVES", str(external), f"serves HTTP as {responses.last.body.strip()}")
    requests = pluralize(responses.requests, "request")
    if unseen := behind.ready - responses.names:
        yield failed(
            "LB_POD_UNSEEN",
            str(external),
            f"never led to {join_words(sorted(unseen))} in {requests}",
            f"kubectl -n {NAMESPACE} get endpoints {external.service['metadata']['name']} -o yaml",
            f"answered: {', '.join(sorted(responses.names))}",
            *pods.explain_named(context.cluster, behind.pods, unseen),
        )
    else:
        yield passed("LB_PODS", str(external), f"leads to {join_words(sorted(behind.ready))} ({requests})")


def _request_until_all(context: Context, ip: str, port: int, expected: set[str]) -> Responses:
    """Send requests until every expected pod has answered or chance no longer explains a missing one."""
    responses = Responses()

    def request() -> Responses:
        for _ in range(REQUESTS_PER_POD * len(expected)):
            responses.last = http_client.get(ip, port, PATH, timeout=context.site.timeout(5))
            responses.requests += 1
            if responses.last.status != 200:
                break
            responses.names.add(responses.last.body.strip())
            if expected <= responses.names:
                break
        return responses

    return wait_for(
        context,
        f"http://{ip}",
        request,
        lambda seen: seen.last.status == 200 and expected <= seen.names,
        timeout=30,
    )


def _tcp(context: Context, external: ExternalIP, ports: Sequence[int]) -> Finding:
    errors = wait_for(
        context,
        f"a TCP port of {external.ip}",
        lambda: {port: http_client.connect(external.ip, port, context.site.timeout(5)) for port in ports},
        lambda errors: not all(errors.values()),
        timeout=30,
    )
    opened = [str(port) for port, error in errors.items() if not error]
    closed = [f"{port}: {error}" for port, error in errors.items() if error]
    if opened:
        return passed(
            "LB_SERVES",
            str(external),
            f"accepts connections on {join_words(opened)}" + (f", not on {', '.join(closed)}" if closed else ""),
        )
    spec, namespace = external.service["spec"], external.service["metadata"]["namespace"]
    own = pods.matching(context.cluster.list("Pod", namespace), spec.get("selector") or {})
    names = [pod["metadata"]["name"] for pod in sorted(own, key=pods.ready)]
    return _not_serving(context, external, "; ".join(closed), pods.explain_named(context.cluster, own, names[:2]))


def _not_serving(context: Context, external: ExternalIP, seen: str, explained: Iterable[str] = ()) -> Finding:
    namespace, name = external.service["metadata"]["namespace"], external.service["metadata"]["name"]
    return failed(
        "LB_NOT_SERVING",
        str(external),
        f"does not serve: {seen}",
        f"kubectl -n {namespace} get endpoints {name}; kubectl -n {namespace} describe service {name}",
        *context.cluster.events(namespace, name)[-pods.EVENTS :],
        *explained,
    )


def _skip_reason(site: Site) -> str:
    return "" if site.metallb.enabled else "[metallb] is not enabled"


CHECK = Check(
    "loadbalancer",
    "Each external IP is announced by the right node alone and leads to all its pods.",
    run,
    _skip_reason,
    reads_only=True,
)
