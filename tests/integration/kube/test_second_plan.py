"""The second plan is empty: every object that the steps apply, against a real API server and its controllers."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provisioner.engine import Change, Step
from provisioner.engine.rollout import wait_for_rollout
from provisioner.errors import ClusterError, NotYet
from provisioner.kube import Cluster, Object, kubeadm
from provisioner.site import Site, load_site
from provisioner.ssh import Host, HostNic
from provisioner.steps import flannel, ingress, metallb, metrics_server, nodes, pools, storage, workloads
from provisioner.version import Version
from tests.integration.kube.apiserver import EDITION, ControlPlane
from tests.integration.kube.reaching import AdminConf

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("upstream", "away")]

WEBHOOK = "metallb-webhook-configuration"


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make downloads fail: pinned manifests come from the site's cache."""

    def refuse(address: str, timeout: float) -> bytes:
        raise AssertionError(f"{address} may not be downloaded here ({timeout:.0f} s)")

    monkeypatch.setattr("provisioner.kube.download._get", refuse)


@pytest.fixture
def host(site: Site) -> Host:
    """Return the first control plane with the facts that the network step reads."""
    fleet: dict[str, Any] = {}
    for spec in site.hosts:
        nic = HostNic("eth1", f"02:00:00:00:00:{len(fleet):02x}", True, (f"{spec.address}/24",))
        facts = SimpleNamespace(address_nic=lambda address, nic=nic: nic if nic.has(address) else None)
        fleet[spec.name] = AdminConf(spec, "", fleet=fleet, facts=facts)
    return cast(Host, fleet[site.first.name])


def applies(changes: Iterator[Change]) -> list[Change]:
    """Return a step's changes without the waits, since nothing runs without nodes."""
    return [change for change in changes if not change.summary.startswith("wait for ")]


STEPS = (flannel, storage, metallb, metrics_server, ingress, workloads)


@pytest.mark.parametrize("module", STEPS, ids=lambda module: str(module.STEP.name))
def test_a_second_plan_is_empty(module: Any, cluster: Cluster, site: Site, host: Host) -> None:
    step: Step = module.STEP
    first = applies(_without_webhook(step.changes(host, cluster, site)))
    assert len(first) >= 5
    # What is made of secrets shows no difference.
    assert all(change.diff for change in first if change.summary.startswith("apply "))
    for change in first:
        change.do()
    _let_controllers_write(cluster)
    left = applies(_without_webhook(step.changes(host, cluster, site)))
    assert [f"{change.summary}\n{change.diff}" for change in left] == []


def test_pools_after_metallb(cluster: Cluster, site: Site, host: Host) -> None:
    # This host is on no segment; who has the pools' addresses is asked of a real one in test_pool_scan.py.
    cast(Any, host).facts = SimpleNamespace(address_nic=lambda _: None)
    for manifest in metallb.wanted(site):
        if manifest["kind"] in ("Namespace", "CustomResourceDefinition"):
            cluster.apply(manifest)
    first = cluster.wait("the definitions to be served", lambda: [*pools.changes(host, cluster, site)], 30)
    assert [change.summary for change in first] == [
        "apply IPAddressPool metallb-system/lab",
        "apply L2Advertisement metallb-system/lab",
    ]

    def apply() -> bool:
        for change in first:
            change.do()
        return True

    cluster.wait("the definitions to be served", apply, 30)
    assert [*pools.changes(host, cluster, site)] == []


def test_a_missing_webhook_is_waited_for_and_its_ca_bundle_is_no_difference(
    cluster: Cluster, control_plane: ControlPlane, impatient: Site, site: Site, connect: Callable[..., Cluster]
) -> None:
    for manifest in metallb.wanted(site):
        if manifest["kind"] in ("Namespace", "CustomResourceDefinition", "Service"):
            cluster.apply(manifest)
    cluster.wait("the definitions to be served", lambda: _all_applied(cluster, pools.wanted(site)), 30)
    (webhook,) = [item for item in metallb.wanted(site) if item["kind"] == "ValidatingWebhookConfiguration"]
    where = (WEBHOOK, None, "admissionregistration.k8s.io/v1")
    cluster.apply(webhook)
    try:
        bundle = _with_bundle(cluster.get("ValidatingWebhookConfiguration", *where), control_plane)
        path = f"/apis/{where[2]}/validatingwebhookconfigurations/{WEBHOOK}"
        assert control_plane.ask("PUT", path, bundle)[0] == 200  # as MetalLB's controller does at run time
        assert cluster.diff(webhook) == ""

        short = connect(control_plane.kubeconfig(), at=impatient)
        (pool, *_) = pools.wanted(site)
        pool["spec"]["addresses"] = ["192.0.2.200-192.0.2.201"]
        with pytest.raises(
            ClusterError, match=r"^waited \d+ s for the webhook to check IPAddressPool metallb-system/"
        ):
            pools._through_webhook(short, "the webhook to check IPAddressPool metallb-system/lab", pool, dry_run=True)
    finally:
        cluster.delete("ValidatingWebhookConfiguration", *where)


def test_a_refused_pool_is_not_retried(cluster: Cluster, site: Site) -> None:
    for manifest in metallb.wanted(site):
        if manifest["kind"] in ("Namespace", "CustomResourceDefinition"):
            cluster.apply(manifest)
    cluster.wait("the definitions to be served", lambda: _all_applied(cluster, pools.wanted(site)), 30)
    (pool, *_) = pools.wanted(site)
    pool["spec"]["addresses"] = "not a list"
    with pytest.raises(ClusterError, match=r"refused to apply IPAddressPool metallb-system/lab: .*spec\.addresses"):
        pools._through_webhook(cluster, "the webhook", pool, dry_run=True)


def test_a_rollout_that_times_out_names_the_pods_and_their_events(
    control_plane: ControlPlane, impatient: Site, site: Site, host: Host, connect: Callable[..., Cluster]
) -> None:
    short = connect(control_plane.kubeconfig(), at=impatient)
    for change in applies(metrics_server.changes(host, short, site)):
        change.do()
    short.wait("a pod", lambda: short.list("Pod", "kube-system", labels="k8s-app=metrics-server"), 300)
    (wait,) = metrics_server.changes(host, short, site)
    assert wait.summary == "wait for Deployment kube-system/metrics-server"
    (deployment,) = short.list("Deployment", "kube-system", "apps/v1", labels="k8s-app=metrics-server")
    (wait,) = wait_for_rollout(short, [deployment], timeout=20)
    with pytest.raises(ClusterError, match="for Deployment kube-system/metrics-server to run") as raised:
        wait.do()
    assert "pod metrics-server-" in raised.value.tail
    assert "(not scheduled): no container has started" in raised.value.tail


# --- nodes ------------------------------------------------------------------------------------------------------


READY = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}}


@pytest.fixture
def registered(control_plane: ControlPlane, cluster: Cluster, site: Site) -> Iterator[None]:
    """Register the site's hosts as Ready nodes, as kubelets would; delete them afterwards."""
    role = {"key": kubeadm.control_plane_taint(site), "effect": "NoSchedule"}
    for spec in site.hosts:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": spec.name, "labels": {"kubernetes.io/hostname": spec.name}},
            "spec": {
                "taints": [
                    {"key": "example.org/theirs", "effect": "PreferNoSchedule"},
                    *([role] if spec.is_control_plane else []),
                ]
            },
        }
        assert control_plane.ask("POST", "/api/v1/nodes", node)[0] == 201
        path = f"/api/v1/nodes/{spec.name}/status"
        assert control_plane.ask("PATCH", path, READY, content="application/merge-patch+json")[0] == 200
    yield
    for spec in site.hosts:
        cluster.delete("Node", spec.name)


def summaries(changes: Iterator[Change]) -> list[str]:
    found = []
    for change in changes:
        change.do()
        found.append(change.summary)
    return found


def test_hosts_that_have_not_joined_are_named(cluster: Cluster, site: Site, host: Host) -> None:
    with pytest.raises(NotYet, match=r"^the cluster has no node master or worker1; provisioner apply --from"):
        [*nodes.changes(host, cluster, site)]


@pytest.mark.usefixtures("registered")
def test_labels_and_taints_are_added_once_and_others_stay(cluster: Cluster, site: Site, host: Host) -> None:
    assert summaries(nodes.changes(host, cluster, site)) == [
        "apply Node worker1",
        "taint worker1 with dedicated=storage:NoSchedule",
    ]
    node = cluster.nodes()["worker1"]
    assert node["metadata"]["labels"] == {"disk": "ssd", "kubernetes.io/hostname": "worker1"}
    taints = {taint["key"]: taint["effect"] for taint in node["spec"]["taints"]}
    assert taints["dedicated"] == "NoSchedule"
    assert taints["example.org/theirs"] == "PreferNoSchedule"
    assert [*nodes.changes(host, cluster, site)] == []


@pytest.mark.usefixtures("registered")
def test_labels_that_left_hosts_toml_are_removed(cluster: Cluster, site: Site, host: Host, tmp_path: Path) -> None:
    summaries(nodes.changes(host, cluster, site))
    text = site.path.read_text().replace('labels = { disk = "ssd" }', "")
    (tmp_path / "hosts.toml").write_text(text)
    fewer = load_site(tmp_path / "hosts.toml")
    (change,) = nodes.changes(host, cluster, fewer)
    assert "-    disk: ssd" in change.diff
    change.do()
    assert cluster.nodes()["worker1"]["metadata"]["labels"] == {"kubernetes.io/hostname": "worker1"}
    assert [*nodes.changes(host, cluster, fewer)] == []


@pytest.mark.usefixtures("registered")
def test_taints_that_left_hosts_toml_are_removed_and_others_stay(
    cluster: Cluster, site: Site, host: Host, tmp_path: Path
) -> None:
    summaries(nodes.changes(host, cluster, site))
    (tmp_path / "hosts.toml").write_text(re.sub(r"taints = .*", "", site.path.read_text()))
    fewer = load_site(tmp_path / "hosts.toml")
    assert summaries(nodes.changes(host, cluster, fewer)) == ["remove taint dedicated=storage:NoSchedule from worker1"]
    node = cluster.nodes()["worker1"]
    keys = [taint["key"] for taint in node["spec"]["taints"]]
    assert "dedicated" not in keys
    assert "example.org/theirs" in keys
    assert nodes.TAINTS_ANNOTATION not in (node["metadata"].get("annotations") or {})
    assert [*nodes.changes(host, cluster, fewer)] == []


@pytest.mark.usefixtures("registered")
def test_a_taint_is_added_to_the_current_ones(
    control_plane: ControlPlane, cluster: Cluster, site: Site, host: Host
) -> None:
    """A taint that was removed since the plan must not come back."""
    changes = [*nodes.changes(host, cluster, site)]
    patch = {"spec": {"taints": None}}
    path = "/api/v1/nodes/worker1"
    assert control_plane.ask("PATCH", path, patch, content="application/merge-patch+json")[0] == 200
    for change in changes:
        change.do()
    keys = [taint["key"] for taint in cluster.nodes()["worker1"]["spec"]["taints"]]
    assert "dedicated" in keys
    assert "example.org/theirs" not in keys


@pytest.mark.usefixtures("registered")
def test_a_node_that_does_not_become_ready_is_an_error_with_its_conditions(
    control_plane: ControlPlane, impatient: Site, host: Host, connect: Callable[..., Cluster]
) -> None:
    short = connect(control_plane.kubeconfig(), at=impatient)
    conditions = [{"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "no CNI config"}]
    path = "/api/v1/nodes/worker1/status"
    patch = {"status": {"conditions": conditions}}
    assert control_plane.ask("PATCH", path, patch, content="application/merge-patch+json")[0] == 200
    wait = [*nodes.changes(host, short, impatient)][-1]
    assert wait.summary == "wait for node worker1 to be Ready"
    hasty = impatient.cluster.model_copy(update={"timeout_scale": 0.02})
    short.site = impatient.model_copy(update={"cluster": hasty})
    with pytest.raises(ClusterError, match="for node worker1 to be Ready") as raised:
        wait.do()
    assert "Ready=False: no CNI config" in raised.value.tail


def _all_applied(cluster: Cluster, manifests: list[Object]) -> bool:
    for manifest in manifests:
        cluster.apply(manifest)
    return True


def _with_bundle(live: Object | None, control_plane: ControlPlane) -> Object:
    assert live is not None
    for entry in live["webhooks"]:
        entry["clientConfig"]["caBundle"] = base64.b64encode(control_plane.ca.certificate).decode()
    return live


def _without_webhook(changes: Iterator[Change]) -> Iterator[Change]:
    """Leave out the webhook configuration: nothing answers it here, so it would refuse the pools."""
    return (change for change in changes if WEBHOOK not in change.summary)


def _let_controllers_write(cluster: Cluster) -> None:
    """Wait until the controllers have written to every workload and service account."""
    tokens = not Version.parse(EDITION.kubernetes).at_least(1, 24)  # later accounts get no Secret of their own

    def settled() -> bool:
        workloads = [
            item for kind in ("Deployment", "DaemonSet", "StatefulSet") for item in cluster.list(kind, None, "apps/v1")
        ]
        seen = all(item["status"].get("observedGeneration") == item["metadata"]["generation"] for item in workloads)
        return seen and all(item.get("secrets") or not tokens for item in cluster.list("ServiceAccount"))

    cluster.wait("the controllers", settled, 60)
