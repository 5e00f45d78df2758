"""Settings that a running cluster does not adopt are refused with file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from provisioner.kube import Object, kubeadm, kubeadm_drift, kubeadm_state
from provisioner.site import Site, SiteErrors
from provisioner.steps.control_plane import STEP
from tests.hosts_toml import UNHARDENED
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import drain, fleet_for, present, site_at


def document(name: str, key: str, value: Object) -> Object:
    return {
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": {key: yaml.safe_dump(value)},
    }


def cluster_of(site: Site) -> FakeCluster:
    """Return a cluster that was created from this site."""
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
def test_a_site_agrees_with_the_cluster_created_from_it(tmp_path: Path, version: str, rest: str) -> None:
    site = site_at(tmp_path, f'kubernetes = "{version}"\nendpoint = "api.example.org:6443"', rest)
    kubeadm_drift.refuse_differences(cluster_of(site), site)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'pod_cidr = "10.9.0.0/16"',
            'cluster.pod_cidr: the cluster was created with "10.244.0.0/16", and this is "10.9.0.0/16"; '
            'set pod_cidr = "10.244.0.0/16"; only a new cluster can have another value (provisioner reset)',
        ),
        ('service_cidr = "10.9.0.0/16"', 'cluster.service_cidr: the cluster was created with "10.96.0.0/16"'),
        ('endpoint = "api.example.org"', "remove endpoint; only a new cluster can have another value"),
    ],
)
def test_a_difference_is_refused_at_its_line(tmp_path: Path, line: str, said: str) -> None:
    cluster = cluster_of(site_at(tmp_path))
    (error,) = refused(cluster, site_at(tmp_path, line))
    assert said in error
    assert error.startswith(f"{tmp_path}/hosts.toml:3: ")


def test_a_missing_endpoint_is_named_in_the_remedy(tmp_path: Path) -> None:
    cluster = cluster_of(site_at(tmp_path, 'endpoint = "api.example.org:6443"'))
    (error,) = refused(cluster, site_at(tmp_path))
    assert 'created with "api.example.org:6443", and none is set here; set endpoint = "api.' in error


@pytest.mark.parametrize(
    ("created", "said"),
    [
        (
            "",
            'cluster.vip: the cluster was created without a shared address, and this is "192.168.56.9"; remove vip; ',
        ),
        (
            'endpoint = "192.168.56.8"',
            'created with the endpoint "192.168.56.8:6443", and this is "192.168.56.9"; remove vip and '
            'set endpoint = "192.168.56.8:6443"; only a new cluster',
        ),
    ],
)
def test_another_vip_is_refused(tmp_path: Path, created: str, said: str) -> None:
    cluster = cluster_of(site_at(tmp_path, created))
    (error,) = refused(cluster, site_at(tmp_path, 'vip = "192.168.56.9"'))
    assert said in error
    assert error.startswith(f"{tmp_path}/hosts.toml:3: ")


def test_a_vip_may_take_the_place_of_an_endpoint_with_its_address(tmp_path: Path) -> None:
    cluster = cluster_of(site_at(tmp_path, 'endpoint = "192.168.56.9:6443"'))
    kubeadm_drift.refuse_differences(cluster, site_at(tmp_path, 'vip = "192.168.56.9"'))  # type: ignore[arg-type]


def test_all_differences_are_reported_at_once(tmp_path: Path) -> None:
    site = site_at(tmp_path, rest=UNHARDENED)
    cluster = cluster_of(site)
    cluster.live("ConfigMap", "kubeadm-config", "kube-system")["data"]["ClusterConfiguration"] = "{}"
    assert len(refused(cluster, site)) == 3  # the name and both networks


def test_an_argument_that_kubeadm_adds_is_compared_only_if_configured(tmp_path: Path) -> None:
    """Until 1.30 kubeadm notes the API server's authorization-mode among the extra arguments."""
    site = site_at(tmp_path, rest=UNHARDENED)
    live = kubeadm.cluster_configuration(site)
    live["apiServer"]["extraArgs"] = {"authorization-mode": "Node,RBAC"}
    cluster = FakeCluster(document("kubeadm-config", "ClusterConfiguration", live))
    kubeadm_drift.refuse_differences(cluster, site)  # type: ignore[arg-type]
    other = site_at(tmp_path, rest=f'{UNHARDENED}[kubeadm]\napi_server = {{ "authorization-mode" = "Webhook" }}')
    assert "has a different authorization-mode" in refused(cluster, other)[0]


def test_values_are_not_shown(tmp_path: Path) -> None:
    """Any of the flags that are passed through could be a secret."""
    cluster = cluster_of(site_at(tmp_path, rest='[kubeadm]\napi_server = { "x" = "hunter1" }'))
    (error,) = refused(cluster, site_at(tmp_path, rest='[kubeadm]\napi_server = { "x" = "hunter2" }'))
    assert "hunter" not in error


@pytest.mark.parametrize(
    ("live", "wanted"),
    [("10m0s", "10m"), ("1h30m0s", "90m"), ("0s", "0"), ("20ms", "20ms"), (50, 50), (None, 0), (None, {}), ([1], [1])],
)
def test_equal_values_in_different_notation_agree(live: object, wanted: object) -> None:
    assert kubeadm_drift._agrees(live, wanted)
    assert kubeadm_drift._agrees({"a": live, "b": 1}, {"a": wanted})


@pytest.mark.parametrize(
    ("live", "wanted"), [("10m0s", "11m"), (None, 1), (50, 51), ([1, 2], [1]), ("x", {"a": 1}), ("ten", "10")]
)
def test_different_values_do_not_agree(live: object, wanted: object) -> None:
    assert not kubeadm_drift._agrees(live, wanted)


@pytest.mark.parametrize("name", ["kubelet-config", "kubelet-config-1.20"])
def test_the_kubelets_configuration_under_its_old_name_too(tmp_path: Path, name: str) -> None:
    site = site_at(tmp_path, 'kubernetes = "1.20.2"', "[kubeadm]\nkubelet_configuration = { maxPods = 51 }")
    cluster = FakeCluster(document(name, "kubelet", {"maxPods": 50}))
    (error,) = refused(cluster, site)
    assert "kubeadm.kubelet_configuration.maxPods: the running cluster's kubelets have a different value" in error


def test_a_plan_of_a_running_control_plane_compares_them(tmp_path: Path) -> None:
    cluster = cluster_of(site_at(tmp_path))
    host = fleet_for(STEP, site_at(tmp_path, 'pod_cidr = "10.9.0.0/16"'))["master"]
    host.know(files={kubeadm_state.ADMIN_CONF: present()})
    with pytest.raises(SiteErrors):
        drain(STEP, host, cluster)


def test_kube_proxys_configuration_is_compared_with_the_clusters(tmp_path: Path) -> None:
    table = "[kubeadm.kube_proxy_configuration.conntrack]\nmaxPerCore = 0"
    site = site_at(tmp_path, 'kubernetes = "1.37"', table)
    same, other = (
        FakeCluster(document("kube-proxy", "config.conf", {"conntrack": {"maxPerCore": each, "min": 131072}}))
        for each in (0, 32768)
    )
    kubeadm_drift.refuse_differences(same, site)  # type: ignore[arg-type]
    (error,) = refused(other, site)
    assert "kubeadm.kube_proxy_configuration.conntrack: the running cluster's kube-proxy has" in error
