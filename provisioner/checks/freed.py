"""A deleted LoadBalancer Service releases its address: it falls silent on the wire and can be assigned again.

The check creates its own Service next to those of the workload, so that no other Service loses its address.
"""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.checks import pods, restore, workload_manifests
from provisioner.checks.check import NAMESPACE, Check, Context, Finding, failed, passed, skipped, wait_for
from provisioner.kube import Object
from provisioner.kube.load_balancers import assigned_ips
from provisioner.l2 import verdicts
from provisioner.site import Site
from provisioner.text import join_words

WORKLOAD = "loadbalancer"
NAMES = ("lb-verify", "lb-verify-again")


def run(context: Context) -> Iterator[Finding]:
    """Yield whether an address is announced, falls silent with its Service, and is assigned again."""
    if not context.thorough:
        yield skipped("the address of a deleted Service", "checking that it is released needs --full")
        return
    cluster = context.cluster
    name = next(iter(workload_manifests.services(context.site, "LoadBalancer", WORKLOAD)), "")
    model = cluster.get("Service", name, NAMESPACE) if name else None
    if model is None:
        yield failed("LB_NONE", f"Service {NAMESPACE}/{name or WORKLOAD}", "does not exist", "provisioner apply")
        return
    _delete(context)  # left by a run that was killed
    with restore.restoring(
        cluster,
        "the test Services to be deleted",
        lambda: _delete(context),
        lambda: f"Services {join_words(NAMES)} may remain in {NAMESPACE}",
        "provisioner verify freed deletes them",
    ):
        yield from _address(context, model)


def _address(context: Context, model: Object) -> Iterator[Finding]:
    ip = _assigned(context, service(model, NAMES[0]))
    if not ip:
        yield _no_address(context, NAMES[0], "was assigned no address")
        return
    subject = f"{ip} ({NAMESPACE}/{NAMES[0]})"
    answering = verdicts.answering_macs(context.site, context.cluster, context.hosts, ip)
    owners = wait_for(context, f"{ip} to be announced", answering, lambda macs: len(macs) == 1, timeout=30)
    if len(owners) != 1:
        yield failed(
            "LB_NOT_ANNOUNCED",
            subject,
            f"is answered by {join_words(owners) or 'nobody'}, and should be by one node",
            f"provisioner l2 check {ip}",
            *context.cluster.events(NAMESPACE, NAMES[0])[-pods.EVENTS :],
        )
        return
    context.cluster.delete("Service", NAMES[0], NAMESPACE)
    remaining = wait_for(context, f"{ip} to fall silent", answering, lambda macs: not macs, timeout=60)
    if remaining:
        yield failed(
            "LB_NOT_SILENT",
            subject,
            f"is still answered by {join_words(remaining)}, although its Service was deleted",
            f"provisioner l2 check {ip}; kubectl -n metallb-system logs -l component=speaker --tail=20",
            *context.cluster.events(NAMESPACE, NAMES[0])[-pods.EVENTS :],
        )
        return
    yield passed("LB_SILENT", subject, "fell silent on the wire when its Service was deleted")
    second = _assigned(context, service(model, NAMES[1], ip))
    if second == ip:
        yield passed("LB_FREED", ip, "was released and assigned to another Service that requested it")
    else:
        detail = f"requested {ip}, whose Service was deleted, and was assigned {second or 'none'}"
        yield _no_address(context, NAMES[1], detail)


def service(model: Object, name: str, ip: str = "") -> Object:
    """Return a LoadBalancer Service with the pods of another, requesting `ip` if given."""
    spec = {
        "type": "LoadBalancer",
        "selector": model["spec"]["selector"],
        "ports": [
            {key: port[key] for key in ("name", "port", "protocol", "targetPort") if key in port}
            for port in model["spec"]["ports"]
        ],
    }
    requested = {"loadBalancerIP": ip} if ip else {}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec | requested}


def _assigned(context: Context, wanted: Object) -> str:
    """Create the Service; return the address that it is assigned, "" for none."""
    name = wanted["metadata"]["name"]
    context.cluster.apply(wanted)
    found = wait_for(
        context,
        f"an address for {name}",
        lambda: assigned_ips(context.cluster.get("Service", name, NAMESPACE) or {}),
        bool,
        timeout=30,
    )
    return found[0] if found else ""


def _no_address(context: Context, name: str, detail: str) -> Finding:
    return failed(
        "LB_NO_FREE_ADDRESS",
        f"Service {NAMESPACE}/{name}",
        detail,
        f"kubectl get services -A shows if the pools are exhausted; kubectl -n {NAMESPACE} describe service {name}",
        *context.cluster.events(NAMESPACE, name)[-pods.EVENTS :],
    )


def _delete(context: Context) -> None:
    for name in NAMES:
        context.cluster.delete("Service", name, NAMESPACE)


def _skip_reason(site: Site) -> str:
    if not site.metallb.enabled:
        return "[metallb] is not enabled"
    return "" if WORKLOAD in site.workloads.enabled else f'[workloads] enabled has no "{WORKLOAD}"'


CHECK = Check("freed", "A deleted Service's address falls silent and can be assigned again.", run, _skip_reason)
