"""Steps that apply released or shipped manifests: what they adapt, and in which order they apply it."""

from __future__ import annotations

import base64
import copy
import hashlib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from provisioner.catalogue import Download
from provisioner.errors import ProvisionerError
from provisioner.kube import Object, manifests
from provisioner.kube.objects import containers, object_name, order
from provisioner.steps import flannel, ingress, metallb, metrics_server, workloads
from tests import hosts_toml
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import RecordingHost, drain, fleet_for, site_at, summaries

OLD, NEW = 'kubernetes = "1.20.2"', 'kubernetes = "1.37"'


def give(monkeypatch: pytest.MonkeyPatch, *items: Object) -> None:
    """Make the next download return these objects."""
    texts = [yaml.safe_dump_all(items).encode()]
    monkeypatch.setattr(manifests, "fetch", lambda site, download: texts.pop() if texts else b"")


def machine(tmp_path: Path, module: ModuleType, cluster: str = OLD, rest: str = "") -> RecordingHost:
    return fleet_for(module.STEP, site_at(tmp_path, cluster, rest))["master"]


# --- ingress ----------------------------------------------------------------------------------------------------

HAPROXY: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "haproxy-kubernetes-ingress", "namespace": "haproxy-controller"},
    "spec": {
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "haproxy-ingress",
                        "image": "haproxytech/kubernetes-ingress",
                        "args": ["--configmap=a/b"],
                        "resources": {"requests": {"memory": "2048Mi"}, "limits": {"memory": "2560Mi"}},
                    }
                ]
            }
        }
    },
}
NODE_PORT: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "haproxy-kubernetes-ingress", "namespace": "haproxy-controller"},
    "spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]},
}
NGINX: Object = {
    **copy.deepcopy(HAPROXY),
    "metadata": {"name": "nginx-ingress", "namespace": "nginx-ingress"},
}
CLASS: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "nginx"},
    "spec": {"controller": "nginx.org/ingress-controller"},
}


@pytest.mark.parametrize(
    ("cluster", "table", "expected"),
    [
        (OLD, "", "haproxy"),
        ('kubernetes = "1.27"', "", "haproxy"),
        ('kubernetes = "1.28"', "", "nginx"),
        (NEW, "", "nginx"),
        (NEW, '[ingress]\ncontroller = "haproxy"', "haproxy"),
        (OLD, '[ingress]\ncontroller = "traefik"', "traefik"),
    ],
)
def test_controller_by_site(tmp_path: Path, cluster: str, table: str, expected: str) -> None:
    assert site_at(tmp_path, cluster, table).ingress_controller == expected


def test_haproxy_is_adapted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, HAPROXY, NODE_PORT)
    deployment, service, made = ingress.wanted(site_at(tmp_path, OLD))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "docker.io/haproxytech/kubernetes-ingress:1.9.15", "the released file has no tag"
    assert container["args"] == ["--configmap=a/b", "--ingress.class=haproxy"]
    assert container["resources"] == {"requests": {"cpu": "50m", "memory": "96Mi"}}, "a lab worker has less than 2 GiB"
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["externalTrafficPolicy"] == "Local", "so it sees the client's address"
    assert made["kind"] == "IngressClass"
    assert made["metadata"]["name"] == "haproxy"
    assert made["spec"] == {"controller": "haproxy.org/ingress-controller/haproxy"}


def test_without_metallb_haproxy_has_node_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, NODE_PORT)
    service, _ = ingress.wanted(site_at(tmp_path, OLD, hosts=_single(), rest="[metallb]\nenabled = false"))
    assert service["spec"]["type"] == "NodePort"


def test_nginx_is_applied_as_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, NGINX, CLASS)
    assert ingress.wanted(site_at(tmp_path, NEW)) == [NGINX, CLASS]


TRAEFIK = '[ingress]\ncontroller = "traefik"\n'


@pytest.mark.parametrize(
    ("cluster", "image"),
    [(OLD, "docker.io/library/traefik:v2.11.2"), (NEW, "docker.io/library/traefik:v3.7.13")],
)
def test_traefik_comes_from_the_shipped_manifest(tmp_path: Path, cluster: str, image: str) -> None:
    found = {item["kind"]: item for item in ingress.wanted(site_at(tmp_path, cluster, TRAEFIK))}
    assert found["Service"]["metadata"] == {"name": "traefik", "namespace": "traefik"}
    assert found["Service"]["spec"]["type"] == "LoadBalancer"
    assert found["Service"]["spec"]["externalTrafficPolicy"] == "Local"
    assert {port["port"] for port in found["Service"]["spec"]["ports"]} == {80, 443}
    (container,) = containers(found["Deployment"])
    assert container["image"] == image
    assert found["IngressClass"]["metadata"]["name"] == "traefik"
    assert found["IngressClass"]["spec"] == {"controller": ingress.CLASSES["traefik"]}
    named = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} <= named
    # It reads secrets, so it may write nothing but the status of an Ingress.
    writing = [rule for rule in found["ClusterRole"]["rules"] if {"update", "patch", "create"} & {*rule["verbs"]}]
    assert [rule["resources"] for rule in writing] == [["ingresses/status"]]


def test_traefiks_probes_scale_with_the_site(tmp_path: Path) -> None:
    slow = f"{OLD}\ntimeout_scale = 8.0"
    (deployment,) = [item for item in ingress.wanted(site_at(tmp_path, slow, TRAEFIK)) if item["kind"] == "Deployment"]
    assert containers(deployment)[0]["livenessProbe"]["timeoutSeconds"] == 16


def test_without_metallb_traefik_has_node_ports(tmp_path: Path) -> None:
    site = site_at(tmp_path, OLD, hosts=_single(), rest=f"{TRAEFIK}[metallb]\nenabled = false")
    (service,) = [item for item in ingress.wanted(site) if item["kind"] == "Service"]
    assert service["spec"]["type"] == "NodePort"


def test_ingress_classes_have_the_names_in_the_workloads(tmp_path: Path) -> None:
    """Checks and workloads refer to the Service and the class by name."""
    for cluster in (OLD, NEW):
        host = machine(tmp_path, workloads, cluster)
        name = host.site.ingress_controller
        assert name in ingress.CLASSES
        changes = drain(workloads.STEP, host)
        (diff,) = [change.diff for change in changes if change.summary == "apply Ingress course/course"]
        assert f"ingressClassName: {name}" in diff


def _single() -> str:
    return hosts_toml.host("master", "192.168.56.10", "control-plane", "worker")


# --- MetalLB ----------------------------------------------------------------------------------------------------

WEBHOOK: Object = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "metallb-webhook-configuration"},
    "webhooks": [{"name": "a", "clientConfig": {"caBundle": "Cg==", "service": {"name": "webhook-service"}}}],
}
DEFINITION: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "ipaddresspools.metallb.io"},
    "spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": "Cg==", "url": "https://x"}}}},
}
SPEAKER: Object = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "speaker", "namespace": "metallb-system"},
    "spec": {"selector": {"matchLabels": {"app": "metallb"}}},
}
NAMESPACE: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "metallb-system"}}


def test_metallb_keeps_its_own_ca_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, WEBHOOK, SPEAKER, DEFINITION, NAMESPACE)
    found = metallb.wanted(site_at(tmp_path, OLD))
    assert [item["kind"] for item in found] == [
        "Namespace",
        "CustomResourceDefinition",
        "ValidatingWebhookConfiguration",
        "DaemonSet",
    ]
    assert "caBundle" not in yaml.safe_dump(found)
    assert found[2]["webhooks"][0]["clientConfig"] == {"service": {"name": "webhook-service"}}


def test_metallb_is_applied_and_then_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, NAMESPACE, SPEAKER)
    host = machine(tmp_path, metallb)
    assert summaries(metallb.STEP, host) == [
        "apply Namespace metallb-system",
        "apply DaemonSet metallb-system/speaker",
        "create the speakers' memberlist key",
        "wait for DaemonSet metallb-system/speaker",
    ]


def test_the_speakers_key_is_created_once_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metallb, "wanted", lambda site: [])
    host, api = machine(tmp_path, metallb), FakeCluster()
    (change,) = drain(metallb.STEP, host, api)
    assert change.diff == ""
    change.do()
    (secret,) = api.applied
    assert secret["kind"] == "Secret"
    assert len(base64.b64decode(secret["stringData"]["secretkey"])) == 128
    assert drain(metallb.STEP, host, api.hold(secret)) == []


@pytest.mark.parametrize(
    ("cluster", "table", "version"),
    [(OLD, "", "v0.13.12"), (NEW, "", "v0.16.1"), (NEW, '[metallb]\nversion = "0.13.12"', "v0.13.12")],
)
def test_metallbs_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str, table: str, version: str
) -> None:
    asked: list[str] = []

    def fetch(_: object, download: Download) -> bytes:
        asked.append(download.url)
        return b""

    monkeypatch.setattr(manifests, "fetch", fetch)
    hosts = _single()
    pool = '[[metallb.pools]]\nname = "p"\naddresses = ["192.168.56.200-192.168.56.201"]'
    metallb.wanted(site_at(tmp_path, cluster, hosts=hosts, rest=f"{table}\n{pool}"))
    (url,) = asked
    assert f"/{version}/" in url


# --- metrics-server, workloads ----------------------------------------------------------------------------------


def test_metrics_server_is_applied_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = copy.deepcopy(HAPROXY)
    deployment["metadata"] = {"name": "metrics-server", "namespace": "kube-system"}
    give(monkeypatch, deployment)
    assert summaries(metrics_server.STEP, machine(tmp_path, metrics_server)) == [
        "apply Deployment kube-system/metrics-server",
        "wait for Deployment kube-system/metrics-server",
    ]


@pytest.mark.parametrize(
    ("scale", "version", "args"),
    [
        (1.0, "0.9.0", ["--metric-resolution=15s"]),
        (8.0, "0.9.0", ["--metric-resolution=60s", "--kubelet-request-timeout=50s"]),
        (8.0, "0.6.4", ["--metric-resolution=60s"]),
    ],
)
def test_metrics_server_scrapes_less_often_and_waits_longer_on_a_slow_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float, version: str, args: list[str]
) -> None:
    deployment = copy.deepcopy(HAPROXY)
    containers(deployment)[0]["args"] = ["--cert-dir=/tmp", "--metric-resolution=15s"]
    give(monkeypatch, deployment)
    site = site_at(tmp_path, f"{OLD}\ntimeout_scale = {scale}", f'[metrics]\nversion = "{version}"')
    (found,) = metrics_server.wanted(site)
    assert containers(found)[0]["args"] == ["--cert-dir=/tmp", *args]


def test_all_workloads_are_applied_before_the_first_wait(tmp_path: Path) -> None:
    said = summaries(workloads.STEP, machine(tmp_path, workloads))
    kinds = [text.split()[0] for text in said]
    assert kinds == sorted(kinds), "apply comes before wait"
    assert said[:2] == ["apply ConfigMap kube-system/provisioner-workloads", "apply Namespace course"]
    for name in ("np-pods", "lb-one", "lb-two", "ing-root", "ing-info", "hpa-pods", "cm-pods", "shared-volume"):
        assert f"apply Deployment course/{name}" in said
        assert f"wait for Deployment course/{name}" in said
    assert "wait for StatefulSet course/ss-pods" in said
    assert "wait for DaemonSet course/ds-pods" in said


def test_on_a_slow_site_probes_have_longer_timeouts(tmp_path: Path) -> None:
    def seconds(cluster: str) -> int:
        items = workloads.wanted(site_at(tmp_path, cluster), "nodeport")
        (found,) = (item for item in items if item["kind"] == "Deployment")
        return int(found["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["timeoutSeconds"])

    assert seconds(f"{OLD}\ntimeout_scale = 8.0") == 8 * seconds(OLD)


def test_on_a_slow_site_each_workload_is_waited_for_before_the_next(tmp_path: Path) -> None:
    fast = summaries(workloads.STEP, machine(tmp_path, workloads))
    slow = summaries(workloads.STEP, machine(tmp_path, workloads, f"{OLD}\ntimeout_scale = 8.0"))
    assert sorted(slow) == sorted(fast)
    assert slow.index("wait for Deployment course/np-pods") < slow.index("apply Deployment course/lb-one")
    assert slow.index("wait for DaemonSet course/ds-pods") < slow.index("apply StatefulSet course/ss-pods")


def test_only_enabled_workloads(tmp_path: Path) -> None:
    host = machine(tmp_path, workloads, rest='[workloads]\nenabled = ["nodeport"]')
    assert summaries(workloads.STEP, host) == [
        "apply ConfigMap kube-system/provisioner-workloads",
        "apply Namespace course",
        "apply Deployment course/np-pods",
        "apply Service course/np-pods",
        "apply Service course/np-pods-assigned",
        "wait for Deployment course/np-pods",
    ]


def test_an_operators_workload_next_to_hosts_toml(tmp_path: Path) -> None:
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads" / "mine.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine, namespace: course}\ndata: {image: '${agnhost}'}\n"
    )
    host = machine(tmp_path, workloads, rest='[workloads]\nenabled = ["mine"]')
    _, change = drain(workloads.STEP, host)
    assert change.summary == "apply ConfigMap course/mine"
    assert "registry.k8s.io/e2e-test-images/agnhost:2.21" in change.diff


def test_a_workload_that_does_not_exist(tmp_path: Path) -> None:
    host = machine(tmp_path, workloads, rest='[workloads]\nenabled = ["no-such"]')
    with pytest.raises(ProvisionerError, match=r"workloads/no-such\.yaml not found .*shipped ones are configmap"):
        drain(workloads.STEP, host)


# --- as released ------------------------------------------------------------------------------------------------

COURSE: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "course"}}
UPSTREAM = Path(__file__).parents[4] / "shared/upstream"


@pytest.mark.parametrize("cluster", [OLD, NEW])
@pytest.mark.parametrize("module", [ingress, metallb, metrics_server, flannel], ids=lambda module: module.STEP.name)
def test_the_real_manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, cluster: str) -> None:
    """Upstream's manifests have the names, containers and arguments that the steps expect."""
    if not UPSTREAM.is_dir():
        pytest.skip("there is no shared/upstream beside the checkout")
    published = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in UPSTREAM.rglob("*.y*ml")}
    monkeypatch.setattr(manifests, "fetch", lambda site, download: published[download.sha256].read_bytes())
    host, api = machine(tmp_path, module, cluster), FakeCluster()
    changes = [change for change in drain(module.STEP, host, api) if not change.summary.startswith("wait")]
    for change in changes:
        change.do()
    api.applied = [item for item in api.applied if item["kind"] != "Secret" and item != COURSE]
    kinds = [item["kind"] for item in api.applied]
    assert kinds == [item["kind"] for item in order(api.applied)]
    images = [container["image"] for item in api.applied for container in containers(item)]
    assert images
    assert all(":" in image.rsplit("/", 1)[-1] for image in images), "every image has a tag"
    services = {item["metadata"]["name"]: item for item in api.applied if item["kind"] == "Service"}
    if module is ingress:
        name = host.site.ingress_controller
        assert services[ingress.SERVICES[name]]["metadata"]["namespace"] == ingress.NAMESPACES[name]
        assert services[ingress.SERVICES[name]]["spec"]["type"] == "LoadBalancer"
        (made,) = [item for item in api.applied if item["kind"] == "IngressClass"]
        assert (made["metadata"]["name"], made["spec"]["controller"]) == (name, ingress.CLASSES[name])
    if module is flannel:
        (daemons,) = [item for item in api.applied if item["kind"] == "DaemonSet"]
        assert containers(daemons)[-1]["args"][-1] == "--iface=eth1"
    assert summaries(module.STEP, host, api) == [
        f"wait for {object_name(item)}"
        for item in api.applied
        if item["kind"] in ("Deployment", "DaemonSet") and module is not flannel
    ]


@pytest.mark.parametrize(("cluster", "counted"), [(OLD, False), (NEW, True)])
def test_a_metallb_with_protected_metrics_gets_an_account_that_can_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str, counted: bool
) -> None:
    give(monkeypatch, NAMESPACE, SPEAKER)
    found = {(item["kind"], item["metadata"]["name"]) for item in metallb.wanted(site_at(tmp_path, cluster))}
    assert (("ServiceAccount", "provisioner-metrics") in found) is counted
