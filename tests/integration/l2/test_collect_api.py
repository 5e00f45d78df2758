"""`collect` against a real API server with MetalLB's own CRDs, in a network namespace of its own.

The namespace has the nodes' addresses, so that the API server's pod proxy really fetches metrics, and really asks
a kubelet for logs; what is served there is what MetalLB's speakers say.
"""

from __future__ import annotations

import ctypes
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provisioner import site as sites
from provisioner.errors import ClusterError, Unreachable
from provisioner.facts import Nic
from provisioner.host import Host
from provisioner.kube import Cluster
from provisioner.l2 import collect, election, facts_file
from provisioner.l2.facts import Endpoint, Facts
from provisioner.objects import Object, parse
from provisioner.site import Site
from tests.integration.kube.apiserver import ControlPlane, issue
from tests.integration.kube.conftest import HOSTS, AdminConf
from tests.mirror import manifests

pytestmark = pytest.mark.integration

MASTER, WORKER = "192.0.2.10", "192.0.2.11"
SECRET = "swordfish-and-nobody-else"
METRICS = """\
# HELP metallb_layer2_requests_received Number of layer2 requests received for owned IPs
# TYPE metallb_layer2_requests_received counter
metallb_layer2_requests_received{ip="192.0.2.200"} 1.2e+02
metallb_layer2_responses_sent{ip="192.0.2.200"} 7
metallb_layer2_gratuitous_sent{ip="192.0.2.200"} 10
metallb_k8s_client_config_loaded_bool 1
metallb_k8s_client_config_stale_bool 0
"""


# --- a namespace, a control plane in it, and a cluster in that ---------------------------------------------------


def enter(path: str) -> None:
    """Move this thread, and what it starts from now on, into a network namespace."""
    with open(path) as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")


@pytest.fixture(scope="module")
def namespace() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    name, here = f"pl2-collect-{os.getpid()}", f"/proc/self/task/{threading.get_native_id()}/ns/net"
    with open(here) as home:
        subprocess.run(["ip", "netns", "add", name], check=True)
        try:
            enter(f"/run/netns/{name}")
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            for address in (MASTER, WORKER):
                subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
            yield
        finally:
            enter(f"/proc/self/fd/{home.fileno()}")
            subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.fixture(scope="module")
def control_plane(namespace: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    made = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("site") / "hosts.toml"
    path.write_text(HOSTS.replace("[[hosts]]", "timeout_scale = 0.1\n[[hosts]]", 1))
    return sites.load(path)


Connect = Callable[..., Cluster]


@pytest.fixture(scope="module")
def connect(control_plane: ControlPlane, site: Site) -> Iterator[Connect]:
    """Return `connect(user=…)`, which gives a Cluster."""
    made: list[Cluster] = []

    def build(**options: Any) -> Cluster:
        host = AdminConf(site.first, control_plane.kubeconfig(**options))
        made.append(Cluster(site, {site.first.name: cast(Host, host)}))
        return made[-1]

    yield build
    for cluster in made:
        cluster.close()


def node(cluster: Cluster, name: str, ip: str, **labels: str) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
    conditions = [
        {"type": "Ready", "status": "True", "lastHeartbeatTime": None, "lastTransitionTime": None},
        {"type": "NetworkUnavailable", "status": "False", "lastHeartbeatTime": None, "lastTransitionTime": None},
    ]
    # No Hostname, which the API server would resolve to reach a kubelet.
    patch = {"status": {"conditions": conditions, "addresses": [{"type": "InternalIP", "address": ip}]}}
    cluster.merge("Node", name, patch, subresource="status")


def pod(
    cluster: Cluster, name: str, spec: Object, *, on: str, ip: str = "", labels: dict[str, str], ready: bool = True
) -> None:
    """Make a pod of MetalLB's that runs, as far as the API shows it."""
    metadata = {"name": name, "namespace": "metallb-system", "labels": labels}
    spec = {**spec, "nodeName": on, "automountServiceAccountToken": False}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    status: dict[str, Any] = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    if ip:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    cluster.merge("Pod", name, {"status": status}, namespace="metallb-system", subresource="status")


def service(cluster: Cluster, name: str, *ips: str, **metadata: Any) -> None:
    spec = {
        "type": "LoadBalancer",
        "ports": [{"port": 80, "targetPort": 8080}],
        "loadBalancerSourceRanges": ["198.51.100.0/24"],
        "externalTrafficPolicy": "Local",
    }
    place = {"name": name, "namespace": "default", **metadata}
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": place, "spec": spec})
    status = {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}}
    cluster.merge("Service", name, {"status": status}, namespace="default", subresource="status")


def event(cluster: Cluster, about: str, reason: str, message: str, by: str) -> None:
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about}.{reason}".lower(), "namespace": "default"},
            "involvedObject": {"kind": "Service", "namespace": "default", "name": about},
            "reason": reason,
            "message": message,
            "source": {"component": by},
            "lastTimestamp": "2026-11-22T12:00:00Z",
        }
    )


def released(version: str) -> list[Object]:
    return parse((manifests.folder() / "metallb" / version / "metallb-native.yaml").read_text())


def plain(schema: Any) -> Any:
    """Return a CRD without the CEL rules, which this old API server does not know."""
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key != "x-kubernetes-validations"}
    return [plain(item) for item in schema] if isinstance(schema, list) else schema


def templates(version: str) -> dict[str, Object]:
    """Return the pod templates of a release by component."""
    return {
        item["spec"]["template"]["metadata"]["labels"]["component"]: item["spec"]["template"]
        for item in released(version)
        if item["kind"] in ("DaemonSet", "Deployment")
    }


@pytest.fixture(scope="module")
def admin(connect: Connect) -> Cluster:
    """A cluster as MetalLB 0.13.12 has it, with the CRDs of 0.16.1: one Service announced, one pending."""
    cluster = connect()
    wanted = ("ipaddresspools", "l2advertisements", "servicel2statuses", "configurationstates")
    for item in released("v0.16.1"):
        if item["kind"] == "Namespace" or item["metadata"]["name"].split(".")[0] in wanted:
            cluster.apply(plain(item))
    cluster.wait("the CRDs", lambda: cluster.list("IPAddressPool", api_version="metallb.io/v1beta1") == [], 60)
    api = {"apiVersion": "metallb.io/v1beta1"}

    def accepted(item: Object) -> Callable[[], Object]:
        return lambda: cluster.apply(item)

    place = {"namespace": "metallb-system"}
    for item in (
        api
        | {
            "kind": "IPAddressPool",
            "metadata": {"name": "lab", "labels": {"tier": "web"}, **place},
            "spec": {"addresses": ["192.0.2.200-192.0.2.230"], "avoidBuggyIPs": True},
        },
        api
        | {
            "kind": "L2Advertisement",
            "metadata": {"name": "lab", **place},
            "spec": {
                "ipAddressPoolSelectors": [{"matchLabels": {"tier": "web"}}],
                "nodeSelectors": [{"matchLabels": {"zone": "a"}}],
                "interfaces": ["eth1"],
            },
        },
        api
        | {
            "kind": "ServiceL2Status",
            "metadata": {"name": "l2-x", **place, "labels": {"metallb.io/node": "worker1"}},
            "spec": {},
        },
    ):
        cluster.wait("the kind to be served", accepted(item), 60)
    shown = {"node": "worker1", "serviceName": "web", "serviceNamespace": "default", "interfaces": [{"name": "eth1"}]}
    where = {"namespace": "metallb-system", "api_version": "metallb.io/v1beta1", "subresource": "status"}
    cluster.merge("ServiceL2Status", "l2-x", {"status": shown}, **where)
    node(cluster, "master", MASTER, **{"node.kubernetes.io/exclude-from-external-load-balancers": ""})
    node(cluster, "worker1", WORKER, zone="a")
    cluster.wait("the account of pods", lambda: cluster.get("ServiceAccount", "default", "metallb-system"), 60)
    parts = templates("v0.13.12")
    speaker = {**parts["speaker"]["spec"]}
    container = speaker["containers"][0]
    container["env"] = [*container["env"], {"name": "TOKEN", "value": SECRET}]
    for name, on, ip, ready in (("speaker-m", "master", MASTER, False), ("speaker-w", "worker1", WORKER, True)):
        spec = {key: value for key, value in speaker.items() if key not in ("volumes", "serviceAccountName")}
        spec["containers"] = [{key: value for key, value in container.items() if key != "volumeMounts"}]
        pod(cluster, name, spec, on=on, ip=ip, labels={"app": "metallb", "component": "speaker"}, ready=ready)
    service(cluster, "web", "192.0.2.200", labels={"app": "web"}, annotations={"note": SECRET})
    annotations = {"metallb.io/address-pool": "lab", "metallb.universe.tf/loadBalancerIPs": "192.0.2.201, nowhere"}
    service(cluster, "late", annotations=annotations)
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": "web", "namespace": "default"},
            "subsets": [
                {"addresses": [{"ip": "10.244.1.2", "nodeName": "worker1"}], "ports": [{"port": 8080}]},
                {"notReadyAddresses": [{"ip": "10.244.0.2", "nodeName": "master"}], "ports": [{"port": 8080}]},
            ],
        }
    )
    event(cluster, "web", "nodeAssigned", 'announcing from node "worker1" with protocol "layer2"', "metallb-speaker")
    event(cluster, "web", "Sync", "somebody else's", "some-controller")
    config = "mode: ipvs\nipvs:\n  strictARP: true\n"
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
            "data": {"config.conf": config, "kubeconfig.conf": f"token: {SECRET}"},
        }
    )
    exclude = next(item for item in released("v0.16.1") if item["metadata"]["name"] == "metallb-excludel2")
    cluster.apply(exclude)
    return cluster


@contextmanager
def serving(
    address: str, port: int, *answers: bytes, status: int = 200, tls: ssl.SSLContext | None = None
) -> Iterator[None]:
    """Serve these bytes, whatever is asked, at one of the namespace's addresses."""

    class Plain(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(b"".join(answers))

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer((address, port), Plain) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def speaker_metrics(namespace: None) -> Iterator[None]:
    """Serve what a speaker serves, at the worker's address and MetalLB's port."""
    with serving(WORKER, 7472, METRICS.encode()):
        yield


@pytest.fixture(scope="module")
def tls(control_plane: ControlPlane) -> ssl.SSLContext:
    """Return what a kubelet, or a speaker of 0.16, serves its own certificate with."""
    own = issue("worker1", by=control_plane.ca, hosts=(WORKER,), server=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*own.save(control_plane.directory, "worker1"))
    return context


def hosts(site: Site, **known: tuple[Nic, ...] | Exception) -> dict[str, Host]:
    """Return hosts whose network cards are these; the reading of them over SSH is tested elsewhere."""

    class Reached:
        def __init__(self, name: str) -> None:
            self.name = name
            self.spec = next(spec for spec in site.hosts if spec.name == name)

        @property
        def facts(self) -> SimpleNamespace:
            found = known[self.name]
            if isinstance(found, Exception):
                raise found
            return SimpleNamespace(nics=found)

    return {name: cast(Host, Reached(name)) for name in known}


CARDS = (
    Nic("lo", "00:00:00:00:00:00", True, ("127.0.0.1/8", "::1/128"), "", False),
    Nic("eth1", "52:54:00:00:00:11", True, (f"{WORKER}/24", "fe80::11/64"), "", True),
    Nic("veth12ab", "aa:bb:cc:00:00:01", True, ("fe80::1/64",), "cni0", False),
)


def gathered(cluster: Cluster, site: Site, **known: tuple[Nic, ...] | Exception) -> tuple[Facts, list[str]]:
    notes: list[str] = []
    return collect.from_cluster(cluster, hosts(site, **known), site, note=notes.append), notes


# --- what is found ---------------------------------------------------------------------------------------------------


def test_it_finds_what_the_diagnosis_asks_for(admin: Cluster, site: Site, speaker_metrics: None) -> None:
    facts, notes = gathered(admin, site, worker1=CARDS, master=Unreachable("master", "no route to host"))
    assert facts.metallb.version == "0.13.12"
    assert (facts.metallb.namespace, facts.metallb.memberlist) == ("metallb-system", True)
    assert (facts.metallb.ignore_exclude_lb, facts.metallb.load_balancer_class) == (False, "")
    assert facts.metallb.config == "valid", "by the gauges of the speaker that answers"
    assert facts.metallb.excluded_interfaces is not None
    assert "^veth.*" in facts.metallb.excluded_interfaces
    assert (facts.kube_proxy.mode, facts.kube_proxy.strict_arp) == ("ipvs", True)
    assert (facts.others.kube_vip, facts.others.servicelb, facts.others.cilium_l2) == (False, False, False)

    worker, master = facts.node("worker1"), facts.node("master")
    assert worker
    assert master
    assert (worker.ready, worker.speaker, worker.network_unavailable) == (True, "ready", False)
    assert worker.internal_ips == (WORKER,)
    assert worker.nics is not None
    assert [(nic.name, nic.mac, nic.proxy_arp) for nic in worker.nics] == [("eth1", "52:54:00:00:00:11", True)]
    assert (master.speaker, master.nics) == ("failing", None)
    assert "the network cards of master are unknown: master: no route to host" in notes

    assert facts.pools is not None
    assert [(pool.name, pool.addresses, pool.avoid_buggy_ips) for pool in facts.pools] == [
        ("lab", ("192.0.2.200-192.0.2.230",), True)
    ]
    assert facts.advertisements is not None
    assert facts.advertisements[0].pool_selectors == ({"matchLabels": {"tier": "web"}},)
    assert facts.advertisements[0].interfaces == ("eth1",)

    assert facts.services is not None
    late, web = facts.services
    assert (web.key, web.ingress_ips, web.external_traffic_policy) == ("default/web", ("192.0.2.200",), "Local")
    assert (web.ports[0].port, web.source_ranges) == (80, ("198.51.100.0/24",))
    assert web.endpoints is not None
    assert set(web.endpoints) == {Endpoint(node="worker1"), Endpoint(node="master", ready=False)}
    assert [(each.reason, each.node) for each in web.events] == [("nodeAssigned", "worker1")]
    assert (late.ingress_ips, late.wanted_ips, late.wanted_pool) == ((), ("192.0.2.201",), "lab")
    assert late.endpoints == (), "none is known to be none"
    assert any("default/late: what it asks for: 'nowhere' is left out" in note for note in notes)

    assert facts.l2_status is not None
    assert [(each.service, each.node, each.interfaces) for each in facts.l2_status] == [
        ("default/web", "worker1", ("eth1",))
    ]
    assert facts.metrics is not None
    counted = facts.metrics["worker1"]["192.0.2.200"]
    assert (counted.requests_received, counted.responses_sent, counted.gratuitous_sent) == (120, 7, 10)
    assert facts.speaker_log is None, "no kubelet answers"
    assert any(note.startswith("the log of speaker-w: unknown:") for note in notes)

    prediction = election.predict(facts, ip_address("192.0.2.200"), web)
    assert (prediction.candidates, prediction.leader) == (("worker1",), "worker1")


def test_the_file_gives_the_same_facts_and_holds_no_secret(
    admin: Cluster, site: Site, speaker_metrics: None, tmp_path: Path
) -> None:
    facts, _ = gathered(admin, site, worker1=CARDS)
    path = tmp_path / "facts.json"
    path.write_text(facts_file.dump(facts))
    assert facts_file.load(path) == facts
    text = path.read_text()
    assert SECRET not in text
    assert "METALLB_ML" not in text


def test_counters_are_read_again_after_the_probes(admin: Cluster, site: Site, speaker_metrics: None) -> None:
    facts, _ = gathered(admin, site)
    after = collect.metrics(admin)
    assert after is not None
    assert after["worker1"]["192.0.2.200"].responses_sent == 7
    assert collect.with_metrics_after(facts, after).metrics_after == after
    assert collect.from_cluster(admin, {}, site, metrics=False).metrics is None


def test_without_metrics_their_part_is_unknown(admin: Cluster, site: Site) -> None:
    facts, notes = gathered(admin, site)
    assert facts.metrics is None
    assert facts.metallb.config == "unknown"
    assert facts.services
    assert any(note.startswith("the metrics of speaker-w: unknown:") for note in notes)
    assert collect.metrics(admin) is None


def test_metallbs_own_word_on_its_configuration_wins(admin: Cluster, site: Site, speaker_metrics: None) -> None:
    where = {"namespace": "metallb-system", "api_version": "metallb.io/v1beta1"}
    metadata = {"name": "speaker-worker1", "namespace": "metallb-system"}
    admin.apply({"apiVersion": "metallb.io/v1beta1", "kind": "ConfigurationState", "metadata": metadata})
    status = {"result": "Invalid", "errorSummary": "pool lab overlaps"}
    admin.merge("ConfigurationState", "speaker-worker1", {"status": status}, subresource="status", **where)
    try:
        facts, _ = gathered(admin, site)
        assert (facts.metallb.config, facts.metallb.config_error) == ("invalid", "pool lab overlaps")
    finally:
        admin.delete("ConfigurationState", "speaker-worker1", "metallb-system", "metallb.io/v1beta1")


LOG = """\
{"caller":"speakerlist.go:270","level":"error","msg":"partial join","joined":0,"expected":1,"op":"memberDiscovery"}
{"caller":"main.go:1","level":"info","msg":"service has IP, announcing"}
"""


@pytest.mark.parametrize(("log", "partial"), [(LOG, True), (LOG.splitlines()[1], False), ("", None)])
def test_a_speakers_log_is_read_through_the_kubelet(
    admin: Cluster, site: Site, tls: ssl.SSLContext, log: str, partial: bool | None
) -> None:
    with serving(WORKER, 10250, log.encode(), tls=tls):
        facts, _ = gathered(admin, site)
    assert facts.speaker_log is not None
    assert facts.speaker_log["worker1"].partial_join is partial
    assert "master" not in facts.speaker_log


def test_a_speaker_of_0_16_serves_its_metrics_by_https_to_whom_it_lets(
    admin: Cluster, site: Site, tls: ssl.SSLContext, speaker_metrics: None
) -> None:
    spec = templates("v0.16.1")["speaker"]["spec"]
    keep = {key: value for key, value in spec.items() if key not in ("volumes", "serviceAccountName")}
    keep["containers"] = [{key: value for key, value in spec["containers"][0].items() if key != "volumeMounts"}]
    pod(admin, "speaker-new", keep, on="master", ip=MASTER, labels={"app": "metallb", "component": "speaker"})
    try:
        with serving(MASTER, 9120, METRICS.replace(" 7\n", " 8\n").encode(), tls=tls):
            facts, notes = gathered(admin, site)
        assert facts.metrics is not None
        assert facts.metrics["master"]["192.0.2.200"].responses_sent == 8
        assert facts.metrics["worker1"]["192.0.2.200"].responses_sent == 7
        assert facts.metallb.version is None
        assert any("speakers of several versions run (0.13.12, 0.16.1)" in note for note in notes)
        master = facts.node("master")
        assert master
        assert master.speaker == "ready", "the best of two pods, as while an update rolls"
        with serving(MASTER, 9120, b"Unauthorized", status=401, tls=tls):
            facts, notes = gathered(admin, site)
        assert facts.metrics is not None
        assert "master" not in facts.metrics
        assert any(note.startswith("the metrics of speaker-new: unknown:") for note in notes)
    finally:
        admin.delete("Pod", "speaker-new", "metallb-system")


# --- what cannot be had ----------------------------------------------------------------------------------------------


def test_what_is_forbidden_is_unknown_and_said(
    admin: Cluster, site: Site, control_plane: ControlPlane, connect: Connect
) -> None:
    rules = [{"apiGroups": [""], "resources": ["nodes", "services", "pods"], "verbs": ["get", "list"]}]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    admin.apply(rbac | {"kind": "ClusterRole", "metadata": {"name": "viewer"}, "rules": rules})
    subject = {"kind": "User", "name": "viewer", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "ClusterRole", "name": "viewer", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": "viewer"}, "subjects": [subject], "roleRef": role}
    admin.apply(rbac | {"kind": "ClusterRoleBinding"} | binding)
    viewer = connect(user=issue("viewer", by=control_plane.ca))

    def permitted() -> bool:
        return bool(viewer.list("Node"))

    admin.wait("the role to count", permitted, 60)
    facts, notes = gathered(viewer, site, worker1=CARDS)
    assert {one.name for one in facts.nodes} == {"master", "worker1"}
    assert facts.metallb.version == "0.13.12"
    assert facts.services is not None
    assert [one.endpoints for one in facts.services] == [None, None], "not none: unknown"
    assert (facts.pools, facts.advertisements, facts.l2_status) == (None, None, None)
    assert (facts.kube_proxy.mode, facts.others.servicelb) == (None, False)
    for what in ("pools", "advertisements", "endpoints", "kube-proxy's mode"):
        assert any(note.startswith(f"{what}: unknown: the API refused to") for note in notes), (what, notes)
    prediction = election.predict(facts, ip_address("192.0.2.200"), facts.services[1])
    assert prediction.candidates is None


def test_an_api_that_is_lost_in_the_middle_leaves_the_rest_unknown(
    admin: Cluster, site: Site, control_plane: ControlPlane, connect: Connect
) -> None:
    dying = connect()
    kept = dying.raw

    def raw(path: str, patience: float = 30) -> Any:
        if path == "/apis/metallb.io/v1beta1" and "kube-apiserver" in control_plane.running:
            control_plane.kill("kube-apiserver")
        return kept(path, patience)

    dying.raw = raw  # type: ignore[method-assign]
    try:
        facts, notes = gathered(dying, site, worker1=CARDS)
    finally:
        control_plane.start_api()
    assert {one.name for one in facts.nodes} == {"master", "worker1"}, "they had been read"
    assert (facts.pools, facts.advertisements, facts.metrics, facts.kube_proxy.mode) == (None, None, None, None)
    assert facts.services is not None
    assert [one.endpoints for one in facts.services] == [None, None]
    lost = [note for note in notes if "the API was lost in the middle" in note]
    assert len(lost) == 1, notes


def test_an_api_that_does_not_answer_at_all_is_an_error(
    admin: Cluster, site: Site, control_plane: ControlPlane, connect: Connect
) -> None:
    gone = connect()
    control_plane.kill("kube-apiserver")
    try:
        with pytest.raises(ClusterError, match=r"out of reach|does not answer"):
            gathered(gone, site, worker1=CARDS)
    finally:
        control_plane.start_api()


# --- before 0.13 -----------------------------------------------------------------------------------------------------


def test_before_0_13_the_pools_are_in_a_config_map(connect: Connect, site: Site, admin: Cluster) -> None:
    old = connect()
    kept = old.raw

    def raw(path: str, patience: float = 30) -> Any:
        """Hide the CRDs: this API server is the one that has them."""
        answer = kept(path, patience)
        if path == "/apis":
            answer["groups"] = [group for group in answer["groups"] if group["name"] != "metallb.io"]
        return answer

    old.raw = raw  # type: ignore[method-assign]
    assert gathered(old, site)[0].pools == (), "neither CRs nor a ConfigMap: no pool"
    config = f"""
        peers: [{{peer-address: 192.0.2.1, peer-asn: 64500, my-asn: 64501, password: {SECRET}}}]
        address-pools:
        - {{name: lab, protocol: layer2, addresses: [192.0.2.200-192.0.2.230], auto-assign: false}}
        - {{name: far, protocol: bgp, addresses: [198.51.100.0/24]}}
    """
    where = {"name": "config", "namespace": "metallb-system"}
    admin.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "data": {"config": config}})
    try:
        facts, _ = gathered(old, site)
        assert facts.pools is not None
        assert [(pool.name, pool.protocol, pool.auto_assign) for pool in facts.pools] == [
            ("lab", "layer2", False),
            ("far", "bgp", True),
        ]
        assert (facts.advertisements, facts.l2_status) == ((), None)
        assert SECRET not in facts_file.dump(facts)
        broken = {"config": f"password: {SECRET}\naddress-pools: ]"}
        admin.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "data": broken})
        facts, notes = gathered(old, site)
        assert facts.pools is None
        assert any("the ConfigMap of MetalLB's pools: not understood: no YAML (line 2)" in note for note in notes)
        assert not any(SECRET in note for note in notes)
    finally:
        admin.delete("ConfigMap", "config", "metallb-system")
