"""Install an ingress controller with an external IP, and the certificates that the workloads' Ingresses name.

The NGINX and HAProxy controllers come from their released manifests, Traefik, which releases none, from
ingress/traefik.yaml. The workloads' Ingresses use networking.k8s.io/v1 only, so any of the three serves them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

from provisioner.catalogue import release
from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import objects
from provisioner.engine.rollout import wait_for_rollout
from provisioner.kube import Cluster, Object, templates
from provisioner.kube.manifests import fetch_manifest
from provisioner.kube.objects import containers, order, scale_probes
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.steps import ingress_certificate

# IngressClass.spec.controller, from each controller's documentation
CLASSES = {
    "haproxy": "haproxy.org/ingress-controller/haproxy",
    "nginx": "nginx.org/ingress-controller",
    "traefik": "traefik.io/ingress-controller",
}
NAMESPACES = {"haproxy": "haproxy-controller", "nginx": "nginx-ingress", "traefik": "traefik"}
SERVICES = {"haproxy": "haproxy-kubernetes-ingress", "nginx": "nginx-ingress", "traefik": "traefik"}


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the certificates and the controller's objects that are missing or differ, then the wait for it."""
    del host
    manifests = wanted(site)
    yield from ingress_certificate.changes(cluster, site)
    yield from objects(cluster, manifests)
    yield from wait_for_rollout(cluster, manifests)


def wanted(site: Site) -> list[Object]:
    """Return the controller's objects with image, resources and Service adapted to the site, and an IngressClass."""
    name = site.ingress_controller
    chosen = release(name, str(site.version))
    if name == "traefik":
        kind = "LoadBalancer" if site.metallb.enabled else "NodePort"
        ours = templates.read(site, "ingress/traefik.yaml", traefik=chosen.image, service_type=kind)
        return order(scale_probes(item, site.cluster.timeout_scale) for item in ours)
    items = [item for download in chosen.manifests for item in fetch_manifest(site, download)]
    found = [_adapted(item, name, chosen.image, site.metallb.enabled) for item in items]
    if not any(item["kind"] == "IngressClass" for item in found):
        found.append(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "IngressClass",
                "metadata": {"name": name},
                "spec": {"controller": CLASSES[name]},
            }
        )
    return order(scale_probes(item, site.cluster.timeout_scale) for item in found)


def _adapted(manifest: Object, name: str, image: str, load_balancer: bool) -> Object:
    result = copy.deepcopy(manifest)
    for container in containers(result):
        if name == "haproxy":
            container["image"] = image  # the released manifest has no tag
            container["args"] = [*container["args"], f"--ingress.class={name}"]
            # Upstream requests 2 GiB, more than a lab worker has; an idle controller needs far less than this.
            container["resources"] = {"requests": {"cpu": "50m", "memory": "96Mi"}}
    if result["kind"] == "Service" and load_balancer and result["spec"].get("type") == "NodePort":
        result["spec"]["type"] = "LoadBalancer"
        # Like NGINX's own Service. With Cluster, the node replaces the client's address by its own.
        result["spec"]["externalTrafficPolicy"] = "Local"
    return result


STEP = Step(
    name="ingress",
    summary="the ingress controller",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "nodes", "pools"),
    enabled=lambda site: site.ingress.enabled,
)
