"""Cluster names resolve in a pod on every node, which needs the pod network, kube-proxy and CoreDNS."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from provisioner.checks import pods
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, wait_for
from provisioner.errors import ClusterError
from provisioner.kube import Object
from provisioner.site import Site
from provisioner.text import join_words

DOMAIN = "svc.cluster.local"


def run(context: Context) -> Iterator[Finding]:
    """Yield a finding for each node with a pod of the shipped workloads."""
    cluster = context.cluster
    by_node = wait_for(
        context,
        f"a ready pod in {NAMESPACE}",
        lambda: pods.ready_by_node(_with_nslookup(cluster.list("Pod", NAMESPACE))),
        bool,
        timeout=120,
    )
    if not by_node:
        existing = cluster.list("Pod", NAMESPACE)[:1]
        yield failed(
            "DNS_NO_POD",
            "DNS",
            f"was not checked: no pod in {NAMESPACE} is ready",
            f"kubectl -n {NAMESPACE} get pods",
            *(line for pod in existing for line in pods.explain(cluster, pod)),
        )
        return
    names = wanted_names(context)
    for node, pod in by_node.items():
        output = wait_for(
            context,
            f"DNS answers in a pod on {node}",
            lambda pod=pod: resolve(context, pod, names),  # type: ignore[misc]
            lambda output: not unresolved(names, parse(output)),
            timeout=30,
        )
        yield _judge(context, node, pod, names, output)


def _with_nslookup(own: list[Object]) -> list[Object]:
    """Return the pods that run agnhost, which has nslookup; all pods if none does, since one of them may."""
    known = [
        pod for pod in own if any("agnhost" in one.get("image", "") for one in pod["spec"].get("containers") or ())
    ]
    return known or own


def _judge(context: Context, node: str, pod: Object, names: Mapping[str, str], output: str) -> Finding:
    found = parse(output)
    subject = f"DNS on {node}"
    wrong = unresolved(names, found)
    if not wrong:
        shown = ", ".join(f"{name} is {address}" for name, address in names.items())
        return passed("DNS_RESOLVES", subject, f"works in pod {pod['metadata']['name']}: {shown}")
    cluster = context.cluster
    name = wrong[0]
    seen = f"resolved to {join_words(sorted(found[name]))}" if found.get(name) else "did not resolve"
    servers = cluster.list("Pod", "kube-system", labels="k8s-app=kube-dns")
    logs = [
        f"{one['metadata']['name']} on {one['spec'].get('nodeName')}: {line}"
        for one in servers
        for line in cluster.logs("kube-system", one["metadata"]["name"], lines=3).splitlines()
    ]
    return failed(
        "DNS_FAILS",
        subject,
        f"fails in pod {pod['metadata']['name']}: {name} {seen}, and should to {names[name]}",
        "kubectl -n kube-system get pods -l k8s-app=kube-dns -o wide; if these are ready, check the pod network "
        f"between {node} and their nodes",
        output,
        *logs,
    )


def wanted_names(context: Context) -> dict[str, str]:
    """Return FQDNs and the addresses that they must resolve to: the API's Service and one of ours."""
    cluster = context.cluster
    names = {}
    api = cluster.get("Service", "kubernetes", "default")
    if api is not None:
        names[f"kubernetes.default.{DOMAIN}"] = str(api["spec"]["clusterIP"])
    for service in cluster.list("Service", NAMESPACE):
        address = service["spec"].get("clusterIP", "None")
        if address not in ("None", ""):
            names[f"{service['metadata']['name']}.{NAMESPACE}.{DOMAIN}"] = str(address)
            break
    return names


def resolve(context: Context, pod: Object, names: Mapping[str, str]) -> str:
    """Return the output of nslookup in a pod for all names, in one exec; the trailing dot avoids search domains."""
    script = "; ".join(f"nslookup {name}. 2>&1" for name in names) + "; true"
    try:
        return context.cluster.exec(NAMESPACE, pod["metadata"]["name"], ["sh", "-c", script], timeout=30)
    except ClusterError as error:
        return f"{error}\n{error.tail}"


def parse(output: str) -> dict[str, set[str]]:
    """Return the addresses by name in the output of nslookup: ISC's, or either of busybox's."""
    found: dict[str, set[str]] = {}
    name = ""
    for line in output.splitlines():
        key, colon, value = line.partition(":")
        if key.strip() in ("Server", "Non-authoritative answer"):
            name = ""
        elif key.strip() == "Name" and colon:
            name = value.strip().rstrip(".")
        elif name and key.startswith("Address") and value.split():
            try:
                found.setdefault(name, set()).add(str(ipaddress.ip_address(value.split()[0])))
            except ValueError:
                continue  # a name in place of an address
    return found


def unresolved(names: Mapping[str, str], found: Mapping[str, set[str]]) -> list[str]:
    """Return the names that did not resolve to their address."""
    return [name for name, address in names.items() if address not in found.get(name, set())]


def _skip_reason(site: Site) -> str:
    return "" if site.workloads.enabled else "[workloads] enabled is empty, so no pod can resolve names"


CHECK = Check("dns", "Cluster names resolve in a pod on every node.", run, _skip_reason, reads_only=True)
