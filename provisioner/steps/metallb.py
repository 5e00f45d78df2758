"""Install MetalLB from its released manifest and wait until its webhook answers."""

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
MEMBERLIST = (
    "memberlist"  # the Secret of the speaker's volume, and ML_SECRET_NAME of the controller (metallb-native.yaml)
)


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield MetalLB's objects that are missing or differ, then the wait for controller and speakers."""
    del host
    manifests = wanted(site)
    yield from objects(cluster, manifests)
    if cluster.get("Secret", MEMBERLIST, NAMESPACE) is None:
        yield Change("make the key by which speakers know each other", lambda: _make_key(cluster))
    yield from wait_for_rollout(cluster, manifests)


def _make_key(cluster: Cluster) -> None:
    """Make the Secret that each speaker mounts.

    The controller would make it too, once its image is there and it runs; until then no speaker could start, and the
    kubelet looks again for it only after up to two minutes. An existing one is left alone, by the controller as well.
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
    """Return the released manifest's objects; its controller writes the webhooks' CA bundles itself.

    From 0.16 on also what it takes to read its counters, on which `l2 check` relies: metallb/metrics.yaml.
    """
    chosen = release("metallb", str(site.version), site.metallb.version)
    upstream = [
        scale_probes(without_ca_bundles(item), site.cluster.timeout_scale)
        for download in chosen.manifests
        for item in fetch_manifest(site, download)
    ]
    shown_to_bearers = Version.parse(chosen.version).at_least(0, 16)
    return order([*upstream, *(templates.read(site, "metallb/metrics.yaml") if shown_to_bearers else ())])


STEP = Step(
    name="metallb",
    summary="MetalLB's controller and speakers",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "nodes"),
    enabled=lambda site: site.metallb.enabled,
)
