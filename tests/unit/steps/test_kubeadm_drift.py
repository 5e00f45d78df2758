"""What a running cluster does not take over is refused, by file, line and remedy; what is the same is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from provisioner.kube import Object, kubeadm
from provisioner.site import Site, SiteErrors
from provisioner.steps import kubeadm_drift, kubeadm_state
from provisioner.steps.control_plane import STEP
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import drain, fleet_for, present, site_at


def document(name: str, key: str, value: Object) -> Object:
    return {
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": {key: yaml.safe_dump(value)},
    }


def made_from(site: Site) -> FakeCluster:
    """Return a cluster that was made from the site as it is."""
    return FakeCluster(
        document("kubeadm-config", "ClusterConfiguration", kubeadm.cluster_configuration(site)),
        document("kubelet-config", "kubelet", dict(site.kubeadm.kubelet_configuration)),
    )


def refused(cluster: FakeCluster, site: Site) -> list[str]:
    with pytest.raises(SiteErrors) as raised:
        kubeadm_drift.refuse_differences(cluster, site)  # type: ignore[arg-type]
    return [str(error) for error in raised.value.errors]


@pytest.mark.parametrize("version", ["1.20.2", "1.30", "1.37"])
@pytest.mark.parametrize("rest", ["", '[kubeadm]\nkey_algorithm = "ECDSA-P256"\nscheduler = { v = "2" }'])
def test_a_site_agrees_with_the_cluster_that_was_made_of_it(tmp_path: Path, version: str, rest: str) -> None:
    site = site_at(tmp_path, f'kubernetes = "{version}"\nendpoint = "api.example.org:6443"', rest)
    kubeadm_drift.refuse_differences(made_from(site), site)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'pod_cidr = "10.9.0.0/16"',
            'cluster.pod_cidr: the cluster was made with "10.244.0.0/16", and this is "10.9.0.0/16"; '
            'write pod_cidr = "10.244.0.0/16"; only a new cluster takes another one (provisioner reset)',
        ),
        ('service_cidr = "10.9.0.0/16"', 'cluster.service_cidr: the cluster was made with "10.96.0.0/16"'),
        ('endpoint = "api.example.org"', "take endpoint out; only a new cluster takes another one"),
    ],
)
def test_each_is_refused_at_its_line(tmp_path: Path, line: str, said: str) -> None:
    cluster = made_from(site_at(tmp_path))
    (error,) = refused(cluster, site_at(tmp_path, line))
    assert said in error
    assert error.startswith(f"{tmp_path}/hosts.toml:4: ")


def test_an_endpoint_that_is_missing_is_named(tmp_path: Path) -> None:
    cluster = made_from(site_at(tmp_path, 'endpoint = "api.example.org:6443"'))
    (error,) = refused(cluster, site_at(tmp_path))
    assert 'made with "api.example.org:6443", and none is named; write endpoint = "api.example.org:6443"' in error


def test_every_difference_is_told_at_once(tmp_path: Path) -> None:
    cluster = made_from(site_at(tmp_path))
    cluster.live("ConfigMap", "kubeadm-config", "kube-system")["data"]["ClusterConfiguration"] = "{}"
    assert len(refused(cluster, site_at(tmp_path))) == 3  # the name and both networks


def test_what_kubeadm_adds_is_no_difference_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Until 1.30 kubeadm notes the API server's authorization-mode among the extra arguments."""
    site = site_at(tmp_path)
    live = kubeadm.cluster_configuration(site)
    live["apiServer"]["extraArgs"] = {"authorization-mode": "Node,RBAC"}
    cluster = FakeCluster(document("kubeadm-config", "ClusterConfiguration", live))
    kubeadm_drift.refuse_differences(cluster, site)  # type: ignore[arg-type]
    other = site_at(tmp_path, rest='[kubeadm]\napi_server = { "authorization-mode" = "Webhook" }')
    assert "has authorization-mode otherwise" in refused(cluster, other)[0]


def test_a_value_is_not_shown(tmp_path: Path) -> None:
    """Nobody knows which of the flags that are passed through is a secret."""
    cluster = made_from(site_at(tmp_path, rest='[kubeadm]\napi_server = { "x" = "hunter1" }'))
    (error,) = refused(cluster, site_at(tmp_path, rest='[kubeadm]\napi_server = { "x" = "hunter2" }'))
    assert "hunter" not in error


@pytest.mark.parametrize(
    ("live", "wanted"),
    [("10m0s", "10m"), ("1h30m0s", "90m"), ("0s", "0"), ("20ms", "20ms"), (50, 50), (None, 0), (None, {}), ([1], [1])],
)
def test_the_same_written_otherwise(live: object, wanted: object) -> None:
    assert kubeadm_drift._holds(live, wanted)
    assert kubeadm_drift._holds({"a": live, "b": 1}, {"a": wanted})


@pytest.mark.parametrize(
    ("live", "wanted"), [("10m0s", "11m"), (None, 1), (50, 51), ([1, 2], [1]), ("x", {"a": 1}), ("ten", "10")]
)
def test_another(live: object, wanted: object) -> None:
    assert not kubeadm_drift._holds(live, wanted)


@pytest.mark.parametrize("name", ["kubelet-config", "kubelet-config-1.20"])
def test_the_kubelets_configuration_under_its_old_name_too(tmp_path: Path, name: str) -> None:
    site = site_at(tmp_path, 'kubernetes = "1.20.2"', "[kubeadm]\nkubelet_configuration = { maxPods = 51 }")
    cluster = FakeCluster(document(name, "kubelet", {"maxPods": 50}))
    (error,) = refused(cluster, site)
    assert "kubeadm.kubelet_configuration.maxPods: the running cluster's kubelets have this otherwise" in error


def test_a_plan_of_a_running_control_plane_looks(tmp_path: Path) -> None:
    cluster = made_from(site_at(tmp_path))
    host = fleet_for(STEP, site_at(tmp_path, 'pod_cidr = "10.9.0.0/16"'))["master"]
    host.know(files={kubeadm_state.ADMIN_CONF: present()})
    with pytest.raises(SiteErrors):
        drain(STEP, host, cluster)
