"""Whether a Deployment behind an ingress controller is told its client's true address, and if not, why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from provisioner.checks import pods, web
from provisioner.checks.check import Context, Finding, bad, good
from provisioner.checks.ingress_doors import Door, local, named

if TYPE_CHECKING:
    from provisioner.objects import Object

# The line of a page that repeats what the controller said of its client (the header X-Forwarded-For).
_TOLD = re.compile(r"^client(?: (.*))?$", re.MULTILINE)


def judge(context: Context, service: Object, subject: str, each: Mapping[Door, web.Page]) -> Iterator[Finding]:
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
        yield good("INGRESS_CLIENT", subject, f"is told this machine's true address, {who}{_because(service, told)}")
        return
    first = wrong[0]
    yield _hidden(context, service, subject, told=told[first], source=each[first].source, through=wrong)


def _because(service: Object, told: Mapping[Door, str]) -> str:
    if not local(service):
        return ""
    nodes = ", ".join(door.node for door in told if door.node)
    return f" (externalTrafficPolicy is Local{f': of all nodes only {nodes} takes connections' if nodes else ''})"


def _hidden(
    context: Context, service: Object, subject: str, *, told: str, source: str, through: list[Door]
) -> Finding:
    name, where = pods.name_of(service), named(through)
    if not told:
        return bad(
            "INGRESS_CLIENT_UNKNOWN",
            subject,
            f"is told no client address through {where}",
            "let the ingress controller send X-Forwarded-For",
        )
    instead = f"is told {told} in place of this machine's {source} through {where}"
    ours = _within(context, told)
    if ours and not local(service):
        return good(
            "INGRESS_CLIENT_HIDDEN",
            subject,
            f"{instead}: externalTrafficPolicy of Service {name} is Cluster, so that the node that takes a connection "
            f"puts {ours} in the client's place",
            "set externalTrafficPolicy: Local there, where the client's address matters",
        )
    if ours:
        return bad(
            "INGRESS_CLIENT_WRONG",
            subject,
            f"{instead}, which is {ours}, though externalTrafficPolicy is Local",
            f"kubectl -n {service['metadata']['namespace']} describe service {service['metadata']['name']}",
        )
    return good(
        "INGRESS_CLIENT_TRANSLATED",
        subject,
        f"{instead}: something between this machine and the nodes translates addresses (NAT)",
    )


def _within(context: Context, told: str) -> str:
    """Return what an address is to the cluster, "" for one outside of it."""
    for host in context.site.hosts:
        if told == host.address:
            return f"{host.name}'s own address"
    try:
        in_pods = ip_address(told) in ip_network(context.site.cluster.pod_cidr)
    except ValueError:
        return "no address at all"
    return "an address of the pod network" if in_pods else ""
