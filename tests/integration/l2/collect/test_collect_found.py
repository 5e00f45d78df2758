"""`l2 collect` finds what the diagnosis needs, without secrets."""

from __future__ import annotations

import json
import ssl
from ipaddress import ip_address
from pathlib import Path

import jsonschema
import pytest

from provisioner.errors import Unreachable
from provisioner.kube import Cluster
from provisioner.l2 import facts_file, facts_schema
from provisioner.l2.collect import collector
from provisioner.l2.election import predictor
from provisioner.l2.facts import Endpoint
from provisioner.site import Site
from tests.integration.l2.collect.cluster import SECRET, WORKER
from tests.integration.l2.collect.speaking import KUBELET, NICS, collect, serving

pytestmark = pytest.mark.integration


def test_it_finds_what_the_diagnosis_needs(admin: Cluster, site: Site, speaker_metrics: None) -> None:
    facts, notes = collect(admin, site, worker1=NICS, master=Unreachable("master", "no route to host"))
    assert facts.metallb.version == "0.13.12"
    assert (facts.metallb.namespace, facts.metallb.memberlist) == ("metallb-system", True)
    assert (facts.metallb.ignore_exclude_lb, facts.metallb.load_balancer_class) == (False, "")
    assert facts.metallb.config == "valid", "by the gauges of the one speaker that answers"
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
    assert "the NICs of master are unknown: master: no route to host" in notes

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
    assert late.endpoints == (), "known to have none"
    assert any("default/late: requested IP 'nowhere' ignored" in note for note in notes)

    assert facts.l2_status is not None
    assert [(each.service, each.node, each.interfaces) for each in facts.l2_status] == [
        ("default/web", "worker1", ("eth1",))
    ]
    assert facts.metrics is not None
    counted = facts.metrics["worker1"]["192.0.2.200"]
    assert (counted.requests_received, counted.responses_sent, counted.gratuitous_sent) == (120, 7, 10)
    assert facts.speaker_log is None, "no kubelet answers"
    assert any(note.startswith("the log of speaker-w: unknown:") for note in notes)

    prediction = predictor.predict(facts, ip_address("192.0.2.200"), web)
    assert (prediction.candidates, prediction.leader) == (("worker1",), "worker1")


def test_the_file_loads_as_the_same_facts_without_secrets(
    admin: Cluster, site: Site, speaker_metrics: None, tmp_path: Path
) -> None:
    facts, _ = collect(admin, site, worker1=NICS)
    path = tmp_path / "facts.json"
    path.write_text(facts_file.dump(facts))
    assert facts_file.load(path) == facts
    text = path.read_text()
    schema = json.loads(facts_schema.PATH.read_text(encoding="utf-8"))
    assert not list(jsonschema.Draft202012Validator(schema).iter_errors(json.loads(text)))
    assert SECRET not in text
    assert "METALLB_ML" not in text


def test_counters_are_read_again_after_the_probes(admin: Cluster, site: Site, speaker_metrics: None) -> None:
    facts, _ = collect(admin, site)
    after = collector.metrics(admin, {})
    assert after is not None
    assert after["worker1"]["192.0.2.200"].responses_sent == 7
    assert collector.with_metrics_after(facts, after).metrics_after == after
    assert collector.from_cluster(admin, {}, site, metrics=False).metrics is None


def test_metallbs_configuration_state_wins_over_gauges(admin: Cluster, site: Site, speaker_metrics: None) -> None:
    where = {"namespace": "metallb-system", "api_version": "metallb.io/v1beta1"}
    metadata = {"name": "speaker-worker1", "namespace": "metallb-system"}
    admin.apply({"apiVersion": "metallb.io/v1beta1", "kind": "ConfigurationState", "metadata": metadata})
    status = {"result": "Invalid", "errorSummary": "pool lab overlaps"}
    admin.merge("ConfigurationState", "speaker-worker1", {"status": status}, subresource="status", **where)
    try:
        facts, _ = collect(admin, site)
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
    with serving(WORKER, KUBELET, log.encode(), tls=tls):
        facts, _ = collect(admin, site)
    assert facts.speaker_log is not None
    assert facts.speaker_log["worker1"].partial_join is partial
    assert "master" not in facts.speaker_log
