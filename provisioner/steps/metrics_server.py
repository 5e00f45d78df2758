"""Install metrics-server, which autoscalers and `kubectl top` use."""

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
SLOW_RESOLUTION = f"{RESOLUTION}=60s"  # 15s in upstream's manifest; metrics-server's own default is one minute
# Default 10s, at most 90 % of the resolution (cmd/metrics-server/app/options/options.go). Before 0.7 there is no such
# flag, and the timeout is 90 % of the resolution.
SLOW_TIMEOUT = "--kubelet-request-timeout=50s"


def wanted(site: Site) -> list[Object]:
    """Return metrics-server's objects.

    On a slow site it scrapes the kubelets once a minute, since each scrape queries every container's shim, which took
    a fifth of an emulated worker's CPU (decision 0011). It also waits longer for their answers: without metrics it is
    not ready, and the controller manager of 1.20 requeues a Deployment that is not ready after ten minutes without
    a pause (requeueStuckDeployment in pkg/controller/deployment/progress.go).
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
            timeout = [SLOW_TIMEOUT] if Version.parse(chosen.version).at_least(0, 7) else []
            container["args"] = [*others, SLOW_RESOLUTION, *timeout]
    return order(found)


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the objects of metrics-server that are missing or differ, then the wait for its rollout."""
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
