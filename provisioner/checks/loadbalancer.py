"""Each external IP comes from a pool, is announced by the node that should, and spreads what it gets over its pods.

The verdict of the wire is layer-2 diagnosis (provisioner/l2): the cluster's facts beside frames from the operator's
machine. Where nothing can be concluded from here, that is what is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from provisioner.checks import backends, http_client, pods, workload_manifests
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, wait_for
from provisioner.kube import Object
from provisioner.kube.load_balancers import addresses, balanced
from provisioner.kube.objects import namespaced_name, object_name
from provisioner.l2 import verdicts
from provisioner.l2.result import AddressOwner, Result
from provisioner.site import Site
from provisioner.steps import pool_supply
from provisioner.steps.pool_supply import Supply
from provisioner.text import join_words, pluralize

WORKLOADS = ("loadbalancer", "hpa")  # the shipped ones with a Service of this type
PATH = "/hostname"
REQUESTS_PER_POD = 10  # as in nodeport: the chance to miss one of n pods is about n e^-10


@dataclass(frozen=True)
class External:
    """One external IP of one Service."""

    service: Object
    ip: str

    def __str__(self) -> str:
        return f"{self.ip} ({namespaced_name(self.service)})"


@dataclass
class Heard:
    """What came back so far: the last page, and the pods that answered."""

    page: http_client.Response = field(default_factory=lambda: http_client.Response(""))
    names: set[str] = field(default_factory=set)
    requests: int = 0


def run(context: Context) -> Iterator[Finding]:
    """Yield findings for each LoadBalancer Service of the cluster: its addresses, the wire, and what it serves."""
    cluster = context.cluster
    services = wait_for(
        context,
        "every LoadBalancer Service to have an address",
        lambda: [one for one in cluster.list("Service") if balanced(one)],
        lambda found: bool(found) and all(addresses(one) for one in found),
        timeout=60,
    )
    for name in workload_manifests.services(context.site, "LoadBalancer", *WORKLOADS):
        if not _named(services, name):
            said = "does not exist, or is no Service of type LoadBalancer for MetalLB"
            yield failed("LB_NONE", f"Service {NAMESPACE}/{name}", said, "provisioner apply")
    if not services:
        return
    others = pool_supply.others(cluster, context.site)
    for service in services:
        yield from _pools(context, service, others)
    yield from _distinct(context, services)
    results = verdicts.verdicts(context.site, cluster, context.hosts, progress=cluster.progress)
    yield from map(verdict, results)
    for external in [External(service, ip) for service in services for ip in addresses(service)]:
        yield from serves(context, external)


def _named(services: Sequence[Object], name: str) -> Object | None:
    return next((one for one in services if namespaced_name(one) == f"{NAMESPACE}/{name}"), None)


def _distinct(context: Context, services: Sequence[Object]) -> Iterator[Finding]:
    """Yield whether the Services of the LoadBalancer workload have an address each, and not one together."""
    names = workload_manifests.services(context.site, "LoadBalancer", "loadbalancer")
    given = {name: addresses(one) for name in names if (one := _named(services, name)) and addresses(one)}
    if len(given) < 2:
        return
    subject = f"Services {join_words(f'{NAMESPACE}/{name}' for name in given)}"
    shown = ", ".join(f"{name} has {join_words(ips)}" for name, ips in given.items())
    every = [ip for ips in given.values() for ip in ips]
    if len(set(every)) == len(every):
        yield passed("LB_DISTINCT", subject, f"have different addresses: {shown}")
    else:
        yield failed(
            "LB_NOT_DISTINCT",
            subject,
            f"share an address: {shown}",
            f"kubectl -n {NAMESPACE} get services -o yaml: take out the annotation allow-shared-ip",
            *(line for name in given for line in context.cluster.events(NAMESPACE, name)[-pods.EVENTS :]),
        )


def _pools(context: Context, service: Object, others: Sequence[Supply]) -> Iterator[Finding]:
    subject = object_name(service)
    for ip in addresses(service):
        pool = next((pool for pool in context.site.metallb.pools if ip in pool), None)
        other = next((other for other in others if other.holds(ip)), None)
        if pool is not None:
            yield passed("LB_ADDRESS", subject, f"has {ip} of pool {pool.name}")
        elif other is not None:
            yield passed("LB_ADDRESS", subject, f"has {ip} of pool {other.name}, which was made by hand")
        else:
            yield failed(
                "LB_OFF_POOL",
                subject,
                f"has {ip}, which is in no pool of hosts.toml",
                "provisioner plan: are the cluster's pools those of hosts.toml?",
                *context.cluster.events(service["metadata"]["namespace"], service["metadata"]["name"])[-pods.EVENTS :],
            )


def verdict(result: Result) -> Finding:
    """Return a verdict of the layer-2 diagnosis as a finding; its code is L2_ and the verdict."""
    subject, code = verdicts.subject(result), f"L2_{result.verdict}"
    if result.ok:
        who = join_words(map(_owner, result.owners))
        foreseen = ", as predicted" if result.predicted_leader and not result.warnings else ""
        warned = f" ({', '.join(result.warnings)})" if result.warnings else ""
        return passed(code, subject, f"is answered on the wire by {who} alone{foreseen}{warned}")
    first, *more = result.evidence or ("",)
    remedy = " ".join(part for part in (result.remedy, result.command) if part)
    if result.inconclusive:
        return failed(code, subject, f"cannot be judged from here: {first}", remedy, *more)
    maybe = "" if result.confidence == "certain" else f" ({result.confidence})"
    return failed(code, subject, f"has a fault on layer 2{maybe}: {first}", remedy, *more)


def _owner(owner: AddressOwner) -> str:
    place = " ".join(part for part in (owner.node or join_words(owner.nodes, "or"), owner.nic) if part)
    return f"{place} ({owner.mac})" if place else owner.mac


def serves(context: Context, external: External) -> Iterator[Finding]:
    """Yield whether a Service answers at its external IP.

    A shipped one: every pod, by HTTP. One of another namespace: TCP, on one port at least. What a user runs in our own
    namespace is left at the verdict of the wire.
    """
    service = external.service
    ports = [int(one["port"]) for one in service["spec"]["ports"] if one.get("protocol", "TCP") == "TCP"]
    own = service["metadata"]["namespace"] == NAMESPACE
    if own and service["metadata"]["name"] not in workload_manifests.services(
        context.site, "LoadBalancer", *WORKLOADS
    ):
        return
    if not ports:
        yield passed("LB_NO_TCP", str(external), "has no TCP port that could be tried")
    elif own:
        yield from _pages(context, external, ports[0])
    else:
        yield _connections(context, external, ports)


def _pages(context: Context, external: External, port: int) -> Iterator[Finding]:
    now = backends.wait_ready(context, external.service)
    if short := backends.judge(context, "LB", external.service, now):
        yield short
    if not now.ready:
        return
    heard = _heard(context, external.ip, port, now.ready)
    if heard.page.status != 200:
        yield _not_serving(
            context, external, str(heard.page), pods.explain_named(context.cluster, now.pods, now.ready)
        )
        return
    yield passed("LB_SERVES", str(external), f"serves HTTP as {heard.page.body.strip()}")
    if unseen := now.ready - heard.names:
        yield failed(
            "LB_POD_UNSEEN",
            str(external),
            f"never led to {join_words(sorted(unseen))} in {pluralize(heard.requests, 'request')}",
            f"kubectl -n {NAMESPACE} get endpoints {external.service['metadata']['name']} -o yaml",
            f"answered: {', '.join(sorted(heard.names))}",
            *pods.explain_named(context.cluster, now.pods, unseen),
        )
    else:
        names = join_words(sorted(now.ready))
        yield passed("LB_PODS", str(external), f"leads to {names} ({pluralize(heard.requests, 'request')})")


def _heard(context: Context, ip: str, port: int, expected: set[str]) -> Heard:
    """Ask until every expected pod has answered, or as often as chance can be blamed for."""
    heard = Heard()

    def ask() -> Heard:
        for _ in range(REQUESTS_PER_POD * len(expected)):
            heard.page = http_client.get(ip, port, PATH, timeout=context.site.timeout(5))
            heard.requests += 1
            if heard.page.status != 200:
                break
            heard.names.add(heard.page.body.strip())
            if expected <= heard.names:
                break
        return heard

    return wait_for(
        context,
        f"http://{ip}",
        ask,
        lambda seen: seen.page.status == 200 and expected <= seen.names,
        timeout=30,
    )


def _connections(context: Context, external: External, ports: Sequence[int]) -> Finding:
    failures = wait_for(
        context,
        f"a TCP port of {external.ip}",
        lambda: {port: http_client.connect(external.ip, port, context.site.timeout(5)) for port in ports},
        lambda seen: not all(seen.values()),
        timeout=30,
    )
    opened = [str(port) for port, failure in failures.items() if not failure]
    if opened:
        closed = [f"{port}: {failure}" for port, failure in failures.items() if failure]
        return passed(
            "LB_SERVES",
            str(external),
            f"accepts connections on {join_words(opened)}" + (f", not on {', '.join(closed)}" if closed else ""),
        )
    said = "; ".join(f"{port}: {failure}" for port, failure in failures.items())
    spec, namespace = external.service["spec"], external.service["metadata"]["namespace"]
    own = pods.selected(context.cluster.list("Pod", namespace), spec.get("selector") or {})
    names = [pod["metadata"]["name"] for pod in sorted(own, key=pods.ready)]
    return _not_serving(context, external, said, pods.explain_named(context.cluster, own, names[:2]))


def _not_serving(context: Context, external: External, seen: str, explained: Iterable[str] = ()) -> Finding:
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
    "Each external IP is announced by the right node alone, and leads to all its pods.",
    run,
    _skip_reason,
    reads_only=True,
)
