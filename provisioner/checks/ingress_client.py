"""Whether a Deployment behind an ingress controller is told its client's true address, and if not, why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network

from provisioner.checks import http_client
from provisioner.checks.check import Context, Finding, failed, passed
from provisioner.checks.ingress_endpoints import Endpoint, local, named
from provisioner.kube import Object
from provisioner.kube.objects import namespaced_name
from provisioner.text import join_words

# The line of a page that repeats what the controller said of its client (the header X-Forwarded-For).
_TOLD = re.compile(r"^client(?: (.*))?$", re.MULTILINE)
NOBODY, NONSENSE, INSIDE, OUTSIDE = "nobody", "nonsense", "inside", "outside"


def judge(
    context: Context, service: Object, subject: str, each: Mapping[Endpoint, http_client.Response]
) -> Iterator[Finding]:
    """Yield a finding where the pages tell of their client.

    Of several addresses the last is the controller's own word; what stands before it, a client may have made up.
    """
    told = {}
    for door, page in each.items():
        match = _TOLD.search(page.body)
        if page.status == 200 and match:
            told[door] = (match[1] or "").split(",")[-1].strip()
    if not told:
        return
    wrong = [door for door in told if told[door] != each[door].source]
    if not wrong:
        who = ", ".join(sorted({each[door].source for door in told}))
        yield passed("INGRESS_CLIENT", subject, f"is told this machine's true address, {who}{_because(service, told)}")
        return
    kinds: dict[str, dict[str, list[Endpoint]]] = {}  # what is wrong, then what was told instead, and where
    for door in wrong:
        kinds.setdefault(_kind(context, told[door]), {}).setdefault(told[door], []).append(door)
    for kind, instead in kinds.items():
        source = join_words(sorted({each[door].source for some in instead.values() for door in some}), "or")
        yield _other(context, service, subject, kind=kind, instead=instead, source=source)


def _because(service: Object, told: Mapping[Endpoint, str]) -> str:
    if not local(service):
        return ""
    nodes = ", ".join(door.node for door in told if door.node)
    return f" (externalTrafficPolicy is Local{f': of all nodes only {nodes} takes connections' if nodes else ''})"


def _kind(context: Context, told: str) -> str:
    """Tell what is told to be the client: NOBODY, NONSENSE (no address), or one INSIDE or OUTSIDE of the cluster."""
    if not told:
        return NOBODY
    try:
        ip_address(told)
    except ValueError:
        return NONSENSE
    return INSIDE if _within(context, told) else OUTSIDE


def _other(
    context: Context, service: Object, subject: str, *, kind: str, instead: Mapping[str, list[Endpoint]], source: str
) -> Finding:
    """Return the finding on what is told in place of the client's address. instead: that, and through which doors."""
    name = namespaced_name(service)
    where = named([door for some in instead.values() for door in some])
    if kind == NOBODY:
        return failed(
            "INGRESS_CLIENT_UNKNOWN",
            subject,
            f"is told no client address through {where}",
            "let the ingress controller send X-Forwarded-For",
        )
    said = f"is told {join_words(instead)} in place of this machine's {source} through {where}"
    if kind == NONSENSE:
        return failed(
            "INGRESS_CLIENT_WRONG",
            subject,
            f"{said}, which is no address at all",
            "let the ingress controller send the client's address in X-Forwarded-For, and nothing after it",
        )
    if kind == OUTSIDE:
        return passed(
            "INGRESS_CLIENT_TRANSLATED",
            subject,
            f"{said}: something between this machine and the nodes translates addresses (NAT)",
        )
    ours = join_words(dict.fromkeys(_within(context, told) for told in instead), "or")
    if local(service):
        return failed(
            "INGRESS_CLIENT_WRONG",
            subject,
            f"{said}, which is {ours}, though externalTrafficPolicy is Local",
            f"kubectl -n {service['metadata']['namespace']} describe service {service['metadata']['name']}",
        )
    return passed(
        "INGRESS_CLIENT_HIDDEN",
        subject,
        f"{said}: externalTrafficPolicy of Service {name} is Cluster, so that the node that takes a connection "
        f"puts {ours} in the client's place",
        "set externalTrafficPolicy: Local there, where the client's address matters",
    )


def _within(context: Context, told: str) -> str:
    """Return what an address is to the cluster, "" for one outside of it."""
    for host in context.site.hosts:
        if told == host.address:
            return f"{host.name}'s own address"
    return "an address of the pod network" if ip_address(told) in ip_network(context.site.cluster.pod_cidr) else ""
