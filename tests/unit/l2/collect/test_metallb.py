"""Facts about MetalLB itself, release by release: pods, configuration, metrics and logs."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.errors import ClusterError
from provisioner.kube import Object
from provisioner.l2.collect import configuration, metrics
from provisioner.l2.collect.speakers import components, metallb, speaker_state, version_of
from provisioner.l2.facts import Counters, MetalLB
from tests.unit.fake_cluster import FakeCluster
from tests.unit.l2.collect.api import API, HELM, ML, SPEAKER, FakeMetricsClient, api_reader, cluster_with, pod

# --- MetalLB's pods --------------------------------------------------------------------------------------------------


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
def test_the_version_is_in_the_image_tag(image: str, version: str) -> None:
    assert version_of(image) == version


@pytest.mark.parametrize(
    ("known", "memberlist"),
    [
        ({"env": ML}, True),
        # The key only encrypts: memberlist runs without it, and does not run with it alone.
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
def test_memberlist_needs_an_address_and_labels(known: dict[str, Any], memberlist: bool) -> None:
    assert metallb(components([pod(**known)], []), lambda text: None).memberlist is memberlist


@pytest.mark.parametrize(
    ("args", "ignored", "served"),
    [
        ([], False, ""),
        (["--ignore-exclude-lb"], True, ""),
        (["-ignore-exclude-lb=true", "--lb-class=metallb"], True, "metallb"),
        (["--ignore-exclude-lb=false", "--lb-class", "mine"], False, "mine"),
    ],
)
def test_speaker_flags(args: list[str], ignored: bool, served: str) -> None:
    found = metallb(components([pod(args=args)], []), lambda text: None)
    assert (found.ignore_exclude_lb, found.load_balancer_class) == (ignored, served)


def test_a_charts_speaker_is_found_in_its_namespace_beside_frr() -> None:
    frr = {"name": "frr", "image": "quay.io/frrouting/frr:10.5.1"}
    speaker = {"name": "metallb-speaker", "image": "registry.example/metallb-speaker:0.15.2"}
    other = pod("frr-k8s-1", labels={"app": "frr-k8s", "component": "frr-k8s"})
    found = components([other, pod(labels=HELM, namespace="lb", containers=[frr, speaker])], [])
    assert (found.namespace, len(found.speakers or ())) == ("lb", 1)
    assert metallb(found, lambda text: None).version == "0.15.2"


def test_without_pods_the_daemon_set_gives_the_version() -> None:
    """A policy that forbids the speakers' privileges leaves the DaemonSet without pods."""
    daemon_set = {"metadata": {"name": "speaker", "namespace": "metallb-system", "labels": SPEAKER}}
    daemon_set["spec"] = {"template": {"spec": pod(env=ML)["spec"]}}
    found = components([], [daemon_set])
    assert metallb(found, lambda text: None).version == "0.13.12"
    assert speaker_state(found, "w1") == "missing"


@pytest.mark.parametrize(
    ("pods", "state"),
    [
        ([pod(on="w2")], "missing"),
        ([pod()], "ready"),
        ([pod(ready=False)], "failing"),
        ([pod(ready=False), pod("speaker-2")], "ready"),
        ([pod(terminating=True)], "failing"),
        (None, None),
    ],
)
def test_the_state_of_a_nodes_speaker(pods: list[Object] | None, state: str | None) -> None:
    assert speaker_state(components(pods, []), "w1") == state


def test_variables_from_elsewhere_make_memberlist_unknown() -> None:
    containers = [
        {"name": "speaker", "image": "metallb/speaker:v0.16.1", "envFrom": [{"configMapRef": {"name": "x"}}]}
    ]
    assert metallb(components([pod(containers=containers)], []), lambda text: None).memberlist is None


def test_a_container_named_speaker_wins_over_one_with_the_image() -> None:
    copier = {"name": "cp-metrics", "image": "quay.io/metallb/speaker:v0.1.2"}
    speaker = {"name": "speaker", "image": "registry.example/mirror:v0.15.2"}
    assert metallb(components([pod(containers=[copier, speaker])], []), lambda text: None).version == "0.15.2"


def test_speakers_that_differ_leave_the_version_unknown() -> None:
    notes: list[str] = []
    two = [pod(env=ML), pod("speaker-2", on="w2", image="quay.io/metallb/speaker:v0.14.5", args=["--lb-class=x"])]
    found = metallb(components(two, []), notes.append)
    assert (found.version, found.memberlist, found.load_balancer_class) == (None, None, None)
    assert notes == ["the speakers run several versions (0.13.12, 0.14.5), so MetalLB's version is unknown"]
    assert metallb(components([pod(image="metallb/speaker:main")], []), notes.append).version is None
    assert "image tag has no version" in notes[-1]


def test_without_metallb_everything_about_it_is_unknown() -> None:
    assert metallb(components([], []), lambda text: None) == MetalLB()


# --- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gauges", "expected"),
    [
        ([], {}),
        ([(None, None)], {}),
        ([(1.0, 0.0), (1.0, 0.0)], {"config": "valid"}),
        ([(1.0, 0.0), (1.0, 1.0)], {"config": "stale"}),
        ([(0.0, 1.0)], {"config": "invalid"}),
        ([(0.0, 0.0)], {}),
    ],
)
def test_gauges_give_the_state_of_the_configuration(
    gauges: list[tuple[float | None, float | None]], expected: dict[str, str]
) -> None:
    assert configuration.state_from_gauges(gauges) == expected


def crs(**kinds: list[Object]) -> FakeCluster:
    return cluster_with(**{kind: [{"apiVersion": API, **item} for item in items] for kind, items in kinds.items()})


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
    found = configuration.configuration(api_reader(api)[0], "metallb-system", ALL_KINDS)
    assert found.pools is not None
    assert [pool.name for pool in found.pools] == ["new", "old", "far"]
    assert found.advertisements is not None
    assert [(each.name, each.pools) for each in found.advertisements] == [("old", ("old",))]


def test_pools_and_advertisements_match_their_resources() -> None:
    pool = named("p", addresses=["192.0.2.200/29"], autoAssign=False, serviceAllocation={"priority": 1})
    pool["metadata"]["labels"] = {"tier": "web"}
    found = configuration.configuration(api_reader(crs(IPAddressPool=[pool]))[0], "metallb-system", ALL_KINDS)
    assert found.pools is not None
    (made,) = found.pools
    assert (made.auto_assign, made.labels, made.service_allocation) == (False, {"tier": "web"}, {"priority": 1})
    assert found.advertisements == ()
    before = configuration.configuration(api_reader()[0], "metallb-system", frozenset())
    assert (before.pools, before.advertisements) == ((), ())


def test_an_invalid_pool_is_noted_and_makes_pools_unknown() -> None:
    reader, notes = api_reader(crs(IPAddressPool=[named("p", addresses=["192.0.2.200"])]))
    assert configuration.configuration(reader, "metallb-system", ALL_KINDS).pools is None
    assert len(notes) == 1
    assert notes[0].startswith("pools: invalid: addresses.0: Value error, '192.0.2.200' is neither a network")


def test_unknown_kinds_make_pools_unknown() -> None:
    found = configuration.configuration(api_reader()[0], "metallb-system", None)
    assert (found.pools, found.advertisements) == (None, None)
    assert configuration.state(api_reader()[0], "metallb-system", None) == {}


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([], {}),
        (["Valid", "Valid"], {"config": "valid"}),
        (["Valid", "Unknown"], {}),
        (["Valid", "Invalid"], {"config": "invalid", "config_error": "why"}),
    ],
)
def test_configuration_states(results: list[str], expected: dict[str, str]) -> None:
    items = [
        {
            "metadata": {"name": str(number), "namespace": "metallb-system"},
            "status": {"result": result, "errorSummary": "why"},
        }
        for number, result in enumerate(results)
    ]
    assert configuration.state(api_reader(crs(ConfigurationState=items))[0], "metallb-system", ALL_KINDS) == expected


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


def test_counters_and_gauges_are_parsed_from_prometheus_text() -> None:
    sample = metrics.Sample("w1", True, SHOWN)
    assert sample.counters == {
        "192.0.2.200": Counters(requests_received=12, responses_sent=11),
        "2001:db8::200": Counters(requests_received=1_000_000),
        "192.0.2.201": Counters(gratuitous_sent=10),
    }
    assert sample.gauge("metallb_k8s_client_config_loaded_bool") == 1
    assert sample.gauge("metallb_k8s_client_config_nothing") is None
    controller = metrics.Sample("w2", False, SHOWN)
    assert metrics.metrics([sample, controller]) == {"w1": sample.counters}
    assert metrics.metrics([controller]) is None


@pytest.mark.parametrize(
    ("known", "version", "place"),
    [
        ({"ports": [{"name": "monitoring", "containerPort": 7472}]}, "0.13.12", "speaker-1:7472"),
        ({"args": ["--port=7999"]}, "0.14.5", "speaker-1:7999"),
        ({}, None, "speaker-1:7472"),
    ],
)
def test_where_a_release_serves_its_metrics(known: dict[str, Any], version: str | None, place: str) -> None:
    path = f"/api/v1/namespaces/metallb-system/pods/{place}/proxy/metrics"
    api = cluster_with({path: SHOWN})
    reader, notes = api_reader(api)
    (sample,) = metrics.samples(reader, [pod(**known)], version, frozenset(), FakeMetricsClient(), speakers=True)
    assert (sample.node, sample.speaker) == ("w1", True)
    assert (api.reads[0], notes) == (path, [])


@pytest.mark.parametrize(
    ("known", "version", "port"),
    [
        ({"ports": [{"name": "metricshttps", "containerPort": 9120}]}, "0.16.1", 9120),
        ({"args": ["--port=7999"]}, "0.16.0", 7999),
        ({}, "0.16.1", 9120),
    ],
)
def test_from_0_16_metrics_are_read_on_the_node_with_a_token(known: dict[str, Any], version: str, port: int) -> None:
    api = FakeCluster()
    reader, notes = api_reader(api)
    shown = FakeMetricsClient({port: SHOWN})
    (sample,) = metrics.samples(reader, [pod(**known)], version, frozenset(), shown, speakers=True)
    assert (sample.node, sample.speaker, sample.text) == ("w1", True, SHOWN)
    assert (api.reads, notes) == ([], [])
    assert metrics.samples(reader, [pod(**known)], version, frozenset(), FakeMetricsClient(), speakers=True) == []
    assert notes == ["the metrics of speaker-1: unknown: w1: no route to host"]


def test_a_missing_token_is_noted_once_for_all_speakers() -> None:
    reader, notes = api_reader()
    pods = [pod(), pod("speaker-2", on="w2")]
    refusing = FakeMetricsClient(error=ClusterError("no ServiceAccount"))
    assert metrics.samples(reader, pods, "0.16.1", frozenset(), refusing, speakers=True) == []
    assert notes == ["MetalLB's counters: unknown: no ServiceAccount"]


def test_pods_that_are_down_are_skipped_and_other_answers_are_not_metrics() -> None:
    api = cluster_with({"/api/v1/namespaces/metallb-system/pods/speaker-1:7472/proxy/metrics": "<html>hello</html>"})
    reader, notes = api_reader(api)
    pods = [
        pod(),
        pod("speaker-2", on="w2"),
        pod("speaker-3", on="w3", ready=False),
        pod("speaker-4", terminating=True),
    ]
    assert metrics.samples(reader, pods, "0.13.12", frozenset({"w2"}), FakeMetricsClient(), speakers=True) == []
    assert api.reads == ["/api/v1/namespaces/metallb-system/pods/speaker-1:7472/proxy/metrics"]
    assert sorted(notes) == [
        "the metrics of speaker-1: unknown: the answer is not MetalLB's metrics",
        "the metrics of speaker-2: unknown: it, or its node w2, is not ready",
        "the metrics of speaker-3: unknown: it, or its node w3, is not ready",
    ]
    assert metrics.logs(reader, pods[1:2], frozenset({"w2"})) is None


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
    assert metrics.partial_join(text) is partial


def _line(event: str, interface: str) -> str:
    return f'{{"caller":"announcer.go:126","event":"{event}","interface":"{interface}","level":"info"}}\n'


def test_a_speakers_log_tells_its_interfaces() -> None:
    start = '{"msg":"MetalLB speaker starting (commit dev, branch dev)"}\n'
    head = start + _line("createARPResponder", "eth0") + _line("createNDPResponder", "eth0")
    head += _line("createARPResponder", "eth1")
    assert metrics.interfaces(head, head) == ("eth0", "eth1")
    assert metrics.interfaces(head, _line("deleteARPResponder", "eth1")) == ("eth0",)
    assert metrics.interfaces(_line("createARPResponder", "eth0"), "") is None, "the beginning is lost"


def test_a_renamed_chart_is_found_by_its_images() -> None:
    images = ("docker.io/rancher/mirrored-metallb-speaker:v0.14.8", "quay.io/metallb/controller:v0.14.8")
    labels = {"app.kubernetes.io/name": "lb"}
    pods = [pod(labels=labels, namespace="net", containers=[{"name": "c", "image": image}]) for image in images]
    found = components([*pods, pod("x", labels={}, containers=[{"name": "x", "image": "nginx:1"}])], [])
    assert (found.namespace, len(found.speakers or ()), len(found.controllers or ())) == ("net", 1, 1)
    assert metallb(found, lambda _: None).version == "0.14.8"


def test_the_label_of_charts_and_of_manifests() -> None:
    assert metallb(components([pod(labels=HELM)], []), lambda _: None).component_label == "app.kubernetes.io/component"
    assert metallb(components([pod()], []), lambda _: None).component_label == "component"
