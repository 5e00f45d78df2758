"""Compare hosts.toml with the configuration that the real kubeadm uploads to a real API server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from provisioner.kube import Cluster, kubeadm, kubeadm_drift
from provisioner.site import Site, SiteErrors
from tests import hosts_toml
from tests.integration.kube.apiserver import ControlPlane, programs
from tests.integration.kube.reaching import HOSTS
from tests.integration.kube.test_kubeadm_reads import FULL

pytestmark = pytest.mark.integration

MORE = FULL.replace(
    "kubelet_configuration = { maxPods = 50 }",
    'kubelet_configuration = { maxPods = 50, syncFrequency = "90s", failSwapOn = false, podPidsLimit = 0, '
    'evictionHard = { "memory.available" = "5%" } }',
)


def site_of(directory: Path, text: str) -> Site:
    directory.mkdir(exist_ok=True)
    return hosts_toml.load(directory, text)


def upload(control_plane: ControlPlane, cluster: Cluster, site: Site, directory: Path) -> None:
    """Run the last phase of kubeadm init, which also annotates the node, so create one."""
    (directory / "kubeadm.yaml").write_text(
        yaml.safe_dump_all(kubeadm.init_documents(site, site.first), sort_keys=False)
    )
    (directory / "admin.conf").write_text(control_plane.kubeconfig())
    labels = {"kubernetes.io/hostname": site.first.name}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": site.first.name, "labels": labels}}
    cluster.apply(node)
    try:
        done = subprocess.run(
            [
                *(programs() / "kubeadm", "init", "phase", "upload-config", "all"),
                f"--config={directory}/kubeadm.yaml",
                f"--kubeconfig={directory}/admin.conf",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    finally:
        cluster.delete("Node", site.first.name)


@pytest.mark.parametrize("more", ["", MORE], ids=["as shipped", "everything set"])
def test_what_kubeadm_uploads_agrees_with_hosts_toml(
    control_plane: ControlPlane, cluster: Cluster, tmp_path: Path, more: str
) -> None:
    site = site_of(tmp_path, HOSTS + more)
    upload(control_plane, cluster, site, tmp_path)
    kubeadm_drift.refuse_differences(cluster, site)
    changed = HOSTS.replace("[cluster]", '[cluster]\npod_cidr = "10.9.0.0/16"', 1) + more
    with pytest.raises(SiteErrors, match=r"10\.244\.0\.0/16"):
        kubeadm_drift.refuse_differences(cluster, site_of(tmp_path / "changed", changed))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"audit-log-maxage" = "7"',
            '"audit-log-maxage" = "8"',
            "kubeadm.api_server: the running cluster has a dif",
        ),
        ('"audit-log-maxage" = "7"', "", "kubeadm.api_server: the running cluster has a different audit-log-maxage"),
        (
            '"snapshot-count" = "5000"',
            '"quota-backend-bytes" = "1"',
            "kubeadm.etcd: the running cluster has a different quota-",
        ),
        ("maxPods = 50", "maxPods = 51", "kubeadm.kubelet_configuration.maxPods: the running cluster's kubelets"),
        ('"90s"', '"91s"', "kubeadm.kubelet_configuration.syncFrequency"),
        ('"5%"', '"6%"', "kubeadm.kubelet_configuration.evictionHard"),
        (
            '"ECDSA-P256"',
            '"RSA-2048"',
            'created with "ECDSA-P256", and this is "RSA-2048"; set key_algorithm = ',
        ),
    ],
)
def test_a_later_change_is_refused_at_its_line(
    control_plane: ControlPlane, cluster: Cluster, tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in MORE
    upload(control_plane, cluster, site_of(tmp_path, HOSTS + MORE), tmp_path)
    text = HOSTS + MORE.replace(old, new)
    with pytest.raises(SiteErrors) as raised:
        kubeadm_drift.refuse_differences(cluster, site_of(tmp_path / "changed", text))
    (error,) = raised.value.errors
    assert said in str(error)
    key = said.split(":", maxsplit=1)[0].split(".")[1] if said.startswith("kubeadm.") else "key_algorithm"
    assert text.splitlines()[error.line - 1].startswith(key)
