"""Whether a Deployment behind an ingress controller sees its client's address, for the ingress check; if not, why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from ipaddress import ip_address, ip_network

from provisioner.checks.check import Context, Finding, failed, passed
from provisioner.checks.ingress_endpoints import Endpoint, local
from provisioner.checks.ingress_routes import Responses
from provisioner.kube import Object
from provisioner.kube.objects import namespaced_name
from provisioner.text import join_words

# The line of the response that repeats the X-Forwarded-For header of the request.
_FORWARDED_FOR = re.compile(r"^client(?: (.*))?$", re.MULTILINE)


class Client(Enum):
    """What the workload sees in place of the client's address."""

    NONE = "no address"
    INVALID = "something that is not an address"
    INSIDE = "an address of the cluster"
    OUTSIDE = "an address outside the cluster"


def judge(context: Context, service: Object, subject: str, responses: Responses) -> Iterator[Finding]:
    """Yield a finding if the responses name a client.

    Of several addresses only the last is the controller's; a client can make up the others.
    """
    seen = {}
    for endpoint, response in responses.items():
        match = _FORWARDED_FOR.search(response.body)
        if response.status == 200 and match:
            seen[endpoint] = (match[1] or "").split(",")[-1].strip()
    if not seen:
        return
    wrong = [endpoint for endpoint in seen if seen[endpoint] != responses[endpoint].source]
    if not wrong:
        sources = ", ".join(sorted({responses[endpoint].source for endpoint in seen}))
        yield passed("INGRESS_CLIENT", subject, f"sees this machine's address, {sources}{_policy(service, seen)}")
        return
    by_kind: dict[Client, dict[str, list[Endpoint]]] = {}  # then by the address that is seen
    for endpoint in wrong:
        by_kind.setdefault(_kind(context, seen[endpoint]), {}).setdefault(seen[endpoint], []).append(endpoint)
    for kind, instead in by_kind.items():
        sources = join_words(
            sorted({responses[endpoint].source for some in instead.values() for endpoint in some}), "or"
        )
        yield _wrong_client(context, service, subject, kind=kind, instead=instead, source=sources)


def _policy(service: Object, seen: Mapping[Endpoint, str]) -> str:
    if not local(service):
        return ""
    nodes = ", ".join(endpoint.node for endpoint in seen if endpoint.node)
    return f" (externalTrafficPolicy is Local{f'; only {nodes} accepts connections' if nodes else ''})"


def _kind(context: Context, address: str) -> Client:
    if not address:
        return Client.NONE
    try:
        ip_address(address)
    except ValueError:
        return Client.INVALID
    return Client.INSIDE if _in_cluster(context, address) else Client.OUTSIDE


def _wrong_client(
    context: Context,
    service: Object,
    subject: str,
    *,
    kind: Client,
    instead: Mapping[str, list[Endpoint]],
    source: str,
) -> Finding:
    """Return a finding on wrong client addresses of one kind. instead: the endpoints by the address that is seen."""
    where = join_words(endpoint for some in instead.values() for endpoint in some)
    if kind is Client.NONE:
        return failed(
            "INGRESS_CLIENT_UNKNOWN",
            subject,
            f"sees no client address through {where}",
            "configure the ingress controller to send X-Forwarded-For",
        )
    detail = f"sees {join_words(instead)} instead of this machine's {source} through {where}"
    if kind is Client.INVALID:
        return failed(
            "INGRESS_CLIENT_WRONG",
            subject,
            f"{detail}, which is not an IP address",
            "configure the ingress controller to send the client's address last in X-Forwarded-For",
        )
    if kind is Client.OUTSIDE:
        return passed(
            "INGRESS_CLIENT_TRANSLATED",
            subject,
            f"{detail}: something between this machine and the nodes translates addresses (NAT)",
        )
    ours = join_words(dict.fromkeys(_in_cluster(context, address) for address in instead), "or")
    if local(service):
        return failed(
            "INGRESS_CLIENT_WRONG",
            subject,
            f"{detail}, which is {ours}, although externalTrafficPolicy is Local",
            f"kubectl -n {service['metadata']['namespace']} describe service {service['metadata']['name']}",
        )
    return passed(
        "INGRESS_CLIENT_HIDDEN",
        subject,
        f"{detail}: externalTrafficPolicy of Service {namespaced_name(service)} is Cluster, so the node that accepts "
        f"a connection replaces the client's address with {ours}",
        "set externalTrafficPolicy: Local if workloads need the client's address",
    )


def _in_cluster(context: Context, address: str) -> str:
    """Return what an address is in the cluster, "" for one outside."""
    for host in context.site.hosts:
        if address == host.address:
            return f"{host.name}'s address"
    inside = ip_address(address) in ip_network(context.site.cluster.pod_cidr)
    return "an address of the pod network" if inside else ""
