"""Names resolve inside pods, on every node that has one: the pod network, kube-proxy and CoreDNS in one question."""

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
    """Yield a finding for each node that a pod of ours runs on."""
    cluster = context.cluster
    places = wait_for(
        context,
        f"a ready pod in {NAMESPACE}",
        lambda: pods.by_node(_able(cluster.list("Pod", NAMESPACE))),
        bool,
        timeout=120,
    )
    if not places:
        waiting = cluster.list("Pod", NAMESPACE)[:1]
        yield failed(
            "DNS_NO_POD",
            "DNS",
            f"cannot be asked: no pod in {NAMESPACE} is ready",
            f"kubectl -n {NAMESPACE} get pods",
            *(line for pod in waiting for line in pods.explain(cluster, pod)),
        )
        return
    names = wanted_names(context)
    for node, pod in places.items():
        outputs = wait_for(
            context,
            f"DNS answers in a pod on {node}",
            lambda pod=pod: ask(context, pod, names),  # type: ignore[misc]
            lambda output: not unresolved(names, answers(output)),
            timeout=30,
        )
        yield _judge(context, node, pod, names, outputs)


def _able(own: list[Object]) -> list[Object]:
    """Return the pods that have nslookup, as agnhost does; all where none is known to: one of them may."""
    known = [
        pod for pod in own if any("agnhost" in one.get("image", "") for one in pod["spec"].get("containers") or ())
    ]
    return known or own


def _judge(context: Context, node: str, pod: Object, names: Mapping[str, str], output: str) -> Finding:
    found = answers(output)
    subject = f"DNS on {node}"
    wrong = unresolved(names, found)
    if not wrong:
        shown = ", ".join(f"{name} is {address}" for name, address in names.items())
        return passed("DNS_RESOLVES", subject, f"answers in pod {pod['metadata']['name']}: {shown}")
    cluster = context.cluster
    name = wrong[0]
    seen = f"gave {join_words(sorted(found[name]))}" if found.get(name) else "was not resolved"
    servers = cluster.list("Pod", "kube-system", labels="k8s-app=kube-dns")
    logs = [
        f"{one['metadata']['name']} on {one['spec'].get('nodeName')}: {line}"
        for one in servers
        for line in cluster.logs("kube-system", one["metadata"]["name"], lines=3).splitlines()
    ]
    return failed(
        "DNS_FAILS",
        subject,
        f"fails in pod {pod['metadata']['name']}: {name} {seen}, and is {names[name]}",
        "kubectl -n kube-system get pods -l k8s-app=kube-dns -o wide; when these are ready, the pod network between "
        f"{node} and theirs is broken",
        output,
        *logs,
    )


def wanted_names(context: Context) -> dict[str, str]:
    """Return full names and the addresses that they must resolve to: the API's Service and one of ours."""
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


def ask(context: Context, pod: Object, names: Mapping[str, str]) -> str:
    """Return what nslookup says in a pod for all names, in one exec; a dot at the end keeps it from searching."""
    script = "; ".join(f"nslookup {name}. 2>&1" for name in names) + "; true"
    try:
        return context.cluster.exec(NAMESPACE, pod["metadata"]["name"], ["sh", "-c", script], timeout=30)
    except ClusterError as error:
        return f"{error}\n{error.tail}"


def answers(output: str) -> dict[str, set[str]]:
    """Return name -> addresses in nslookup's output; ISC's, and busybox's of either kind."""
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
                continue  # a name where an address should be is no answer
    return found


def unresolved(names: Mapping[str, str], found: Mapping[str, set[str]]) -> list[str]:
    """Return the names without their right address among the answers."""
    return [name for name, address in names.items() if address not in found.get(name, set())]


def _skip_reason(site: Site) -> str:
    return "" if site.workloads.enabled else "no workload is enabled whose pod could ask"


CHECK = Check("dns", "Cluster names resolve in a pod on every node.", run, _skip_reason, reads_only=True)
