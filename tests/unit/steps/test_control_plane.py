"""kubeadm init: runs once, is cleaned up after an interruption, never because the API does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from provisioner.errors import HostError
from provisioner.kube import ApiState, Object, kubeadm, kubeadm_state
from provisioner.kube.api import refusal
from provisioner.steps import kernel_settings
from provisioner.steps.control_plane import CONFIG, STEP
from tests import hosts_toml
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node
from tests.unit.steps.doubles import (
    POOL,
    RecordingHost,
    carry_out,
    drain,
    fleet_for,
    present,
    running,
    site_at,
    summaries,
)

INIT = "kubeadm init (Kubernetes 1.20.2, flannel, pods 10.244.0.0/16)"
CLEAN, NOTE = "clean up after an interrupted kubeadm init", "record that kubeadm init has finished"


# What a kubeadm says that has no dry run of its phases.
NOT_RENDERED = "@part failed kubelet-start\nerror: unknown flag: --dry-run\n"


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    return fleet_for(STEP, site_at(tmp_path, 'kubernetes = "1.20.2"'))["master"]


def thing(kind: str, name: str, namespace: str) -> Object:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}}


def finished() -> FakeCluster:
    """Return a cluster in which kubeadm init has finished."""
    return FakeCluster(
        node("master"),
        thing("ConfigMap", "kubeadm-config", "kube-system"),
        thing("ConfigMap", "cluster-info", "kube-public"),
        thing("Deployment", "coredns", "kube-system"),
        thing("DaemonSet", "kube-proxy", "kube-system"),
    )


def has(*paths: str) -> dict[str, Any]:
    return {path: present() for path in paths}


def test_a_blank_host(host: RecordingHost) -> None:
    cluster = FakeCluster()
    assert carry_out(STEP, host, cluster) == [INIT]
    text, mode = host.files[CONFIG]
    assert mode == 0o600
    assert [document["kind"] for document in yaml.safe_load_all(text)] == [
        "InitConfiguration",
        "ClusterConfiguration",
        "KubeletConfiguration",
        "KubeProxyConfiguration",
    ]
    lines = host.works["kubeadm-init"].splitlines()
    assert lines[0].endswith(f"touch {kubeadm_state.INIT_STARTED}; sync {kubeadm_state.INIT_STARTED}")
    assert lines[1] == f"kubeadm init --config {CONFIG} --skip-token-print"
    assert lines[2].startswith(f"rm -f {kubeadm_state.INIT_STARTED}; sync ")
    assert cluster.disconnects == 1, "old credentials are dropped"
    assert cluster.waits == ["the API to answer"]


def test_a_slow_site_passes_patches_to_kubeadm(tmp_path: Path) -> None:
    host = fleet_for(STEP, site_at(tmp_path, 'kubernetes = "1.20.2"\ntimeout_scale = 8.0'))["master"]
    carry_out(STEP, host, FakeCluster())
    assert {CONFIG, *kubeadm.patches(host.site)} <= set(host.files)
    assert f"--experimental-patches {kubeadm.PATCHES}\n" in host.works["kubeadm-init"]


def test_a_control_plane_that_answers(host: RecordingHost) -> None:
    host.know(files=has(kubeadm_state.ADMIN_CONF, kubeadm_state.KUBELET_CONF, kubeadm_state.CA, kubeadm_state.ETCD))
    host.know(sysctls=dict(kernel_settings.SETTINGS))
    cluster = finished()
    assert drain(STEP, host, cluster) == []
    assert host.commands == []


def test_a_silent_control_plane_is_an_error_and_never_recreated(host: RecordingHost) -> None:
    host.know(files=has(kubeadm_state.ADMIN_CONF, kubeadm_state.KUBELET_CONF, kubeadm_state.CA, kubeadm_state.ETCD))
    host.says |= {"crictl ps -a": "kube-apiserver Exited\n", "init phase": NOT_RENDERED}
    host.know(units={"kubelet.service": running()})
    with pytest.raises(HostError) as raised:
        drain(STEP, host, FakeCluster(api=ApiState.UNREACHABLE))
    assert "is a control plane whose API at 192.168.56.10:6443 does not answer: connection refused" in str(
        raised.value
    )
    assert "nothing was changed" in str(raised.value)
    assert raised.value.tail == "kube-apiserver Exited\n"
    assert host.works == {}


def test_a_silent_control_plane_is_mended_where_kubeadm_would_write_other_files(host: RecordingHost) -> None:
    """A broken manifest or a kubelet that is down is why the API does not answer, so nothing is asked of the API."""
    host.know(files=has(kubeadm_state.ADMIN_CONF, kubeadm_state.KUBELET_CONF, kubeadm_state.CA, kubeadm_state.ETCD))
    host.says["init phase"] = NOT_RENDERED
    changes = drain(STEP, host, FakeCluster(api=ApiState.UNREACHABLE))
    assert [change.summary for change in changes] == ["start the kubelet", "wait for the API to answer"]
    assert changes[-1].waits


MARKED = has(kubeadm_state.INIT_STARTED)
HALF = has(
    kubeadm_state.INIT_STARTED,
    kubeadm_state.CA,
    kubeadm_state.ETCD,
    kubeadm_state.KUBELET_CONF,
    "/etc/kubernetes/manifests/e.yaml",
)
WHOLE = {**HALF, **has(kubeadm_state.ADMIN_CONF)}


@pytest.mark.parametrize(
    ("files", "cluster", "expected"),
    [
        pytest.param(MARKED, FakeCluster(api=ApiState.ABSENT), [CLEAN, INIT], id="killed at once"),
        pytest.param(HALF, FakeCluster(api=ApiState.ABSENT), [CLEAN, INIT], id="killed before admin.conf"),
        pytest.param(WHOLE, FakeCluster(api=ApiState.UNREACHABLE), [CLEAN, INIT], id="API never came up"),
        pytest.param(WHOLE, FakeCluster(), [CLEAN, INIT], id="API up, no node yet"),
        pytest.param(WHOLE, FakeCluster(node("master")), [CLEAN, INIT], id="API up, no addons yet"),
        pytest.param(WHOLE, finished(), [NOTE], id="finished, but the marker is left"),
    ],
)
def test_states_of_an_interrupted_init(
    host: RecordingHost, files: dict[str, Any], cluster: FakeCluster, expected: list[str]
) -> None:
    assert summaries(STEP, host.know(files=files), cluster) == expected


def test_an_init_that_was_killed_before_admin_conf_had_rights(
    host: RecordingHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = finished()

    def refuse(*arguments: object) -> NoReturn:
        raise refusal("GET", "/api/v1/nodes", 403, b'nodes is forbidden: User "kubernetes-admin" cannot list them')

    monkeypatch.setattr(cluster, "nodes", refuse)
    assert summaries(STEP, host.know(files=WHOLE), cluster) == [CLEAN, INIT]


@pytest.mark.parametrize("missing", ["kubeadm-config", "cluster-info", "coredns", "kube-proxy"])
def test_init_has_finished_only_if_all_its_objects_exist(host: RecordingHost, missing: str) -> None:
    cluster = finished()
    cluster.objects = [item for item in cluster.objects if item["metadata"]["name"] != missing]
    assert summaries(STEP, host.know(files=WHOLE), cluster) == [CLEAN, INIT]


def test_after_a_finished_init_only_the_marker_is_removed(host: RecordingHost) -> None:
    carry_out(STEP, host.know(files=WHOLE), finished())
    assert host.commands == [f"rm -f {kubeadm_state.INIT_STARTED}"]
    assert host.works == {}


def test_the_reset_removes_the_marker_last(host: RecordingHost) -> None:
    """If it is killed, the next run resets again."""
    carry_out(STEP, host.know(files=HALF), FakeCluster())
    lines = host.works["kubeadm-reset"].splitlines()
    assert lines[-1] == f"rm -f {kubeadm_state.INIT_STARTED}"
    assert any(line.startswith("kubeadm reset -f") for line in lines)


def test_a_control_plane_with_joined_nodes_is_not_reset(host: RecordingHost) -> None:
    host.fleet["worker2"].know(files=has(kubeadm_state.KUBELET_CONF))
    with pytest.raises(HostError, match="interrupted here, but worker2 joined already") as raised:
        drain(STEP, host.know(files=WHOLE), FakeCluster(api=ApiState.UNREACHABLE))
    assert "nothing is reset" in str(raised.value)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (kubeadm_state.ETCD, "/var/lib/etcd/member"),
        (kubeadm_state.CA, "/etc/kubernetes/pki/ca.crt"),
        ("/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/manifests"),
        (kubeadm_state.KUBELET_CONF, "/etc/kubernetes/kubelet.conf"),
    ],
)
def test_files_of_another_cluster_are_not_touched(host: RecordingHost, path: str, named: str) -> None:
    with pytest.raises(HostError) as raised:
        drain(STEP, host.know(files=has(path)), FakeCluster(api=ApiState.ABSENT))
    assert f"has files of another or an older cluster ({named})" in str(raised.value)
    assert "provisioner reset --limit master" in raised.value.remedy
    assert host.works == {}


def test_the_plan_shows_the_configuration_and_no_secret(host: RecordingHost) -> None:
    (change,) = drain(STEP, host)
    assert "+ kubernetesVersion: v1.20.2\n" in change.diff
    assert "token:" not in change.diff


def test_the_timeout_includes_a_long_init_timeout(tmp_path: Path) -> None:
    host = fleet_for(STEP, site_at(tmp_path, rest='[kubeadm]\ninit_timeout = "30m"'))["master"]
    carry_out(STEP, host)
    assert host.timeouts["kubeadm-init"] >= 30 * 60 + 300


def test_a_blank_first_control_plane_of_a_cluster_that_runs_elsewhere(tmp_path: Path) -> None:
    """Its machine was lost and installed anew; init would make a second cluster at the same address."""
    control_planes = [("one", "192.168.56.10", "control-plane"), ("two", "192.168.56.11", "control-plane")]
    text = "".join(hosts_toml.host(*each) for each in control_planes) + POOL
    hosts = fleet_for(STEP, site_at(tmp_path, 'vip = "192.168.56.9"', hosts=text))
    assert len(drain(STEP, hosts["one"], FakeCluster(api=ApiState.ABSENT))) == 1
    hosts["two"].know(files=has(kubeadm_state.ADMIN_CONF, kubeadm_state.KUBELET_CONF))
    with pytest.raises(HostError, match="two is a control plane of a cluster") as raised:
        drain(STEP, hosts["one"], FakeCluster(node("two")))
    assert "put two before one in hosts.toml" in raised.value.remedy
