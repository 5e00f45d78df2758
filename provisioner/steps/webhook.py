"""Part of the step pools: what keeps the API server from reaching the webhook of MetalLB."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.errors import ClusterError, NotYet
from provisioner.kube import Cluster, Object, kubeadm
from provisioner.text import join_words

_KUBE_PROXY = "k8s-app=kube-proxy"
_SLICES = "discovery.k8s.io/v1"


class WebhookUnready(ClusterError, NotYet):
    """A webhook does not answer, so objects that it has to check can be neither compared nor written."""


def why_unready(cluster: Cluster, namespace: str) -> str:
    """Return what is missing between the API server and the webhook in a namespace; "" if nothing seems to be.

    The API server runs in the host network of a control plane: it needs a ready pod behind the webhook's Service, and
    kube-proxy on its own node for the Service's address.
    """
    try:
        return join_words([*_no_endpoints(cluster, namespace), *_no_kube_proxy(cluster)])
    except ClusterError as error:
        return f"nothing more is known, since {error.message}"


def _no_endpoints(cluster: Cluster, namespace: str) -> Iterator[str]:
    configurations = cluster.list("ValidatingWebhookConfiguration", None, "admissionregistration.k8s.io/v1")
    services = {
        str(service["name"])
        for each in configurations
        for webhook in each.get("webhooks") or ()
        if (service := webhook["clientConfig"].get("service")) and service.get("namespace") == namespace
    }
    for name in sorted(services):
        slices = cluster.list("EndpointSlice", namespace, _SLICES, labels=f"kubernetes.io/service-name={name}")
        endpoints = [endpoint for each in slices for endpoint in each.get("endpoints") or ()]
        if slices and not any((endpoint.get("conditions") or {}).get("ready") for endpoint in endpoints):
            yield f"no pod of Service {namespace}/{name} is ready"


def _no_kube_proxy(cluster: Cluster) -> Iterator[str]:
    pods = cluster.list("Pod", "kube-system", labels=_KUBE_PROXY)
    for name, node in sorted(cluster.nodes().items()):
        if not any(key in (node["metadata"].get("labels") or {}) for key in kubeadm.CONTROL_PLANE_KEYS):
            continue
        own = [pod for pod in pods if pod["spec"].get("nodeName") == name]
        if not own:
            yield f"there is no kube-proxy on {name}"
        elif not any(_ready(pod) for pod in own):
            yield f"kube-proxy on {name} is not ready ({_state(own[0])})"


def _ready(pod: Object) -> bool:
    states = pod.get("status", {}).get("containerStatuses") or ()
    return bool(states) and all(state.get("ready") for state in states)


def _state(pod: Object) -> str:
    """Return why a pod's container does not run, as kubectl shows it."""
    for state in pod.get("status", {}).get("containerStatuses") or ():
        now = state.get("state") or {}
        return str((now.get("waiting") or now.get("terminated") or {}).get("reason") or "starting")
    return str(pod.get("status", {}).get("phase", "unknown"))
