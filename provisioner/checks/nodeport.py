"""A NodePort answers on every node's address, from outside, leads to every pod behind it, and is given only once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from provisioner.addresses import host_port
from provisioner.checks import backends, http_client, pods, restore, workload_manifests
from provisioner.checks.backends import ServiceBackends
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, skipped, wait_for
from provisioner.errors import ClusterError
from provisioner.kube import Object, node_ports
from provisioner.kube.objects import namespaced_name, object_name
from provisioner.site import Site
from provisioner.text import join_words, pluralize

WORKLOAD = "nodeport"
PATH = "/hostname"
# With n pods chosen at random each time, the chance that one stays unseen after 10 n requests is about n e^-10.
REQUESTS_PER_POD = 10
TWICE = "np-pods-twice"  # a Service that must not come to be


@dataclass
class Seen:
    """What came back so far: the last page of each node, and the pods that answered."""

    pages: dict[str, http_client.Response] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    requests: int = 0


def run(context: Context) -> Iterator[Finding]:
    """Yield for each NodePort Service of the shipped workload a finding a node, and one for its pods.

    Then, for the first of them: what a second Service gets that asks for its port, and where it leads when its
    Deployment has grown. The Deployment is given its size back. What else has a NodePort is its owner's business.
    """
    wanted = workload_manifests.services(context.site, "NodePort", WORKLOAD)
    if not wanted:
        yield failed("NODEPORT_NONE", f"workloads/{WORKLOAD}.yaml", "has no Service of type NodePort", "give it one")
    live = {one["metadata"]["name"]: one for one in context.cluster.list("Service", NAMESPACE)}
    services = [live[name] for name in wanted if name in live and live[name]["spec"].get("type") == "NodePort"]
    for name in wanted:
        if live.get(name) not in services:
            said = "is not of type NodePort" if name in live else "does not exist"
            yield failed("NODEPORT_NONE", f"Service {NAMESPACE}/{name}", said, "provisioner apply")
    for service in services:
        yield from _service(context, service)
    for service in services[:1]:
        yield _refused(context, service)
        if context.thorough:
            yield from _grown(context, service)
        else:
            yield skipped(object_name(service), "with twice as many pods: not tried without --full")


def _service(context: Context, service: Object) -> Iterator[Finding]:
    site, now = context.site, backends.wait_ready(context, service)
    if short := backends.judge(context, "NODEPORT", service, now):
        yield short
    if not now.ready:
        return
    port = _port(service)
    seen = _asked(context, port, now.ready)
    for host in site.hosts:
        page = seen.pages[host.name]
        where = host_port(host.address, port)
        if page.status == 200:
            yield passed("NODEPORT_ANSWERS", where, f"({host.name}) answers as {page.body.strip()}")
        else:
            yield failed(
                "NODEPORT_SILENT",
                where,
                f"({host.name}) does not serve {namespaced_name(service)}: {page.error or page.status}",
                f"curl http://{where}{PATH}; the kube-proxy of {host.name} or the way from here to it is broken",
                *_proxy_log(context, host.name),
            )
    if any(page.status == 200 for page in seen.pages.values()):
        yield _spread(context, service, now, seen)


def _asked(context: Context, port: int, expected: set[str]) -> Seen:
    seen = Seen()
    wait_for(
        context,
        f"port {port} of every node",
        lambda: ask(context, port, seen, limit=REQUESTS_PER_POD * len(expected)),
        lambda _: all(page.status == 200 for page in seen.pages.values()) and expected <= seen.names,
        timeout=30,
    )
    return seen


def _spread(context: Context, service: Object, now: ServiceBackends, seen: Seen, how: str = "") -> Finding:
    subject = object_name(service)
    unseen = now.ready - seen.names
    if not unseen:
        names = join_words(sorted(seen.names & now.ready))
        return passed("NODEPORT_PODS", subject, f"leads to {names}{how} ({pluralize(seen.requests, 'request')})")
    return failed(
        "NODEPORT_POD_UNSEEN",
        subject,
        f"never led to {join_words(sorted(unseen))}{how} in {pluralize(seen.requests, 'request')}",
        f"kubectl -n {NAMESPACE} get endpoints {service['metadata']['name']} -o yaml",
        f"answered: {', '.join(sorted(seen.names))}",
        *pods.explain_named(context.cluster, now.pods, unseen),
    )


def _refused(context: Context, service: Object) -> Finding:
    """Ask for the Service's port a second time, as somebody does who does not know of it."""
    cluster, port = context.cluster, _port(service)
    subject = f"port {port} for a second Service"
    second = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": TWICE, "namespace": NAMESPACE},
        "spec": {
            "type": "NodePort",
            "selector": {"app.kubernetes.io/name": TWICE},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": port}],
        },
    }
    try:
        cluster.apply(second)
    except ClusterError as error:
        return _judge_refusal(context, service, subject, error)
    restore.restore(
        cluster,
        f"Service {TWICE} to be deleted again",
        lambda: cluster.delete("Service", TWICE, NAMESPACE),
        lambda: f"Service {NAMESPACE}/{TWICE} may be left, with {port} as its nodePort",
        f"kubectl -n {NAMESPACE} delete service {TWICE}",
    )
    return failed(
        "NODEPORT_GIVEN_TWICE",
        subject,
        f"was given, though {namespaced_name(service)} holds it (the second Service was deleted again)",
        "kubectl get services -A: two Services with one nodePort answer for one another",
    )


def _judge_refusal(context: Context, service: Object, subject: str, error: ClusterError) -> Finding:
    """Return whether the port was refused since somebody has it, and who."""
    cluster, port = context.cluster, _port(service)
    if node_ports.refused(error.message) != port:
        return failed(
            "NODEPORT_OTHER_REFUSAL",
            subject,
            f"was refused for another reason: {error.message}",
            error.remedy or f"kubectl -n {NAMESPACE} get resourcequotas; kubectl get validatingwebhookconfigurations",
            error.tail,
            *cluster.events(NAMESPACE, service["metadata"]["name"])[-pods.EVENTS :],
        )
    holder = node_ports.holder(cluster, port)
    if holder:
        return passed("NODEPORT_HELD", subject, f"is refused: Service {holder} holds it")
    return failed(
        "NODEPORT_HOLDER_UNKNOWN",
        subject,
        "is refused, and no Service holds it",
        "kubectl get services -A -o wide; the API server gives a port free some minutes after its Service has gone",
        f"the API says: {error.message}",
        *cluster.events(NAMESPACE, service["metadata"]["name"])[-pods.EVENTS :],
    )


def _grown(context: Context, service: Object) -> Iterator[Finding]:
    """Yield what the Service does while its Deployment has twice as many pods."""
    cluster = context.cluster
    for deployment in backends.look(context, service).deployments[:1]:
        number = 2 * int(deployment["spec"].get("replicas", 1))
        name = deployment["metadata"]["name"]
        with pods.scaled_back(cluster, deployment) as scale:
            scale(number)
            now = backends.wait_ready(context, service)
            if len(now.ready) < number:
                why = "; ".join(f"{pod['metadata']['name']}: {pods.why_not_ready(pod)}" for pod in now.waiting)
                yield failed(
                    "NODEPORT_NOT_SCALED",
                    object_name(deployment),
                    f"has {len(now.ready)} of {number} pods ready after it was scaled" + (f" ({why})" if why else ""),
                    f"kubectl -n {NAMESPACE} describe deployment {name}",
                    *backends.explain(context, service, now),
                )
                return
            seen = _asked(context, _port(service), now.ready)
            yield _spread(context, service, now, seen, f", scaled to {number},")


def _port(service: Object) -> int:
    return int(service["spec"]["ports"][0]["nodePort"])


def ask(context: Context, port: int, seen: Seen, limit: int) -> Seen:
    """Ask every node once, at the same time; then those that answer, in turn, `limit` times."""
    timeout = context.site.timeout(5)
    hosts = context.site.hosts

    def get(address: str) -> http_client.Response:
        return http_client.get(address, port, PATH, timeout=timeout)

    with ThreadPoolExecutor(8) as pool:
        for host, page in zip(hosts, pool.map(get, [host.address for host in hosts]), strict=True):
            _note(seen, host.name, page)
    answering = [host for host in hosts if seen.pages[host.name].status == 200]
    for number in range(limit if answering else 0):
        host = answering[number % len(answering)]
        _note(seen, host.name, get(host.address))
    return seen


def _note(seen: Seen, node: str, page: http_client.Response) -> None:
    seen.pages[node] = page
    seen.requests += 1
    if page.status == 200:
        seen.names.add(page.body.strip())


def _proxy_log(context: Context, node: str) -> list[str]:
    cluster = context.cluster
    for pod in cluster.list("Pod", "kube-system", labels="k8s-app=kube-proxy"):
        if pod["spec"].get("nodeName") == node:
            log = cluster.logs("kube-system", pod["metadata"]["name"], lines=pods.LOG_LINES)
            return [f"kube-proxy: {line}" for line in log.splitlines()]
    return [f"no kube-proxy pod runs on {node}"]


def _skip_reason(site: Site) -> str:
    return "" if WORKLOAD in site.workloads.enabled else f'[workloads] enabled has no "{WORKLOAD}"'


CHECK = Check(
    "nodeport",
    "A NodePort answers on every node's address, reaches every pod, and is given only once.",
    run,
    _skip_reason,
    parallel_safe=True,
)
