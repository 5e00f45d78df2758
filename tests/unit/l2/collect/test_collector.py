"""Collecting without a real API server: services, nodes, other announcers, odd objects."""

from __future__ import annotations

from typing import Any, cast

import pytest

from provisioner.errors import ApiUnreachable, ClusterError, HostError
from provisioner.kube import ApiState, Cluster, Object
from provisioner.l2.collect import collector, nodes, other_announcers, services
from provisioner.l2.collect.speakers import Components
from provisioner.l2.facts import Counters, Endpoint, Facts, KubeProxy, L2Status, OtherAnnouncers
from provisioner.ssh import Host, HostNic
from tests.unit.fake_cluster import FakeCluster
from tests.unit.l2.collect.api import api_reader, cluster_with, pod

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
    found = services.from_slices([endpoint_slice({"nodeName": "w1", "conditions": conditions})], serving=serving)
    assert found == {"default/web": (Endpoint(node="w1", ready=ready),)}


def test_slices_of_a_service_are_merged_and_a_nodes_pods_are_one_endpoint() -> None:
    many = [{"nodeName": "w1", "conditions": {"ready": True}}] * 100
    slices = [endpoint_slice(*many), endpoint_slice({"conditions": {"ready": True}}), endpoint_slice(service="")]
    assert services.from_slices(slices, serving=True) == {"default/web": (Endpoint(node="w1"), Endpoint(node=""))}


def test_events_are_metallbs_newest_without_tokens() -> None:
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
    events = services.events(found)["default/web"]
    assert len(events) == 12
    assert (events[0].reason, events[0].node) == ("r21", "w9")
    assert (events[-2].reason, events[-2].node) == ("r40", "w1")
    assert "abcdef" not in events[-1].message


def test_a_service_l2_status_of_0_14_names_its_service_in_labels() -> None:
    labels = {"metallb.io/node": "w1", "metallb.io/service-name": "web", "metallb.io/service-namespace": "shop"}
    old = {"metadata": {"name": "web-w1", "namespace": "metallb-system", "labels": labels}, "status": {"node": "w1"}}
    older = {"metadata": {"name": "web-w1", "namespace": "shop", "labels": {"metallb.io/service-name": "web"}}}
    assert services.l2_status([old, older]) == (
        L2Status(service="shop/web", node="w1"),
        L2Status(service="shop/web", node=""),
    )


def test_a_host_name_among_the_ingress_ips_is_ignored() -> None:
    item = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerSourceRanges": [" 192.0.2.0/24 ", "all"],
            "ipFamilies": ["IPv4", "IPv6"],
        },
        "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}, {"ip": "192.0.2.200"}]}},
    }
    notes: list[str] = []
    other = {"metadata": {"name": "c", "namespace": "default"}, "spec": {"type": "ClusterIP"}}
    (web,) = services.services([item, other], None, None, notes.append)
    assert (web.ingress_ips, web.source_ranges, web.endpoints) == (("192.0.2.200",), ("192.0.2.0/24",), None)
    assert web.families == ("IPv4", "IPv6")
    assert notes == ["default/web: source range 'all' ignored: invalid"]


# --- other announcers ------------------------------------------------------------------------------------------------


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
def test_kube_vip_counts_if_it_serves_services(containers: list[Object], serves: bool | None) -> None:
    found = other_announcers.others(api_reader()[0], [pod("vip", labels={}, containers=containers)], frozenset())
    assert found == OtherAnnouncers(kube_vip=serves, servicelb=False, cilium_l2=False)


def test_servicelb_and_cilium() -> None:
    policy = {"apiVersion": "cilium.io/v2alpha1", "metadata": {"name": "p"}}
    api = cluster_with(CiliumL2AnnouncementPolicy=[policy])
    pods = [pod("svclb-web-x7k2p", labels={})]
    served = frozenset({"cilium.io/v2alpha1", "coordination.k8s.io/v1"})
    assert other_announcers.others(api_reader(api)[0], pods, served) == OtherAnnouncers(
        kube_vip=False, servicelb=True, cilium_l2=True
    )
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "cilium-l2announce-default-web", "namespace": "kube-system"},
    }
    assert other_announcers.others(api_reader()[0], pods, served, [lease]).cilium_l2 is True
    other = {
        "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "cilium-operator", "namespace": "kube-system"},
    }
    assert other_announcers.others(api_reader()[0], pods, served, [other]).cilium_l2 is False
    assert other_announcers.others(api_reader()[0], pods, served, None).cilium_l2 is None, "not readable"
    assert other_announcers.others(api_reader()[0], pods, served, []).cilium_l2 is False
    assert other_announcers.others(api_reader()[0], None, None) == OtherAnnouncers()


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
def test_kube_proxys_mode(config: str, found: KubeProxy) -> None:
    data = {"config.conf": config, "kubeconfig.conf": "token: x"}
    api = cluster_with(ConfigMap=[{"metadata": {"name": "kube-proxy", "namespace": "kube-system"}, "data": data}])
    assert other_announcers.kube_proxy(api_reader(api)[0], []) == found


def test_without_kube_proxys_config_map_its_mode_is_unknown_unless_cilium_replaces_it() -> None:
    reader, notes = api_reader()
    assert other_announcers.kube_proxy(reader, []) == KubeProxy()
    assert notes == ["kube-proxy has no ConfigMap in kube-system, so its mode is unknown"]
    metadata = {"name": "cilium-config", "namespace": "kube-system"}
    cilium = cluster_with(ConfigMap=[{"metadata": metadata, "data": {"kube-proxy-replacement": "true"}}])
    assert other_announcers.kube_proxy(api_reader(cilium)[0], []) == KubeProxy(mode="none", strict_arp=False)
    running = [pod("kube-proxy-1", labels={"k8s-app": "kube-proxy"})]
    assert other_announcers.kube_proxy(api_reader(cilium)[0], running) == KubeProxy()


# --- nodes -----------------------------------------------------------------------------------------------------------


class FakeHost:
    """A host with the facts that are read."""

    def __init__(self, name: str, address: str, *nics: HostNic, error: HostError | None = None) -> None:
        self.name = name
        self.spec = type("Spec", (), {"address": address})
        self.nics = nics
        self.error = error

    @property
    def facts(self) -> FakeHost:
        if self.error:
            raise self.error
        return self


def api_node(name: str, ip: str, ready: str = "True", **spec: Any) -> Object:
    conditions = [{"type": "Ready", "status": ready}]
    addresses = [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]
    return {"metadata": {"name": name}, "spec": spec, "status": {"conditions": conditions, "addresses": addresses}}


def test_the_inventory_omits_pods_nics_and_empties_other_kinds_of_mac() -> None:
    notes: list[str] = []
    host = FakeHost(
        "w1",
        "192.0.2.11",
        HostNic("lo", "00:00:00:00:00:00", True, ("127.0.0.1/8",)),
        HostNic("eth1", "52:54:00:00:00:11", True, ("192.0.2.11/24", "fe80::11/64"), "", True, ("fe80::11/64",)),
        HostNic("eth2", "52:54:00:00:00:12", False, ()),
        HostNic("veth0a1b", "aa:00:00:00:00:01", True, ("fe80::1/64",), "cni0"),
        HostNic("calic0ffee", "ee:ee:ee:ee:ee:ee", True, ()),
        HostNic("cni0", "aa:00:00:00:00:02", True, ("10.244.1.1/24",)),
        HostNic("tunl0", "0.0.0.0", True, ("10.244.1.0/32",)),
        HostNic("lo", "00:00:00:00:00:00", True, ("127.0.0.1/8", "192.0.2.201/32")),
        HostNic("kube-ipvs0", "aa:00:00:00:00:03", False, ("192.0.2.200/32",)),
    )
    unreachable = FakeHost("w2", "192.0.2.12", error=HostError("w2", "no route to host"))
    found = nodes.inventory(cast("dict[str, Host]", {"w1": host, "w2": unreachable}), notes.append)
    assert found["w2"] is None
    assert notes == ["the NICs of w2 are unknown: w2: no route to host"]
    assert found["w1"] is not None
    assert [nic.dad_failed for nic in found["w1"]][:2] == [("fe80::11/64",), ()]
    assert [(nic.name, nic.mac, nic.proxy_arp) for nic in found["w1"]] == [
        ("eth1", "52:54:00:00:00:11", True),
        ("eth2", "52:54:00:00:00:12", None),
        ("cni0", "aa:00:00:00:00:02", None),
        ("tunl0", "", None),
        ("lo", "", None),
        ("kube-ipvs0", "aa:00:00:00:00:03", None),
    ]


def test_network_unavailable_is_a_condition_of_the_node() -> None:
    cut = api_node("w1", "192.0.2.11")
    cut["status"]["conditions"].append({"type": "NetworkUnavailable", "status": "True"})
    well = api_node("w2", "192.0.2.12")
    found = nodes.nodes({"w1": cut, "w2": well}, {}, {}, Components("x", (), None, None), lambda text: None)
    assert [(one.network_unavailable, one.speaker) for one in found] == [(True, "missing"), (False, "missing")]


@pytest.mark.parametrize(("version", "ready"), [("0.14.1", False), ("0.14.2", True)])
def test_a_terminating_endpoint_that_serves_counts_since_0_14_2(version: str, ready: bool) -> None:
    web = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"type": "LoadBalancer"}}
    terminating = endpoint_slice({"nodeName": "w1", "conditions": {"ready": False, "serving": True}})
    groups = [{"name": "discovery.k8s.io", "versions": [{"groupVersion": "discovery.k8s.io/v1"}]}]
    api = cluster_with(
        {"/version": {}, "/apis": {"groups": groups}},
        Service=[web],
        EndpointSlice=[terminating],
        Pod=[pod(image=f"metallb/speaker:v{version}")],
    )
    facts = collector.from_cluster(cast(Cluster, api), {}, None)
    assert facts.services is not None
    assert facts.services[0].endpoints == (Endpoint(node="w1", ready=ready),)
    assert "Endpoints" not in api.reads


def test_a_node_is_matched_to_its_host_by_name_or_address() -> None:
    hosts = cast("dict[str, Host]", {"w1": FakeHost("w1", "192.0.2.11"), "w2": FakeHost("w2", "192.0.2.12")})
    nics = nodes.inventory(hosts, lambda text: None)
    notes: list[str] = []
    answers = [
        api_node("w1", "192.0.2.99"),
        api_node("node-two", "192.0.2.12", ready="Unknown", unschedulable=True),
        api_node("w3", "192.0.2.13"),
    ]
    found = nodes.nodes(
        {item["metadata"]["name"]: item for item in answers},
        nics,
        hosts,
        Components("x", None, None, None),
        notes.append,
    )
    assert [(one.name, one.ready, one.unschedulable, one.nics) for one in found] == [
        ("node-two", False, True, ()),
        ("w1", True, False, ()),
        ("w3", True, False, None),
    ]
    assert notes == ["node w3 is not in hosts.toml, so its NICs are unknown"]


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_lost_api_is_not_read_again_but_a_reachable_one_is() -> None:
    gone = ApiUnreachable("the API at https://192.0.2.10:6443 does not answer: timed out")
    api = FakeCluster()
    api.errors["Pod"] = gone
    reader, notes = api_reader(api)
    assert reader.read("pods", lambda: reader.cluster.list("Pod")) is None
    assert reader.read("services", lambda: reader.cluster.list("Service")) == []
    assert notes == ["pods: unknown: the API at https://192.0.2.10:6443 does not answer: timed out"]
    api.api = ApiState.UNREACHABLE
    assert reader.read("pods", lambda: reader.cluster.list("Pod")) is None
    assert reader.read("services", lambda: reader.cluster.list("Service")) is None
    assert reader.interpret("what was read", lambda: 1) == 1
    assert api.reads == ["Pod", "Service", "Pod"]
    assert "the API was lost midway" in notes[-1]
    assert len(notes) == 2


def test_a_note_is_one_line_without_tokens_and_appears_once() -> None:
    reader, notes = api_reader()
    for _ in range(2):
        reader.note("two\nlines, abcdef.0123456789abcdef")
    assert len(notes) == 1
    assert notes[0].startswith("two lines, ")
    assert "0123456789abcdef" not in notes[0]


def test_an_api_that_forbids_everything_leaves_all_unknown() -> None:
    """No None may become an empty list on the way."""
    forbidden = ClusterError("the API refused to GET it: forbidden (403)")

    class Closed(FakeCluster):
        def list(self, *_: Any, **__: Any) -> list[Object]:
            raise forbidden

        def get(self, *_: Any, **__: Any) -> Object | None:
            raise forbidden

    notes: list[str] = []
    api = Closed()
    api.answers["/version"] = {"gitVersion": "v1.31.0"}
    facts = collector.from_cluster(cast(Cluster, api), {}, None, note=notes.append)
    assert facts == Facts(nodes=()), "all defaults: all unknown"
    assert (facts.services, facts.pools, facts.advertisements, facts.l2_status) == (None, None, None, None)
    assert any(note.startswith("services: unknown: ") for note in notes)


def test_without_the_api_there_are_no_facts() -> None:
    with pytest.raises(ClusterError, match="404"):
        collector.from_cluster(cast(Cluster, FakeCluster()), {}, None)


def test_counters_from_after_the_probes_are_kept_apart() -> None:
    after = {"w1": {"192.0.2.200": Counters(requests_received=5)}}
    assert collector.with_metrics_after(Facts(), after).metrics_after == after
    assert collector.with_metrics_after(Facts(), None).metrics_after is None
