"""Removing a node: drain, reset, delete. What would lose something is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import ClusterError, HostError, ProvisionerError
from provisioner.kube import Object, kubeadm_state
from provisioner.site import Site
from provisioner.steps import STEPS, delete_node, drain, removal, reset_node, uncordon, vip
from tests import hosts_toml
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node
from tests.unit.steps.doubles import RecordingHost, carry_out, fleet_for, present, site_at, summaries

RESET = "kubeadm reset: delete pods, certificates and the pod network"


def pod(name: str, owner: str = "ReplicaSet", **more: Any) -> Object:
    metadata: Object = {"name": name, "namespace": "course", **more.pop("metadata", {})}
    if owner:
        metadata["ownerReferences"] = [{"kind": owner, "name": "x", "controller": True}]
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": "worker1", **more.pop("spec", {})},
        "status": {"phase": "Running", **more},
    }


def worker(*, ready: bool = True, cordoned: bool = False) -> Object:
    made = node("worker1")
    made["status"]["conditions"][0]["status"] = "True" if ready else "Unknown"
    made["spec"] = {"unschedulable": True} if cordoned else {}
    return made


STATIC = pod("kube-proxy", "Node", metadata={"annotations": {drain.MIRROR: "x"}})
DAEMON = pod("speaker", "DaemonSet")
WEB = pod("web")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return site_at(tmp_path, 'kubernetes = "1.37.2"')


def first(site: Site, *, installed: bool = True, removing: bool = False) -> RecordingHost:
    """Return the first control plane, where cluster steps run; worker1 has a kubelet if `installed`."""
    hosts = fleet_for(drain.step("worker1", removing=removing), site)
    if installed:
        hosts["worker1"].know(files={kubeadm_state.KUBELET_CONF: present()})
    return hosts["master"]


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        pytest.param([worker()], ["cordon worker1"], id="empty"),
        pytest.param([worker(cordoned=True)], [], id="drained"),
        pytest.param([worker(), DAEMON, STATIC], ["cordon worker1"], id="what kubectl drain leaves"),
        pytest.param([worker(), WEB], ["cordon worker1", "evict from worker1: course/web"], id="one pod"),
        pytest.param(
            [worker(cordoned=True), WEB], ["evict from worker1: course/web"], id="killed before the evictions"
        ),
        pytest.param(
            [worker(cordoned=True), pod("web", metadata={"deletionTimestamp": "2026-11-25T00:00:00Z"})],
            ["evict from worker1: course/web"],
            id="terminating",
        ),
        pytest.param(
            [worker(), pod("done", "", phase="Succeeded")],
            ["cordon worker1", "evict from worker1: course/done"],
            id="unmanaged, but finished",
        ),
    ],
)
@pytest.mark.parametrize("removing", [False, True])
def test_changes_of_a_drain(site: Site, objects: list[Object], expected: list[str], removing: bool) -> None:
    step = drain.step("worker1", removing=removing)
    assert summaries(step, first(site), FakeCluster(*objects)) == expected


def test_a_drain_cordons_the_node_and_evicts_its_pods(site: Site) -> None:
    cluster = FakeCluster(worker(), WEB, pod("other"), DAEMON)
    carry_out(drain.step("worker1"), first(site), cluster)
    assert cluster.merged == [("Node", "worker1", {"spec": {"unschedulable": True}})]
    assert sorted(cluster.evicted) == ["course/other", "course/web"]
    assert cluster.deleted == []


def test_a_refused_eviction_is_reported_with_its_budget(site: Site) -> None:
    cluster = FakeCluster(worker(), WEB)
    cluster.budgets = {"course/web": "would violate the budget web-pdb"}
    with pytest.raises(ClusterError, match="waited 600 s for the pods to leave worker1") as raised:
        carry_out(drain.step("worker1"), first(site), cluster)
    assert raised.value.tail == "course/web: would violate the budget web-pdb"


def test_a_pod_without_a_controller_is_refused_before_any_change(site: Site) -> None:
    cluster = FakeCluster(worker(), WEB, pod("mine", ""))
    with pytest.raises(ClusterError, match="would lose course/mine: no controller") as raised:
        carry_out(drain.step("worker1", removing=True), first(site), cluster)
    assert "kubectl -n course delete pod mine" in raised.value.remedy
    assert (cluster.merged, cluster.evicted) == ([], [])


@pytest.mark.parametrize(
    ("objects", "said"), [([], "has no node worker1"), ([worker(ready=False), WEB], "is not Ready")]
)
def test_a_drain_alone_needs_a_working_kubelet(site: Site, objects: list[Object], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        summaries(drain.step("worker1"), first(site), FakeCluster(*objects))


@pytest.mark.parametrize(
    ("objects", "installed", "expected"),
    [
        pytest.param([], True, [], id="not in the API"),
        pytest.param(
            [worker(ready=False), WEB], True, ["cordon worker1"], id="a dead kubelet: the reset deletes the pods"
        ),
        pytest.param([worker(), WEB, pod("mine", "")], False, [], id="a reinstalled machine has no pods"),
    ],
)
def test_a_removal_drains_only_what_can_be_drained(
    site: Site, objects: list[Object], installed: bool, expected: list[str]
) -> None:
    host = first(site, installed=installed, removing=True)
    assert summaries(drain.step("worker1", removing=True), host, FakeCluster(*objects)) == expected


def test_uncordon(site: Site) -> None:
    cluster = FakeCluster(worker(cordoned=True))
    assert carry_out(uncordon.step("worker1"), first(site), cluster) == ["uncordon worker1"]
    assert cluster.merged == [("Node", "worker1", {"spec": {"unschedulable": None}})]
    assert summaries(uncordon.step("worker1"), first(site), FakeCluster(worker())) == []
    with pytest.raises(ClusterError, match="has no node worker1"):
        summaries(uncordon.step("worker1"), first(site), FakeCluster())


# --- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", reset_node.TRACES)
def test_any_trace_of_a_node_is_reset(site: Site, trace: str) -> None:
    step = reset_node.step(("worker1",))
    host = fleet_for(step, site)["worker1"]
    assert summaries(step, host) == []
    assert summaries(step, host.know(files={trace: present()})) == [RESET]


def test_the_last_control_plane_is_not_reset_while_it_has_nodes(site: Site) -> None:
    step = reset_node.step(("master",))
    hosts = fleet_for(step, site)
    for name in ("master", "worker2"):
        hosts[name].know(files={kubeadm_state.KUBELET_CONF: present()})
    with pytest.raises(HostError, match="last control plane, and worker2 is still part") as raised:
        summaries(step, hosts["master"])
    assert "provisioner reset --limit master,worker2" in raised.value.remedy


def test_all_hosts_can_be_reset_together(site: Site) -> None:
    steps = removal.reset(site, [spec.name for spec in site.hosts])
    assert [(step.name, step.only_on) for step in steps] == [
        ("reset-workers", ("worker1", "worker2")),
        ("reset-master", ("master",)),
    ]
    hosts = fleet_for(steps[1], site)
    for host in hosts.values():
        host.know(files={kubeadm_state.KUBELET_CONF: present()})
    assert len(summaries(steps[1], hosts["master"])) == 1


def test_the_reset_script_parses_and_removes_the_markers_last(site: Site) -> None:
    step = reset_node.step(("worker1",))
    host = fleet_for(step, site)["worker1"].know(files={kubeadm_state.JOIN_STARTED: present()})
    carry_out(step, host)
    script = host.works["kubeadm-reset"]
    subprocess.run(["sh", "-n", "-c", script], check=True)
    assert script.index("kubeadm reset -f") < script.index("10-flannel.conflist")
    assert script.rstrip().endswith(f"rm -f {kubeadm_state.INIT_STARTED} {kubeadm_state.JOIN_STARTED}")


@pytest.mark.parametrize(
    ("names", "last"), [(("master",), False), (("master", "master2"), True), (("master2",), False)]
)
def test_a_vip_goes_to_another_control_plane_before_kubeadm_resets_and_from_the_last_one_after(
    tmp_path: Path, names: tuple[str, ...], last: bool
) -> None:
    """kubeadm reset takes the member out of etcd, for which it needs the API."""
    hosts = hosts_toml.host("master", "192.168.56.10", "control-plane")
    hosts += hosts_toml.host("master2", "192.168.56.11", "control-plane")
    site = site_at(tmp_path, 'kubernetes = "1.37"\nvip = "192.168.56.9"', hosts=hosts)
    step = reset_node.step(names)
    host = fleet_for(step, site)[names[0]].know(files={vip.DROP_IN: present()})
    carry_out(step, host)
    script = host.works["kubeadm-reset"]
    subprocess.run(["sh", "-n", "-c", script], check=True)
    assert (script.index("kubeadm reset -f") < script.index("systemctl disable --quiet --now keepalived")) == last


@pytest.mark.parametrize("ours", [True, False])
def test_a_reset_removes_the_keepalived_that_is_ours(tmp_path: Path, ours: bool) -> None:
    config, drop_in = tmp_path / "keepalived.conf", tmp_path / "drop-in"
    config.touch()
    if ours:
        drop_in.touch()
    script = reset_node.RELEASE.replace(vip.CONFIG, str(config)).replace(vip.DROP_IN, str(drop_in))
    subprocess.run(["sh", "-euc", f"systemctl() {{ echo systemctl $*; }}\n{script}"], check=True, capture_output=True)
    assert config.exists() is not ours
    assert not drop_in.exists()


@pytest.mark.parametrize("link", [False, True])
def test_a_reset_empties_etcds_directory_where_it_is_a_mount(tmp_path: Path, link: bool) -> None:
    """A mount point cannot be removed, nor the folder that a link leads to: the contents go, and nothing outside."""
    etcd, outside = tmp_path / "etcd", tmp_path / "outside"
    (outside / "keep").mkdir(parents=True)
    place = tmp_path / "disk" if link else etcd
    (place / "member/wal").mkdir(parents=True)
    (place / "planted").symlink_to(outside)
    if link:
        etcd.symlink_to(place)
    lines = [line for line in kubeadm_state.RESET.splitlines() if line.startswith("if [ ")]
    assert len(lines) == 2
    script = "\n".join(lines).replace("/var/lib/etcd", str(etcd))
    for _ in range(2):
        subprocess.run(["sh", "-euc", script], check=True)
    assert (outside / "keep").exists()
    assert etcd.is_symlink() is link
    assert list(place.iterdir()) == [] if link else not place.exists()


class TestAnotherCluster:
    @pytest.mark.parametrize(("other_cluster", "refused"), [(False, True), (True, False)])
    def test_a_node_with_another_ca_is_refused(self, site: Site, other_cluster: bool, refused: bool) -> None:
        step = reset_node.step(("worker1",), other_cluster=other_cluster)
        hosts = fleet_for(step, site)
        hosts["master"].know(files={kubeadm_state.CA: present("one\n")})
        hosts["worker1"].know(files={kubeadm_state.CA: present("other\n")})
        if not refused:
            assert summaries(step, hosts["worker1"]) == [RESET]
            return
        with pytest.raises(
            HostError, match=r"another cluster than master .its CA differs.; nothing was changed"
        ) as caught:
            summaries(step, hosts["worker1"])
        assert "provisioner reset --limit worker1 --other-cluster" in caught.value.remedy

    def test_its_own_nodes_are_reset(self, site: Site) -> None:
        step = reset_node.step(("worker1",))
        hosts = fleet_for(step, site)
        for name in ("master", "worker1"):
            hosts[name].know(files={kubeadm_state.CA: present("one\n")})
        assert summaries(step, hosts["worker1"]) == [RESET]

    def test_a_cluster_with_another_name_is_refused(self, site: Site) -> None:
        """A stale hosts.toml, whose machines are another cluster by now: their CAs agree."""
        step = reset_node.step(("master",))
        hosts = fleet_for(step, site)
        for host in hosts.values():
            host.know(files={kubeadm_state.CA: present("one\n")})
        document = {"clusterName": "production"}
        config = {
            "kind": "ConfigMap",
            "metadata": {"name": "kubeadm-config", "namespace": "kube-system"},
            "data": {"ClusterConfiguration": json.dumps(document)},
        }
        with pytest.raises(HostError, match=r'the cluster is named "production", but "lab" in hosts\.toml'):
            summaries(step, hosts["master"], FakeCluster(config))
        document["clusterName"] = "lab"
        config["data"] = {"ClusterConfiguration": json.dumps(document)}
        assert len(summaries(step, hosts["master"], FakeCluster(config))) == 1


# --- the API ---------------------------------------------------------------------------------------------------------


def test_a_node_is_deleted_once(site: Site) -> None:
    cluster = FakeCluster(worker(), node("worker2"))
    step = delete_node.step(("worker1",))
    assert carry_out(step, first(site), cluster) == ["delete node worker1 from the API"]
    assert cluster.deleted == [("Node", "", "worker1")]
    assert carry_out(step, first(site), cluster) == []


@pytest.mark.parametrize(
    ("labels", "ready", "said"),
    [
        ({}, True, "is Ready: its machine is not gone"),
        ({"node-role.kubernetes.io/control-plane": ""}, False, "etcd would still count it"),
    ],
)
def test_gone_is_refused_for_a_ready_node_and_a_control_plane(
    site: Site, labels: dict[str, str], ready: bool, said: str
) -> None:
    live = worker(ready=ready)
    live["metadata"]["labels"].update(labels)
    with pytest.raises(ClusterError, match=said):
        summaries(delete_node.step(("worker1",), gone=True), first(site), FakeCluster(live))


# --- which steps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "gone", "rejoins", "said"),
    [
        ("master", False, True, "master is the only control plane: .*provisioner reset"),
        ("master", True, False, "master is the only control plane"),
        ("nobody", False, False, "has no host nobody, .*--gone"),
        ("worker2", False, False, r"worker2 is the NFS server: .*under \[nfs\]"),
    ],
)
def test_nodes_that_must_not_be_removed(tmp_path: Path, name: str, gone: bool, rejoins: bool, said: str) -> None:
    site = site_at(tmp_path, 'kubernetes = "1.37.2"', rest='[nfs]\nserver = "worker2"\n')
    with pytest.raises(ProvisionerError, match=said):
        removal.refuse(site, name, gone=gone, rejoins=rejoins)


def test_nodes_that_can_be_removed(tmp_path: Path) -> None:
    site = site_at(tmp_path, 'kubernetes = "1.37.2"')
    removal.refuse(site, "worker1", gone=False, rejoins=False)
    removal.refuse(site, "nobody", gone=True, rejoins=False)


def test_a_rebuild_is_a_removal_and_then_an_apply_that_waits_for_it() -> None:
    steps = removal.rebuild("worker1", STEPS)
    names = [step.name for step in steps]
    assert names == ["drain", "leave", "forget", *(step.name for step in STEPS)]
    join = steps[names.index("join")]
    assert join.undone_by == ("leave", "forget")
    waiting = {step.name for step in steps if step.undone_by}
    assert {"kubernetes", "kubeadm-files", "join", "nodes", "storage", "workloads"} <= waiting
    assert not waiting & {"drain", "preflight", "prepare", "containerd", "control-plane", "nfs"}


def test_a_limited_reset_deletes_the_nodes_from_the_api(site: Site) -> None:
    steps = removal.reset(site, ["worker2"])
    assert [step.name for step in steps] == ["reset-workers", "forget"]
    cluster = FakeCluster(worker(), node("worker2"))
    carry_out(steps[1], first(site), cluster)
    assert cluster.deleted == [("Node", "", "worker2")]
