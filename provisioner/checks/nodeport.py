"""A NodePort answers on every node's address, from outside, and every pod behind it takes part."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioner.addresses import host_port
from provisioner.checks import pods, web
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, bad, good, settle

if TYPE_CHECKING:
    from provisioner.objects import Object
    from provisioner.site import Site

PATH = "/hostname"
# With n pods chosen at random each time, the chance that one stays unseen after 10 n requests is about n e^-10.
REQUESTS_PER_POD = 10


@dataclass
class Seen:
    """What came back so far: the last page of each node, and the pods that answered."""

    pages: dict[str, web.Page] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    requests: int = 0


def run(context: Context) -> Iterator[Finding]:
    """Yield for each NodePort Service of the workloads a finding a node, and one for its pods."""
    cluster = context.cluster
    services = [one for one in cluster.list("Service", NAMESPACE) if one["spec"].get("type") == "NodePort"]
    if not services:
        yield bad("NODEPORT_NONE", NAMESPACE, "has no Service of type NodePort", "provisioner apply")
    for service in services:
        yield from _service(context, service)


def _service(context: Context, service: Object) -> Iterator[Finding]:
    cluster, site = context.cluster, context.site
    selector = service["spec"].get("selector") or {}
    behind = settle(
        context,
        f"the pods of {pods.name_of(service)}",
        lambda: pods.selected(cluster.list("Pod", NAMESPACE), selector),
        lambda found: bool(found) and all(map(pods.ready, found)),
        timeout=120,
    )
    expected = {pod["metadata"]["name"] for pod in behind if pods.ready(pod)}
    if not expected:
        yield bad(
            "NODEPORT_NO_PODS",
            f"Service {pods.name_of(service)}",
            "has no ready pod behind it"
            + "".join(f"; {pod['metadata']['name']}: {pods.trouble(pod)}" for pod in behind),
            f"kubectl -n {NAMESPACE} get pods -o wide",
            *(line for pod in behind[:1] for line in pods.explain(cluster, pod)),
        )
        return
    port = service["spec"]["ports"][0]["nodePort"]
    seen = Seen()
    settle(
        context,
        f"port {port} of every node",
        lambda: ask(context, port, seen, limit=REQUESTS_PER_POD * len(expected)),
        lambda _: all(page.status == 200 for page in seen.pages.values()),
        timeout=30,
    )
    for host in site.hosts:
        page = seen.pages[host.name]
        where = host_port(host.address, port)
        if page.status == 200:
            yield good("NODEPORT_ANSWERS", where, f"({host.name}) answers as {page.body.strip()}")
        else:
            yield bad(
                "NODEPORT_SILENT",
                where,
                f"({host.name}) does not serve {pods.name_of(service)}: {page.error or page.status}",
                f"curl http://{where}{PATH}; the kube-proxy of {host.name} or the way from here to it is broken",
                *_proxy_log(context, host.name),
            )
    if any(page.status == 200 for page in seen.pages.values()):
        yield _spread(service, expected, seen)


def _spread(service: Object, expected: set[str], seen: Seen) -> Finding:
    subject = f"Service {pods.name_of(service)}"
    unseen = expected - seen.names
    if not unseen:
        return good(
            "NODEPORT_PODS", subject, f"leads to {' and '.join(sorted(seen.names))} ({seen.requests} requests)"
        )
    return bad(
        "NODEPORT_POD_UNSEEN",
        subject,
        f"never led to {' and '.join(sorted(unseen))} in {seen.requests} requests",
        f"kubectl -n {NAMESPACE} get endpoints {service['metadata']['name']} -o yaml",
        f"answered: {', '.join(sorted(seen.names))}",
    )


def ask(context: Context, port: int, seen: Seen, limit: int) -> Seen:
    """Ask every node once, at the same time; then those that answer, in turn, `limit` times."""
    timeout = context.site.timeout(5)
    hosts = context.site.hosts

    def get(address: str) -> web.Page:
        return web.get(address, port, PATH, timeout=timeout)

    with ThreadPoolExecutor(8) as pool:
        for host, page in zip(hosts, pool.map(get, [host.address for host in hosts]), strict=True):
            _note(seen, host.name, page)
    answering = [host for host in hosts if seen.pages[host.name].status == 200]
    for number in range(limit if answering else 0):
        host = answering[number % len(answering)]
        _note(seen, host.name, get(host.address))
    return seen


def _note(seen: Seen, node: str, page: web.Page) -> None:
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


def _not_for(site: Site) -> str:
    return "" if "nodeport" in site.workloads.enabled else '[workloads] enabled has no "nodeport"'


CHECK = Check("nodeport", "A NodePort answers on every node's address, and reaches every pod.", run, _not_for)
