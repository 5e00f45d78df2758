"""Install MetalLB from its released manifest and wait until controller and speakers are ready."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator

from provisioner.catalogue import release
from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import objects
from provisioner.engine.rollout import wait_for_rollout
from provisioner.kube import Cluster, Object, templates
from provisioner.kube.manifests import fetch_manifest
from provisioner.kube.objects import order, scale_probes, without_ca_bundles
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.version import Version

NAMESPACE = "metallb-system"
# The Secret in the speaker's volume, and ML_SECRET_NAME of the controller (metallb-native.yaml).
MEMBERLIST = "memberlist"


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield MetalLB's objects that are missing or differ, then the wait for controller and speakers."""
    del host
    manifests = wanted(site)
    yield from objects(cluster, manifests)
    if cluster.get("Secret", MEMBERLIST, NAMESPACE) is None:
        yield Change("create the speakers' memberlist key", lambda: _create_key(cluster))
    yield from wait_for_rollout(cluster, manifests)


def _create_key(cluster: Cluster) -> None:
    """Create the Secret that each speaker mounts.

    The controller would create it too, but only once it runs; until then no speaker can start, and the kubelet retries
    only every two minutes. The controller leaves an existing Secret alone.
    """
    key = base64.b64encode(secrets.token_bytes(128)).decode()
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": MEMBERLIST, "namespace": NAMESPACE},
            "stringData": {"secretkey": key},
        }
    )


def wanted(site: Site) -> list[Object]:
    """Return the released objects, without the webhooks' CA bundles, which the controller writes itself.

    From 0.16 on also metallb/metrics.yaml: the rights to read MetalLB's metrics, which `l2 check` needs.
    """
    chosen = release("metallb", str(site.version), site.metallb.version)
    upstream = [
        scale_probes(without_ca_bundles(item), site.cluster.timeout_scale)
        for download in chosen.manifests
        for item in fetch_manifest(site, download)
    ]
    metrics_need_token = Version.parse(chosen.version).at_least(0, 16)
    return order([*upstream, *(templates.read(site, "metallb/metrics.yaml") if metrics_need_token else ())])


STEP = Step(
    name="metallb",
    summary="MetalLB's controller and speakers",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "kubeadm-objects", "nodes"),
    enabled=lambda site: site.metallb.enabled,
)
