"""A real speaker of MetalLB 0.16 shows its counters to whom metallb/metrics.yaml lets, and to nobody else.

It runs as its released ServiceAccount with its released roles. Against this old API server it finds no EndpointSlices
and announces nothing; its counters it shows all the same.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from provisioner import site_manifests
from provisioner.errors import ClusterError
from provisioner.kube import Cluster
from provisioner.l2.bearer import Bearer
from provisioner.objects import Object
from provisioner.site import Site
from tests.integration.kube.apiserver import ControlPlane, until
from tests.mirror import cache

from .cluster import WORKER, pod, released, templates
from .speaking import CARDS, hosts

pytestmark = pytest.mark.integration

NAME, PORT = "speaker-token", 9120


@pytest.fixture
def speaker_pod(admin: Cluster, control_plane: ControlPlane, tmp_path: Path) -> Iterator[Object]:
    """Run the speaker of 0.16.1 in this namespace, as the pod that is returned."""
    found = [*cache.root().glob("metallb-newest-*/metallb-newest")]
    if not found:
        pytest.skip("there is no speaker of MetalLB 0.16: python3 -m tests.mirror build --for-tests")
    for item in released("v0.16.1"):
        if item["kind"] in ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
            admin.apply(item)
    spec = {
        key: value
        for key, value in templates("v0.16.1")["speaker"]["spec"].items()
        if key not in ("volumes", "serviceAccountName")
    }
    spec["containers"] = [{key: value for key, value in spec["containers"][0].items() if key != "volumeMounts"}]
    pod(admin, NAME, spec, on="worker1", ip=WORKER, labels={"app": "metallb", "component": "speaker"})
    config = yaml.safe_load(control_plane.kubeconfig())
    config["users"][0]["user"] = {"token": admin.token("metallb-system", "speaker", 3600)}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    log = tmp_path / "speaker.log"
    with open(log, "wb") as writing:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "--", str(found[0]), f"--kubeconfig={path}", f"--port={PORT}"),
                *("--node-name=worker1", f"--pod-name={NAME}", "--namespace=metallb-system"),
            ],
            env={**os.environ, "GOMAXPROCS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
        )
    try:

        def serving() -> bool:
            assert process.poll() is None, log.read_text()[-2000:]
            return "Serving metrics server" in log.read_text()

        until(serving, "the speaker to serve its metrics")
        made = admin.get("Pod", NAME, "metallb-system")
        assert made
        yield made
    finally:
        process.kill()
        process.wait()
        admin.delete("Pod", NAME, "metallb-system")


def test_it_shows_its_counters_to_whom_our_manifest_lets(admin: Cluster, site: Site, speaker_pod: Object) -> None:
    known = hosts(site, worker1=CARDS)
    account, *roles = site_manifests.read(site, "metallb/metrics.yaml")
    assert account["kind"] == "ServiceAccount"
    with pytest.raises(ClusterError, match=r"no ServiceAccount provisioner-metrics .* metallb/metrics\.yaml"):
        Bearer(admin, known, "metallb-system").token()
    admin.apply(account)
    bearer = Bearer(admin, known, "metallb-system")

    def refused() -> bool:
        try:
            pytest.fail(f"it shows its counters to anybody: {bearer.metrics(speaker_pod, PORT)[:200]}")
        except ClusterError as error:
            # A slow answer is not a refusal; a speaker that lets it in already would be a hole.
            return "does not take the token of provisioner-metrics (" in error.message

    admin.wait("the speaker to refuse the token", refused, 600)
    for item in roles:
        admin.apply(item)

    def shown() -> str:
        return bearer.metrics(speaker_pod, PORT)

    # It remembers a refusal for up to 30 seconds (controller-runtime, filters: DenyCacheTTL).
    text = admin.wait("the speaker to let the token in", shown, 600)
    assert "metallb_k8s_client_config_loaded_bool " in text
