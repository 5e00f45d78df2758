"""Each external IP comes from a pool, is answered for by one node alone on the segment, and serves from there.

Asked with frames from the operator's machine. Where nothing can be concluded from here, that is what is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

from provisioner.checks import pods, web
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, bad, good, settle
from provisioner.errors import HostError, Inconclusive
from provisioner.external import addresses, balanced
from provisioner.l2 import owners

if TYPE_CHECKING:
    from provisioner.facts import Nic
    from provisioner.host import Host
    from provisioner.l2.wire import Wire
    from provisioner.objects import Object
    from provisioner.site import Site

PATH = "/hostname"


@dataclass(frozen=True)
class External:
    """One external IP of one Service."""

    service: Object
    ip: str

    def __str__(self) -> str:
        return f"{self.ip} ({pods.name_of(self.service)})"


def run(context: Context) -> Iterator[Finding]:
    """Yield findings for each LoadBalancer Service of the cluster: its addresses, the wire, and what it serves."""
    cluster = context.cluster
    services = settle(
        context,
        "every LoadBalancer Service to have an address",
        lambda: [one for one in cluster.list("Service") if balanced(one)],
        lambda found: bool(found) and all(addresses(one) for one in found),
        timeout=60,
    )
    if not services and "loadbalancer" in context.site.workloads.enabled:
        yield bad("LB_NONE", "the cluster", "has no Service of type LoadBalancer", "provisioner apply")
    externals = [External(service, ip) for service in services for ip in addresses(service)]
    for service in services:
        yield from _pools(context, service)
    if externals:
        yield from wire(context, externals)
    for external in externals:
        yield serves(context, external)


def _pools(context: Context, service: Object) -> Iterator[Finding]:
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    subject = f"Service {namespace}/{name}"
    if not addresses(service):
        yield bad(
            "LB_NO_ADDRESS",
            subject,
            "has been given no address",
            "kubectl -n metallb-system logs deployment/controller; is a pool exhausted?",
            *context.cluster.events(namespace, name)[-pods.EVENTS :],
        )
    for ip in addresses(service):
        pool = next((pool for pool in context.site.metallb.pools if ip in pool), None)
        if pool is None:
            yield bad(
                "LB_OFF_POOL",
                subject,
                f"has {ip}, which is in no pool of hosts.toml",
                "provisioner plan: are the cluster's pools those of hosts.toml?",
            )
        else:
            yield good("LB_ADDRESS", subject, f"has {ip} of pool {pool.name}")


def wire(context: Context, externals: Sequence[External]) -> Iterator[Finding]:
    """Yield for each external IP what the segment says about it."""
    asked = [one for one in externals if ip_address(one.ip).version == 4]
    for one in externals:
        if one not in asked:
            yield bad("L2_INCONCLUSIVE", str(one), "is IPv6, and ARP cannot ask for it", "kubectl get services -A")
    if not asked:
        return
    try:
        sweep, known = ask(context, [IPv4Address(one.ip) for one in asked])
    except Inconclusive as error:
        for one in asked:
            yield bad("L2_INCONCLUSIVE", str(one), f"cannot be judged from here: {error.message}", error.remedy)
        return
    for one in asked:
        yield judge(one, sweep, known)


def ask(context: Context, targets: Sequence[IPv4Address]) -> tuple[Wire, owners.Known]:
    """Sweep the external IPs and the nodes' own; repeat while one is silent or has two owners.

    A node that has just become an owner may need a moment, and two answer for under a second during a handover.
    Raises Inconclusive: no CAP_NET_RAW, not on the segment, or this machine is a node.
    """
    from provisioner.l2 import interfaces
    from provisioner.l2.scan import scan

    site = context.site
    interface = interfaces.choose(interfaces.read(), targets)
    nodes = {host.name: host.address for host in site.hosts}
    inventory = owners.from_nics(nics(context.hosts))
    held = {str(own.ip) for own in interface.addresses}
    own = [name for name, address in nodes.items() if address in held] + [
        name for name, _ in inventory.get(interface.mac.lower(), ())
    ]
    if own:
        raise Inconclusive(
            f"this machine is the node {own[0]}", "run verify on a machine of the segment that is no node"
        )
    near = [IPv4Address(address) for address in nodes.values() if ":" not in address]
    everyone = [*targets, *(address for address in near if interface.reaches(address))]
    rounds = 0

    def look() -> Wire:
        nonlocal rounds
        rounds += 1
        return scan(everyone, interface, tail=min(4.0, site.timeout(1)), again=True)

    def settled(sweep: Wire) -> bool:
        counts = [len(sweep.macs(target)) for target in targets]
        return all(count == 1 for count in counts) or (all(counts) and rounds >= 3)

    sweep = settle(context, "one owner of each external IP on the wire", look, settled, timeout=20)
    if sweep.dropped:
        raise Inconclusive(f"the kernel dropped {sweep.dropped} frames here, so silence proves nothing", "try again")
    return sweep, owners.Known(inventory, owners.from_answers(sweep.answers, nodes))


def nics(hosts: Mapping[str, Host]) -> dict[str, tuple[Nic, ...]]:
    """Return the interfaces of the hosts that can be reached; the others are known by their own ARP alone."""

    def of(host: Host) -> tuple[Nic, ...]:
        try:
            return host.facts.nics
        except HostError:
            return ()

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(hosts, pool.map(of, hosts.values()), strict=True))


def judge(external: External, sweep: Wire, known: owners.Known) -> Finding:
    """Return what a sweep says about one external IP."""
    target = IPv4Address(external.ip)
    found = [known.owner(mac) for mac in sweep.macs(target)]
    if target in sweep.vantage.own_addresses:
        return bad(
            "L2_STRANGER",
            str(external),
            "is configured on this very machine",
            f"ip address del {external.ip} dev {sweep.vantage.interface}, or take it out of the pool",
        )
    if not found:
        return bad(
            "L2_SILENT",
            str(external),
            f"is answered by nobody on the segment (asked from {sweep.vantage.interface})",
            "kubectl -n metallb-system get pods -o wide; does the Service have a ready endpoint?",
        )
    shown = " and ".join(map(str, found))
    if len(found) > 1:
        return bad(
            "L2_DUPLICATE",
            str(external),
            f"is answered by {len(found)} owners: {shown}",
            "kubectl -n metallb-system logs daemonset/speaker; a machine that is no node must leave the address",
        )
    (owner,) = found
    if not owner.nodes:
        return bad(
            "L2_STRANGER",
            str(external),
            f"is answered by {shown}",
            "find that machine; take the address out of the pool, or that machine off the address",
        )
    if not owner.node:
        return bad(
            "L2_AMBIGUOUS",
            str(external),
            f"is answered by {shown}: which node it is cannot be told",
            "give each machine's interface a MAC of its own",
        )
    return good("L2_OWNED", str(external), f"is answered by {shown} alone")


def serves(context: Context, external: External) -> Finding:
    """Return whether a Service answers at its external IP: HTTP from our pods, else TCP on one port at least."""
    service = external.service
    ports = [int(one["port"]) for one in service["spec"]["ports"] if one.get("protocol", "TCP") == "TCP"]
    if not ports:
        return good("LB_NO_TCP", str(external), "has no TCP port that could be tried")
    timeout = 5.0
    if service["metadata"]["namespace"] == NAMESPACE:
        page = settle(
            context,
            f"http://{external.ip}",
            lambda: web.get(external.ip, ports[0], PATH, timeout=context.site.timeout(timeout)),
            lambda seen: seen.status == 200,
            timeout=30,
        )
        if page.status == 200:
            return good("LB_SERVES", str(external), f"serves HTTP as {page.body.strip()}")
        return _not_serving(context, external, str(page))
    failures = settle(
        context,
        f"a TCP port of {external.ip}",
        lambda: {port: web.connect(external.ip, port, context.site.timeout(timeout)) for port in ports},
        lambda seen: not all(seen.values()),
        timeout=30,
    )
    opened = [str(port) for port, failure in failures.items() if not failure]
    if opened:
        closed = [f"{port}: {failure}" for port, failure in failures.items() if failure]
        return good(
            "LB_SERVES",
            str(external),
            f"accepts connections on {' and '.join(opened)}" + (f", not on {', '.join(closed)}" if closed else ""),
        )
    return _not_serving(context, external, "; ".join(f"{port}: {failure}" for port, failure in failures.items()))


def _not_serving(context: Context, external: External, seen: str) -> Finding:
    namespace, name = external.service["metadata"]["namespace"], external.service["metadata"]["name"]
    return bad(
        "LB_NOT_SERVING",
        str(external),
        f"does not serve: {seen}",
        f"kubectl -n {namespace} get endpoints {name}; kubectl -n {namespace} describe service {name}",
        *context.cluster.events(namespace, name)[-pods.EVENTS :],
    )


def _not_for(site: Site) -> str:
    return "" if site.metallb.enabled else "[metallb] is not enabled"


CHECK = Check(
    "loadbalancer", "Each external IP is answered by one node alone on the segment, and serves.", run, _not_for
)
