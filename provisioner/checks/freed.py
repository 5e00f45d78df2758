"""A deleted LoadBalancer Service frees its address: the segment falls silent, and another Service may have it.

Tried with a Service of its own beside those of the workload, so that nobody's address is taken away.
"""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.checks import pods, restore, workload_manifests
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, skipped, wait_for
from provisioner.kube import Object
from provisioner.kube.load_balancers import addresses
from provisioner.l2 import verdicts
from provisioner.site import Site
from provisioner.text import join_words

WORKLOAD = "loadbalancer"
NAMES = ("lb-verify", "lb-verify-again")
SUBJECT = f"Service {NAMESPACE}/{NAMES[0]}"


def run(context: Context) -> Iterator[Finding]:
    """Yield whether an address is answered for, falls silent with its Service, and is given again."""
    if not context.thorough:
        yield skipped(
            "a deleted Service's address", "that it falls silent and is given again: not tried without --full"
        )
        return
    cluster = context.cluster
    behind = next(iter(workload_manifests.services(context.site, "LoadBalancer", WORKLOAD)), "")
    model = cluster.get("Service", behind, NAMESPACE) if behind else None
    if model is None:
        yield failed("LB_NONE", f"Service {NAMESPACE}/{behind or WORKLOAD}", "does not exist", "provisioner apply")
        return
    _take_back(context)  # what a run that was killed has left
    with restore.restoring(
        cluster,
        "the Services to be deleted",
        lambda: _take_back(context),
        lambda: f"{join_words(NAMES)} may be left among the Services of {NAMESPACE}",
        "provisioner verify freed takes them back",
    ):
        yield from _tried(context, model)


def _tried(context: Context, model: Object) -> Iterator[Finding]:
    ip = _given(context, service(model, NAMES[0]))
    if not ip:
        yield _no_address(context, NAMES[0], "has been given no address")
        return
    ask = verdicts.answering_macs(context.site, context.cluster, context.hosts, ip)
    owners = wait_for(context, f"{ip} to be answered for", ask, lambda seen: len(seen) == 1, timeout=30)
    if len(owners) != 1:
        yield failed(
            "LB_NOT_ANNOUNCED",
            f"{ip} ({NAMESPACE}/{NAMES[0]})",
            f"is answered for by {join_words(owners) or 'nobody'}, and should be by one",
            f"provisioner l2 check {ip}",
            *context.cluster.events(NAMESPACE, NAMES[0])[-pods.EVENTS :],
        )
        return
    context.cluster.delete("Service", NAMES[0], NAMESPACE)
    left = wait_for(context, f"{ip} to fall silent", ask, lambda seen: not seen, timeout=60)
    if left:
        yield failed(
            "LB_NOT_SILENT",
            f"{ip} ({NAMESPACE}/{NAMES[0]})",
            f"is still answered for by {join_words(left)}, though its Service is deleted",
            f"provisioner l2 check {ip}; kubectl -n metallb-system logs -l component=speaker --tail=20",
            *context.cluster.events(NAMESPACE, NAMES[0])[-pods.EVENTS :],
        )
        return
    yield passed("LB_SILENT", f"{ip} ({NAMESPACE}/{NAMES[0]})", "fell silent on the wire with its Service")
    again = _given(context, service(model, NAMES[1], ip))
    if again == ip:
        yield passed("LB_FREED", ip, "is free again: another Service that asked for it was given it")
    else:
        yield _no_address(
            context, NAMES[1], f"asked for {ip}, whose Service is deleted, and was given {again or 'none'}"
        )


def service(model: Object, name: str, ip: str = "") -> Object:
    """Return a LoadBalancer Service to the pods of another, asking for an address where one is named."""
    spec = {
        "type": "LoadBalancer",
        "selector": model["spec"]["selector"],
        "ports": [
            {key: port[key] for key in ("name", "port", "protocol", "targetPort") if key in port}
            for port in model["spec"]["ports"]
        ],
    }
    asked = {"loadBalancerIP": ip} if ip else {}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec | asked}


def _given(context: Context, wanted: Object) -> str:
    """Make the Service; return the address that it is given, "" for none."""
    name = wanted["metadata"]["name"]
    context.cluster.apply(wanted)
    found = wait_for(
        context,
        f"an address of {name}",
        lambda: addresses(context.cluster.get("Service", name, NAMESPACE) or {}),
        bool,
        timeout=30,
    )
    return found[0] if found else ""


def _no_address(context: Context, name: str, what: str) -> Finding:
    return failed(
        "LB_NO_FREE_ADDRESS",
        f"Service {NAMESPACE}/{name}",
        what,
        f"are the pools used up? kubectl get services -A; kubectl -n {NAMESPACE} describe service {name}",
        *context.cluster.events(NAMESPACE, name)[-pods.EVENTS :],
    )


def _take_back(context: Context) -> None:
    for name in NAMES:
        context.cluster.delete("Service", name, NAMESPACE)


def _skip_reason(site: Site) -> str:
    if not site.metallb.enabled:
        return "[metallb] is not enabled"
    return "" if WORKLOAD in site.workloads.enabled else f'[workloads] enabled has no "{WORKLOAD}"'


CHECK = Check("freed", "A deleted Service's address falls silent and is given again.", run, _skip_reason)
