"""Install metrics-server, which the autoscaler and `kubectl top` read."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.catalogue import release
from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import objects
from provisioner.engine.rollout import wait_for_rollout
from provisioner.kube import Cluster, Object
from provisioner.kube.manifests import fetch_manifest
from provisioner.kube.objects import containers, order, scale_probes
from provisioner.site import Site
from provisioner.ssh import Host
from provisioner.version import Version

RESOLUTION = "--metric-resolution"
SELDOM = f"{RESOLUTION}=60s"  # upstream's file says 15s, metrics-server's own default is a minute
# Ten seconds unless it is set, and at most nine tenths of the resolution (cmd/metrics-server/app/options/options.go);
# before 0.7 there is no such flag, and the nine tenths are the timeout.
PATIENT = "--kubelet-request-timeout=50s"


def wanted(site: Site) -> list[Object]:
    """Return metrics-server's objects.

    On a slow site it asks the kubelets once a minute: they pass each question on to every container's shim, which
    took a fifth of an emulated worker (decision 0011). And it gives them longer to answer: without any figures it is
    not ready, and a Deployment that is not ready ten minutes after its rollout is looked at without a pause by the
    controller manager of 1.20 (requeueStuckDeployment in pkg/controller/deployment/progress.go).
    """
    chosen = release("metrics_server", str(site.version), site.metrics.version)
    found = [
        scale_probes(item, site.cluster.timeout_scale)
        for download in chosen.manifests
        for item in fetch_manifest(site, download)
    ]
    if site.slow:
        for container in (one for item in found for one in containers(item)):
            others = [arg for arg in container.get("args", []) if not arg.startswith(f"{RESOLUTION}=")]
            patience = [PATIENT] if Version.parse(chosen.version).at_least(0, 7) else []
            container["args"] = [*others, SELDOM, *patience]
    return order(found)


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield metrics-server's objects that are missing or differ, then the wait for it."""
    del host
    manifests = wanted(site)
    yield from objects(cluster, manifests)
    yield from wait_for_rollout(cluster, manifests)


STEP = Step(
    name="metrics-server",
    summary="metrics-server",
    scope=Scope.CLUSTER,
    changes=changes,
    after=("control-plane", "nodes", "kubelet-certificates"),
    enabled=lambda site: site.metrics.enabled,
)
