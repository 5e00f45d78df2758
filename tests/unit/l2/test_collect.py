"""Collecting, where a real API server cannot be had for it: other releases, other announcers, odd shapes."""

from __future__ import annotations

from typing import Any, cast

import pytest

from provisioner.errors import ClusterError, HostError
from provisioner.facts import Nic as HostNic
from provisioner.host import Host
from provisioner.kube import Cluster
from provisioner.l2 import collect, collect_config, collect_metrics, collect_nodes, collect_others, collect_services
from provisioner.l2.asking import Asker
from provisioner.l2.collect_speakers import Programs, metallb, programs, speaker_state, version_of
from provisioner.l2.facts import Counters, Endpoint, Facts, KubeProxy, L2Status, MetalLB, Others
from provisioner.objects import Object

SPEAKER = {"app": "metallb", "component": "speaker"}
HELM = {"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": "speaker"}
API = "metallb.io/v1beta1"


class Api:
    """A Cluster that holds these objects by (kind, apiVersion); an exception in their place is raised."""

    def __init__(self, objects: dict[str, Any] | None = None, raw: dict[str, Any] | None = None) -> None:
        self.objects = objects or {}
        self.answers = raw or {}
        self.there = True
        self.asked: list[str] = []

    def list(self, kind: str, namespace: str | None = None, api_version: str = "v1", **_: str) -> list[Object]:
        self.asked.append(kind)
        found = self.objects.get(kind, [])
        if isinstance(found, Exception):
            raise found
        return [item for item in found if item.get("apiVersion", api_version) == api_version]

    def get(self, kind: str, name: str, namespace: str | None = None, api_version: str = "v1") -> Object | None:
        self.asked.append(f"{kind} {name}")
        found = self.objects.get(f"{kind} {name}")
        if isinstance(found, Exception):
            raise found
        return cast("Object | None", found)

    def raw(self, path: str, patience: float = 30) -> Any:
        self.asked.append(path)
        found = self.answers.get(path, ClusterError(f"the API refused to GET {path}: not found (404)"))
        if isinstance(found, Exception):
            raise found
        return found

    def nodes(self) -> dict[str, Object]:
        return {node["metadata"]["name"]: node for node in self.list("Node")}

    def reachable(self) -> bool:
        return self.there


def asker(api: Api | None = None) -> tuple[Asker, list[str]]:
    notes: list[str] = []
    return Asker(cast(Cluster, api or Api()), notes.append), notes


def pod(name: str = "speaker-1", *, on: str = "w1", ready: bool = True, **known: Any) -> Object:
    container = {
        "name": "speaker",
        "image": known.get("image", "quay.io/metallb/speaker:v0.13.12"),
        "args": known.get("args", []),
        "env": known.get("env", []),
        "ports": known.get("ports", []),
    }
    metadata = {
        "name": name,
        "namespace": known.get("namespace", "metallb-system"),
        "labels": known.get("labels", SPEAKER),
    }
    if known.get("going"):
        metadata["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    return {
        "metadata": metadata,
        "spec": {"nodeName": on, "containers": known.get("containers", [container])},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


ML = [
    {"name": "METALLB_ML_BIND_ADDR", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    {"name": "METALLB_ML_LABELS", "value": "app=metallb,component=speaker"},
]


# --- MetalLB's programs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("quay.io/metallb/speaker:v0.16.1", "0.16.1"),
        ("registry.example:5000/metallb/speaker:0.14.5-debian-12-r3", "0.14.5"),
        ("quay.io/metallb/speaker:v0.13.12@sha256:0000", "0.13.12"),
        ("quay.io/metallb/speaker:main", ""),
        ("quay.io/metallb/speaker@sha256:0000", ""),
        ("registry.example:5000/metallb/speaker", ""),
    ],
)
def test_the_version_is_in_the_images_tag(image: str, version: str) -> None:
    assert version_of(image) == version


@pytest.mark.parametrize(
    ("known", "memberlist"),
    [
        ({"env": ML}, True),
        # The key only encrypts; without it memberlist runs all the same, and with it alone it does not.
        (
            {"env": [*ML, {"name": "METALLB_ML_SECRET_KEY", "valueFrom": {"secretKeyRef": {"name": "memberlist"}}}]},
            True,
        ),
        ({"env": [{"name": "METALLB_ML_SECRET_KEY_PATH", "value": "/etc/ml_secret_key"}]}, False),
        ({"env": ML[:1]}, False),
        ({"env": [ML[0], {"name": "METALLB_ML_LABELS", "value": ""}]}, False),
        ({"args": ["--ml-bindaddr=192.0.2.11", "--ml-labels=app=metallb"]}, True),
        ({"env": ML, "args": ["--ml-bindaddr="]}, False),
    ],
)
def test_memberlist_is_on_where_it_has_an_address_and_labels(known: dict[str, Any], memberlist: bool) -> None:
    assert metallb(programs([pod(**known)], []), lambda text: None).memberlist is memberlist


@pytest.mark.parametrize(
    ("args", "ignored", "served"),
    [
        ([], False, ""),
        (["--ignore-exclude-lb"], True, ""),
        (["-ignore-exclude-lb=true", "--lb-class=metallb"], True, "metallb"),
        (["--ignore-exclude-lb=false", "--lb-class", "mine"], False, "mine"),
    ],
)
def test_flags_of_the_speaker(args: list[str], ignored: bool, served: str) -> None:
    found = metallb(programs([pod(args=args)], []), lambda text: None)
    assert (found.ignore_exclude_lb, found.load_balancer_class) == (ignored, served)


def test_a_charts_speaker_is_found_in_its_own_namespace_past_its_frr() -> None:
    frr = {"name": "frr", "image": "quay.io/frrouting/frr:10.5.1"}
    speaker = {"name": "metallb-speaker", "image": "registry.example/metallb-speaker:0.15.2"}
    other = pod("frr-k8s-1", labels={"app": "frr-k8s", "component": "frr-k8s"})
    found = programs([other, pod(labels=HELM, namespace="lb", containers=[frr, speaker])], [])
    assert (found.namespace, len(found.speakers or ())) == ("lb", 1)
    assert metallb(found, lambda text: None).version == "0.15.2"


def test_pods_that_cannot_be_made_leave_their_daemon_set_to_tell() -> None:
    """A policy that refuses the speakers' rights leaves a DaemonSet without any pod."""
    daemon_set = {"metadata": {"name": "speaker", "namespace": "metallb-system", "labels": SPEAKER}}
    daemon_set["spec"] = {"template": {"spec": pod(env=ML)["spec"]}}
    found = programs([], [daemon_set])
    assert metallb(found, lambda text: None).version == "0.13.12"
    assert speaker_state(found, "w1") == "missing"


@pytest.mark.parametrize(
    ("pods", "state"),
    [
        ([pod(on="w2")], "missing"),
        ([pod()], "ready"),
        ([pod(ready=False)], "failing"),
        ([pod(ready=False), pod("speaker-2")], "ready"),
        ([pod(going=True)], "failing"),
        (None, None),
    ],
)
def test_how_the_speaker_of_a_node_is(pods: list[Object] | None, state: str | None) -> None:
    assert speaker_state(programs(pods, []), "w1") == state


def test_speakers_that_differ_leave_it_unknown() -> None:
    notes: list[str] = []
    two = [pod(env=ML), pod("speaker-2", on="w2", image="quay.io/metallb/speaker:v0.14.5", args=["--lb-class=x"])]
    found = metallb(programs(two, []), notes.append)
    assert (found.version, found.memberlist, found.load_balancer_class) == (None, None, None)
    assert notes == ["speakers of several versions run (0.13.12, 0.14.5), so MetalLB's version is unknown"]
    assert metallb(programs([pod(image="metallb/speaker:main")], []), notes.append).version is None
    assert "no version in its tag" in notes[-1]


def test_no_metallb_is_nothing_known_of_it() -> None:
    assert metallb(programs([], []), lambda text: None) == MetalLB()


# --- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gauges", "says"),
    [
        ([], {}),
        ([(None, None)], {}),
        ([(1.0, 0.0), (1.0, 0.0)], {"config": "valid"}),
        ([(1.0, 0.0), (1.0, 1.0)], {"config": "stale"}),
        ([(0.0, 1.0)], {"config": "invalid"}),
        ([(0.0, 0.0)], {}),
    ],
)
def test_gauges_tell_of_the_configuration(
    gauges: list[tuple[float | None, float | None]], says: dict[str, str]
) -> None:
    assert collect_config.by_gauges(gauges) == says


def crs(**kinds: list[Object]) -> Api:
    return Api({kind: [{"apiVersion": API, **item} for item in items] for kind, items in kinds.items()})


def named(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "metallb-system"}, "spec": spec}


ALL_KINDS = frozenset({"IPAddressPool", "L2Advertisement", "AddressPool", "ConfigurationState"})


def test_an_address_pool_of_0_13_is_its_own_advertisement() -> None:
    api = crs(
        IPAddressPool=[named("new", addresses=["192.0.2.200/29"])],
        AddressPool=[
            named("old", addresses=["192.0.2.210/31"], protocol="layer2"),
            named("far", addresses=["198.51.100.0/24"], protocol="bgp"),
        ],
    )
    found = collect_config.configuration(asker(api)[0], "metallb-system", ALL_KINDS)
    assert found.pools is not None
    assert [pool.name for pool in found.pools] == ["new", "old", "far"]
    assert found.advertisements is not None
    assert [(each.name, each.pools) for each in found.advertisements] == [("old", ("old",))]


def test_a_pool_that_makes_no_sense_is_not_understood_and_said() -> None:
    ask, notes = asker(crs(IPAddressPool=[named("p", addresses=["192.0.2.200"])]))
    assert collect_config.configuration(ask, "metallb-system", ALL_KINDS).pools is None
    assert len(notes) == 1
    assert notes[0].startswith("pools: not understood: addresses.0: Value error, '192.0.2.200' is neither a network")


def test_unknown_kinds_are_unknown_pools() -> None:
    found = collect_config.configuration(asker()[0], "metallb-system", None)
    assert (found.pools, found.advertisements) == (None, None)
    assert collect_config.state(asker()[0], "metallb-system", None) == {}


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ([], {}),
        (["Valid", "Valid"], {"config": "valid"}),
        (["Valid", "Unknown"], {}),
        (["Valid", "Invalid"], {"config": "invalid", "config_error": "why"}),
    ],
)
def test_configuration_states(results: list[str], says: dict[str, str]) -> None:
    items = [
        {"metadata": {"name": str(number)}, "status": {"result": result, "errorSummary": "why"}}
        for number, result in enumerate(results)
    ]
    assert collect_config.state(asker(crs(ConfigurationState=items))[0], "metallb-system", ALL_KINDS) == says


# --- services --------------------------------------------------------------------------------------------------------


def endpoint_slice(*endpoints: Object, service: str = "web") -> Object:
    labels = {"kubernetes.io/service-name": service}
    return {"metadata": {"name": "x", "namespace": "default", "labels": labels}, "endpoints": [*endpoints]}


@pytest.mark.parametrize(
    ("conditions", "serving", "ready"),
    [
        ({"ready": True}, False, True),
        ({}, False, True),
        ({"ready": False}, True, False),
        ({"ready": False, "serving": True, "terminating": True}, True, True),
        ({"ready": False, "serving": True, "terminating": True}, False, False),
        ({"ready": False, "serving": True, "terminating": True}, None, False),
    ],
)
def test_an_endpoint_is_ready_by_metallbs_rule(conditions: dict[str, bool], serving: bool | None, ready: bool) -> None:
    found = collect_services.from_slices(
        [endpoint_slice({"nodeName": "w1", "conditions": conditions})], serving=serving
    )
    assert found == {"default/web": (Endpoint(node="w1", ready=ready),)}


def test_slices_of_one_service_come_together_and_a_hundred_pods_are_one_endpoint() -> None:
    many = [{"nodeName": "w1", "conditions": {"ready": True}}] * 100
    slices = [endpoint_slice(*many), endpoint_slice({"conditions": {"ready": True}}), endpoint_slice(service="")]
    assert collect_services.from_slices(slices, serving=True) == {
        "default/web": (Endpoint(node="w1"), Endpoint(node=""))
    }


def test_events_are_metallbs_newest_and_hold_no_token() -> None:
    def event(number: int, message: str, component: str = "metallb-speaker") -> Object:
        return {
            "involvedObject": {"kind": "Service", "namespace": "default", "name": "web"},
            "reason": f"r{number}",
            "message": message,
            "source": {"component": component, "host": "w9"},
            "lastTimestamp": f"2026-11-22T12:00:{number:02}Z",
        }

    found = [event(number, "x") for number in range(30, 10, -1)]
    found += [event(40, 'doesn\'t exist in assigned node "w1" with protocol "layer2"'), event(41, "x", "other")]
    found += [event(42, "token abcdef.0123456789abcdef")]
    events = collect_services.events(found)["default/web"]
    assert len(events) == 12
    assert (events[0].reason, events[0].node) == ("r21", "w9")
    assert (events[-2].reason, events[-2].node) == ("r40", "w1")
    assert "abcdef" not in events[-1].message


def test_a_service_l2_status_of_0_14_names_its_service_in_labels() -> None:
    labels = {"metallb.io/node": "w1", "metallb.io/service-name": "web", "metallb.io/service-namespace": "shop"}
    old = {"metadata": {"name": "web-w1", "namespace": "metallb-system", "labels": labels}, "status": {"node": "w1"}}
    older = {"metadata": {"name": "web-w1", "namespace": "shop", "labels": {"metallb.io/service-name": "web"}}}
    assert collect_services.l2_status([old, older]) == (
        L2Status(service="shop/web", node="w1"),
        L2Status(service="shop/web", node=""),
    )


def test_a_host_name_among_the_addresses_is_no_address() -> None:
    item = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "LoadBalancer", "loadBalancerSourceRanges": [" 192.0.2.0/24 ", "all"]},
        "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}, {"ip": "192.0.2.200"}]}},
    }
    notes: list[str] = []
    other = {"metadata": {"name": "c", "namespace": "default"}, "spec": {"type": "ClusterIP"}}
    (web,) = collect_services.services([item, other], None, None, notes.append)
    assert (web.ingress_ips, web.source_ranges, web.endpoints) == (("192.0.2.200",), ("192.0.2.0/24",), None)
    assert notes == ["default/web: its source ranges: 'all' is left out, it is not what belongs there"]


# --- metrics and logs ------------------------------------------------------------------------------------------------

SHOWN = """\
# TYPE metallb_layer2_requests_received counter
metallb_layer2_requests_received{ip="192.0.2.200"} 12
metallb_layer2_requests_received{ip="2001:db8::200"} 1e+06
metallb_layer2_responses_sent{ip="192.0.2.200"} 11
metallb_layer2_gratuitous_sent{ip="192.0.2.201"} 10
metallb_k8s_client_config_loaded_bool 1
metallb_k8s_client_config_stale_bool 0
metallb_speaker_announced{ip="192.0.2.200",node="w1",protocol="layer2",service="default/web"} 1
"""


def test_counters_and_gauges_are_read_as_prometheus_writes_them() -> None:
    sample = collect_metrics.Sample("w1", True, SHOWN)
    assert sample.counters == {
        "192.0.2.200": Counters(requests_received=12, responses_sent=11),
        "2001:db8::200": Counters(requests_received=1_000_000),
        "192.0.2.201": Counters(gratuitous_sent=10),
    }
    assert sample.gauge("metallb_k8s_client_config_loaded_bool") == 1
    assert sample.gauge("metallb_k8s_client_config_nothing") is None
    controller = collect_metrics.Sample("w2", False, SHOWN)
    assert collect_metrics.metrics([sample, controller]) == {"w1": sample.counters}
    assert collect_metrics.metrics([controller]) is None


@pytest.mark.parametrize(
    ("known", "version", "place"),
    [
        ({"ports": [{"name": "monitoring", "containerPort": 7472}]}, "0.13.12", "speaker-1:7472"),
        ({"ports": [{"name": "metricshttps", "containerPort": 9120}]}, "0.16.1", "https:speaker-1:9120"),
        ({"args": ["--port=7999"]}, "0.14.5", "speaker-1:7999"),
        ({"args": ["--port=7999"]}, "0.16.0", "https:speaker-1:7999"),
        ({}, None, "speaker-1:7472"),
        ({}, "0.16.1", "https:speaker-1:9120"),
    ],
)
def test_where_a_release_serves_its_metrics(known: dict[str, Any], version: str | None, place: str) -> None:
    path = f"/api/v1/namespaces/metallb-system/pods/{place}/proxy/metrics"
    api = Api(raw={path: SHOWN})
    ask, notes = asker(api)
    (sample,) = collect_metrics.samples(ask, [pod(**known)], version, frozenset(), speakers=True)
    assert (sample.node, sample.speaker) == ("w1", True)
    assert (api.asked[0], notes) == (path, [])


def test_what_is_down_is_not_asked_and_what_is_no_metrics_is_not_taken_for_them() -> None:
    api = Api(raw={"/api/v1/namespaces/metallb-system/pods/speaker-1:7472/proxy/metrics": "<html>hello</html>"})
    ask, notes = asker(api)
    pods = [pod(), pod("speaker-2", on="w2"), pod("speaker-3", on="w3", ready=False), pod("speaker-4", going=True)]
    assert collect_metrics.samples(ask, pods, "0.13.12", frozenset({"w2"}), speakers=True) == []
    assert api.asked == ["/api/v1/namespaces/metallb-system/pods/speaker-1:7472/proxy/metrics"]
    assert sorted(notes) == [
        "speaker-2 is not asked for its metrics: it, or its node w2, is not ready",
        "speaker-3 is not asked for its metrics: it, or its node w3, is not ready",
        "the metrics of speaker-1: unknown: what answers there is not MetalLB's metrics",
    ]
    assert collect_metrics.logs(ask, pods[1:2], frozenset({"w2"})) is None


PARTIAL = '{"level":"error","msg":"partial join","joined":1,"expected":2}'
JOINED = '{"level":"info","msg":"memberlist join successfully","number of other nodes":2}'


@pytest.mark.parametrize(
    ("text", "partial"),
    [
        (PARTIAL, True),
        (f"{PARTIAL}\n{JOINED}", False),
        (f"{JOINED}\n{PARTIAL}\nanything", True),
        ("anything", False),
        ("", None),
    ],
)
def test_the_last_join_counts(text: str, partial: bool | None) -> None:
    assert collect_metrics.partial_join(text) is partial


# --- others that announce --------------------------------------------------------------------------------------------


def container(image: str, *env: tuple[str, str], **known: Any) -> list[Object]:
    return [{"name": "c", "image": image, "env": [{"name": name, "value": value} for name, value in env], **known}]


KUBE_VIP = "ghcr.io/kube-vip/kube-vip:v0.8.0"


@pytest.mark.parametrize(
    ("containers", "serves"),
    [
        (container(KUBE_VIP, ("svc_enable", "true")), True),
        (container(KUBE_VIP, args=["manager", "--services"]), True),
        (container(KUBE_VIP, ("cp_enable", "true")), False),
        (container(KUBE_VIP, envFrom=[{"configMapRef": {"name": "vip"}}]), None),
        (container("ghcr.io/kube-vip/kube-vip-cloud-provider:v0.0.10"), False),
        (container("nginx"), False),
    ],
)
def test_kube_vip_counts_where_it_serves_services(containers: list[Object], serves: bool | None) -> None:
    found = collect_others.others(asker()[0], [pod("vip", labels={}, containers=containers)], frozenset())
    assert found == Others(kube_vip=serves, servicelb=False, cilium_l2=False)


def test_servicelb_and_cilium() -> None:
    policy = {"apiVersion": "cilium.io/v2alpha1", "metadata": {"name": "p"}}
    api = Api({"CiliumL2AnnouncementPolicy": [policy]})
    pods = [pod("svclb-web-x7k2p", labels={})]
    served = frozenset({"cilium.io/v2alpha1", "coordination.k8s.io/v1"})
    assert collect_others.others(asker(api)[0], pods, served) == Others(kube_vip=False, servicelb=True, cilium_l2=True)
    lease = {"apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "cilium-l2announce-default-web"}}
    assert collect_others.others(asker(Api({"Lease": [lease]}))[0], pods, served).cilium_l2 is True
    assert collect_others.others(asker(Api())[0], pods, served).cilium_l2 is False
    assert collect_others.others(asker()[0], None, None) == Others()


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ('mode: ""\n', KubeProxy(mode="iptables", strict_arp=False)),
        ("{}", KubeProxy(mode="iptables", strict_arp=False)),
        ("mode: ipvs\nipvs: {strictARP: false}", KubeProxy(mode="ipvs", strict_arp=False)),
        ("mode: ipvs\nipvs: {strictARP: true}", KubeProxy(mode="ipvs", strict_arp=True)),
        ("mode: nftables\nipvs: null", KubeProxy(mode="nftables", strict_arp=False)),
        ("mode: userspace", KubeProxy(mode=None, strict_arp=False)),
        ("mode: [", KubeProxy()),
        ("- a", KubeProxy()),
    ],
)
def test_the_mode_of_kube_proxy(config: str, found: KubeProxy) -> None:
    api = Api({"ConfigMap kube-proxy": {"data": {"config.conf": config, "kubeconfig.conf": "token: x"}}})
    assert collect_others.kube_proxy(asker(api)[0], []) == found


def test_no_config_map_of_kube_proxy_is_unknown_unless_cilium_has_taken_its_place() -> None:
    ask, notes = asker()
    assert collect_others.kube_proxy(ask, []) == KubeProxy()
    assert notes == ["kube-proxy has no ConfigMap in kube-system, so its mode is unknown"]
    cilium = Api({"ConfigMap cilium-config": {"data": {"kube-proxy-replacement": "true"}}})
    assert collect_others.kube_proxy(asker(cilium)[0], []) == KubeProxy(mode="none", strict_arp=False)
    still = [pod("kube-proxy-1", labels={"k8s-app": "kube-proxy"})]
    assert collect_others.kube_proxy(asker(cilium)[0], still) == KubeProxy()


# --- nodes -----------------------------------------------------------------------------------------------------------


class Reached:
    """A host as far as its facts are read."""

    def __init__(self, name: str, address: str, *nics: HostNic, error: HostError | None = None) -> None:
        self.name = name
        self.spec = type("Spec", (), {"address": address})
        self.nics = nics
        self.error = error

    @property
    def facts(self) -> Reached:
        if self.error:
            raise self.error
        return self


def api_node(name: str, ip: str, ready: str = "True", **spec: Any) -> Object:
    conditions = [{"type": "Ready", "status": ready}]
    addresses = [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]
    return {"metadata": {"name": name}, "spec": spec, "status": {"conditions": conditions, "addresses": addresses}}


def test_the_inventory_leaves_pods_cables_out_and_strange_macs_empty() -> None:
    notes: list[str] = []
    host = Reached(
        "w1",
        "192.0.2.11",
        HostNic("lo", "00:00:00:00:00:00", True, ("127.0.0.1/8",)),
        HostNic("eth1", "52:54:00:00:00:11", True, ("192.0.2.11/24", "fe80::11/64"), "", True, ("fe80::11/64",)),
        HostNic("eth2", "52:54:00:00:00:12", False, ()),
        HostNic("veth0a1b", "aa:00:00:00:00:01", True, ("fe80::1/64",), "cni0"),
        HostNic("calic0ffee", "ee:ee:ee:ee:ee:ee", True, ()),
        HostNic("cni0", "aa:00:00:00:00:02", True, ("10.244.1.1/24",)),
        HostNic("tunl0", "0.0.0.0", True, ("10.244.1.0/32",)),
        HostNic("kube-ipvs0", "aa:00:00:00:00:03", False, ("192.0.2.200/32",)),
    )
    away = Reached("w2", "192.0.2.12", error=HostError("w2", "no route to host"))
    found = collect_nodes.inventory(cast("dict[str, Host]", {"w1": host, "w2": away}), notes.append)
    assert found["w2"] is None
    assert notes == ["the network cards of w2 are unknown: w2: no route to host"]
    assert found["w1"] is not None
    assert [nic.dad_failed for nic in found["w1"]][:2] == [("fe80::11/64",), ()]
    assert [(nic.name, nic.mac, nic.proxy_arp) for nic in found["w1"]] == [
        ("eth1", "52:54:00:00:00:11", True),
        ("eth2", "52:54:00:00:00:12", None),
        ("cni0", "aa:00:00:00:00:02", None),
        ("tunl0", "", None),
        ("kube-ipvs0", "aa:00:00:00:00:03", None),
    ]


def test_a_node_is_its_host_by_name_or_by_address() -> None:
    hosts = cast("dict[str, Host]", {"w1": Reached("w1", "192.0.2.11"), "w2": Reached("w2", "192.0.2.12")})
    cards = collect_nodes.inventory(hosts, lambda text: None)
    notes: list[str] = []
    answers = [
        api_node("w1", "192.0.2.99"),
        api_node("node-two", "192.0.2.12", ready="Unknown", unschedulable=True),
        api_node("w3", "192.0.2.13"),
    ]
    found = collect_nodes.nodes(
        {item["metadata"]["name"]: item for item in answers},
        cards,
        hosts,
        Programs("x", None, None, None),
        notes.append,
    )
    assert [(one.name, one.ready, one.unschedulable, one.nics) for one in found] == [
        ("node-two", False, True, ()),
        ("w1", True, False, ()),
        ("w3", True, False, None),
    ]
    assert notes == ["node w3 is not in hosts.toml, so its network cards are unknown"]


# --- asking ----------------------------------------------------------------------------------------------------------


def test_an_api_that_is_gone_is_not_asked_again_and_one_that_only_stumbled_is() -> None:
    gone = ClusterError("the API at https://192.0.2.10:6443 does not answer: timed out")
    api = Api({"Pod": gone})
    ask, notes = asker(api)
    assert ask.ask("pods", lambda: ask.cluster.list("Pod")) is None
    assert ask.ask("services", lambda: ask.cluster.list("Service")) == []
    assert notes == ["pods: unknown: the API at https://192.0.2.10:6443 does not answer: timed out"]
    api.there = False
    assert ask.ask("pods", lambda: ask.cluster.list("Pod")) is None
    assert ask.ask("services", lambda: ask.cluster.list("Service")) is None
    assert ask.understand("what was read", lambda: 1) == 1
    assert api.asked == ["Pod", "Service", "Pod"]
    assert "the API was lost in the middle" in notes[-1]
    assert len(notes) == 2


def test_a_note_is_one_line_said_once_without_a_token() -> None:
    ask, notes = asker()
    for _ in range(2):
        ask.note("two\nlines, abcdef.0123456789abcdef")
    assert len(notes) == 1
    assert notes[0].startswith("two lines, ")
    assert "0123456789abcdef" not in notes[0]


def test_an_api_that_answers_nothing_but_its_version_is_all_unknown() -> None:
    """Everything forbidden: no None may have become an empty list on the way."""
    forbidden = ClusterError("the API refused to GET it: forbidden (403)")

    class Closed(Api):
        def list(self, *_: Any, **__: Any) -> list[Object]:
            raise forbidden

        def get(self, *_: Any, **__: Any) -> Object | None:
            raise forbidden

    notes: list[str] = []
    api = Closed(raw={"/version": {"gitVersion": "v1.31.0"}})
    facts = collect.from_cluster(cast(Cluster, api), {}, None, note=notes.append)
    assert facts == Facts(nodes=()), "all defaults: all unknown"
    assert (facts.services, facts.pools, facts.advertisements, facts.l2_status) == (None, None, None, None)
    assert any(note.startswith("services: unknown: ") for note in notes)


def test_without_the_api_no_facts() -> None:
    with pytest.raises(ClusterError, match="404"):
        collect.from_cluster(cast(Cluster, Api()), {}, None)


def test_counters_after_the_probes_lie_beside_those_before() -> None:
    after = {"w1": {"192.0.2.200": Counters(requests_received=5)}}
    assert collect.with_metrics_after(Facts(), after).metrics_after == after
    assert collect.with_metrics_after(Facts(), None).metrics_after is None
