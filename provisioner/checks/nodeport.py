"""A NodePort answers on every node's address from outside, leads to every pod, and is allocated only once."""

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
DUPLICATE = "np-pods-twice"  # a Service that the API must refuse


@dataclass
class NodeResponses:
    """The responses so far: the last one of each node, and the names of the pods that answered."""

    by_node: dict[str, http_client.Response] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    requests: int = 0

    def add(self, node: str, response: http_client.Response) -> None:
        """Record a response; a pod answers with its name."""
        self.by_node[node] = response
        self.requests += 1
        if response.status == 200:
            self.names.add(response.body.strip())


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding per node, and one on the pods, for each NodePort Service of the shipped workload.

    Then, for the first of them: whether a second Service is refused its port, and whether it leads to all pods after
    its Deployment was scaled up, which is scaled back afterwards. NodePorts of other owners are not checked.
    """
    wanted = workload_manifests.services(context.site, "NodePort", WORKLOAD)
    if not wanted:
        yield failed("NODEPORT_NONE", f"workloads/{WORKLOAD}.yaml", "has no Service of type NodePort", "add one")
    live = {one["metadata"]["name"]: one for one in context.cluster.list("Service", NAMESPACE)}
    services = [live[name] for name in wanted if name in live and live[name]["spec"].get("type") == "NodePort"]
    for name in wanted:
        if live.get(name) not in services:
            detail = "is not of type NodePort" if name in live else "does not exist"
            yield failed("NODEPORT_NONE", f"Service {NAMESPACE}/{name}", detail, "provisioner apply")
    for service in services:
        yield from _service(context, service)
    for service in services[:1]:
        yield _duplicate(context, service)
        if context.thorough:
            yield from _scaled_up(context, service)
        else:
            yield skipped(object_name(service), "scaling its Deployment to twice as many pods needs --full")


def _service(context: Context, service: Object) -> Iterator[Finding]:
    site, behind = context.site, backends.wait_ready(context, service)
    if finding := backends.judge(context, "NODEPORT", service, behind):
        yield finding
    if not behind.ready:
        return
    port = _port(service)
    responses = _request_until_all(context, port, behind.ready)
    for host in site.hosts:
        response = responses.by_node[host.name]
        where = host_port(host.address, port)
        if response.status == 200:
            yield passed("NODEPORT_ANSWERS", where, f"({host.name}) answers as {response.body.strip()}")
        else:
            yield failed(
                "NODEPORT_SILENT",
                where,
                f"({host.name}) does not serve {namespaced_name(service)}: {response.error or response.status}",
                f"curl http://{where}{PATH}; check kube-proxy on {host.name} and firewalls between here and there",
                *_proxy_log(context, host.name),
            )
    if any(response.status == 200 for response in responses.by_node.values()):
        yield _spread(context, service, behind, responses)


def _request_until_all(context: Context, port: int, expected: set[str]) -> NodeResponses:
    """Send requests until every node answers and every expected pod has answered, or time is up."""
    responses = NodeResponses()
    wait_for(
        context,
        f"port {port} of every node",
        lambda: request(context, port, responses, limit=REQUESTS_PER_POD * len(expected)),
        lambda _: all(one.status == 200 for one in responses.by_node.values()) and expected <= responses.names,
        timeout=30,
    )
    return responses


def _spread(
    context: Context, service: Object, behind: ServiceBackends, responses: NodeResponses, how: str = ""
) -> Finding:
    """Return whether the Service led to all its ready pods. how: words on the state of the Deployment."""
    unseen = behind.ready - responses.names
    requests = pluralize(responses.requests, "request")
    if not unseen:
        names = join_words(sorted(responses.names & behind.ready))
        return passed("NODEPORT_PODS", object_name(service), f"leads to {names}{how} ({requests})")
    return failed(
        "NODEPORT_POD_UNSEEN",
        object_name(service),
        f"never led to {join_words(sorted(unseen))}{how} in {requests}",
        f"kubectl -n {NAMESPACE} get endpoints {service['metadata']['name']} -o yaml",
        f"answered: {', '.join(sorted(responses.names))}",
        *pods.explain_named(context.cluster, behind.pods, unseen),
    )


def _duplicate(context: Context, service: Object) -> Finding:
    """Create a second Service with the same nodePort, which the API must refuse."""
    cluster, port = context.cluster, _port(service)
    subject = f"port {port} for a second Service"
    duplicate = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": DUPLICATE, "namespace": NAMESPACE},
        "spec": {
            "type": "NodePort",
            "selector": {"app.kubernetes.io/name": DUPLICATE},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": port}],
        },
    }
    try:
        cluster.apply(duplicate)
    except ClusterError as error:
        return _refusal(context, service, subject, error)
    restore.restore(
        cluster,
        f"Service {DUPLICATE} to be deleted",
        lambda: cluster.delete("Service", DUPLICATE, NAMESPACE),
        lambda: f"Service {NAMESPACE}/{DUPLICATE} may remain, with nodePort {port}",
        f"kubectl -n {NAMESPACE} delete service {DUPLICATE}",
    )
    return failed(
        "NODEPORT_GIVEN_TWICE",
        subject,
        f"was allocated, although {namespaced_name(service)} holds it (the second Service was deleted)",
        "kubectl get services -A; two Services with one nodePort answer for each other",
    )


def _refusal(context: Context, service: Object, subject: str, error: ClusterError) -> Finding:
    """Return whether the port was refused because another Service holds it, and which one."""
    cluster, port = context.cluster, _port(service)
    if node_ports.allocated_port(error.message) != port:
        return failed(
            "NODEPORT_OTHER_REFUSAL",
            subject,
            f"was refused for another reason: {error.message}",
            error.remedy or f"kubectl -n {NAMESPACE} get resourcequotas; kubectl get validatingwebhookconfigurations",
            error.tail,
            *cluster.events(NAMESPACE, service["metadata"]["name"])[-pods.EVENTS :],
        )
    holder = node_ports.find_holder(cluster, port)
    if holder:
        return passed("NODEPORT_HELD", subject, f"is refused: Service {holder} holds it")
    return failed(
        "NODEPORT_HOLDER_UNKNOWN",
        subject,
        "is refused, but no Service holds it",
        "kubectl get services -A -o wide; the API server releases a port some minutes after its Service was deleted",
        f"the API says: {error.message}",
        *cluster.events(NAMESPACE, service["metadata"]["name"])[-pods.EVENTS :],
    )


def _scaled_up(context: Context, service: Object) -> Iterator[Finding]:
    """Yield where the Service leads while its Deployment has twice as many pods."""
    cluster = context.cluster
    for deployment in backends.read(context, service).deployments[:1]:
        replicas = 2 * int(deployment["spec"].get("replicas", 1))
        with pods.restoring_replicas(cluster, deployment) as scale:
            scale(replicas)
            behind = backends.wait_ready(context, service)
            if len(behind.ready) < replicas:
                why = "; ".join(f"{pod['metadata']['name']}: {pods.why_not_ready(pod)}" for pod in behind.not_ready)
                yield failed(
                    "NODEPORT_NOT_SCALED",
                    object_name(deployment),
                    f"has {len(behind.ready)} of {replicas} pods ready after scaling" + (f" ({why})" if why else ""),
                    f"kubectl -n {NAMESPACE} describe deployment {deployment['metadata']['name']}",
                    *backends.explain(context, service, behind),
                )
                return
            responses = _request_until_all(context, _port(service), behind.ready)
            yield _spread(context, service, behind, responses, f", scaled to {replicas},")


def _port(service: Object) -> int:
    return int(service["spec"]["ports"][0]["nodePort"])


def request(context: Context, port: int, responses: NodeResponses, limit: int) -> NodeResponses:
    """Send a request to every node at the same time, then `limit` requests in turn to those that answered."""
    timeout = context.site.timeout(5)
    hosts = context.site.hosts

    def get(address: str) -> http_client.Response:
        return http_client.get(address, port, PATH, timeout=timeout)

    with ThreadPoolExecutor(8) as pool:
        for host, response in zip(hosts, pool.map(get, [host.address for host in hosts]), strict=True):
            responses.add(host.name, response)
    answering = [host for host in hosts if responses.by_node[host.name].status == 200]
    for number in range(limit if answering else 0):
        host = answering[number % len(answering)]
        responses.add(host.name, get(host.address))
    return responses


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
    "A NodePort answers on every node's address, leads to every pod, and is allocated only once.",
    run,
    _skip_reason,
    parallel_safe=True,
)
