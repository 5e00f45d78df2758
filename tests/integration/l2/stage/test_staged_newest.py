"""MetalLB 0.16 requires a token for its counters: refused, accepted, and what the counters prove."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from provisioner.kube import Cluster, templates
from provisioner.l2.collect.metrics_token import REMEDY
from provisioner.site import Site
from tests.integration.kube import reaching
from tests.integration.kube.apiserver import ControlPlane
from tests.integration.l2.stage import collected, newest
from tests.integration.l2.stage.metallb import Api
from tests.integration.l2.stage.network import StageNetwork, until
from tests.integration.l2.stage.newest import Newest
from tests.integration.l2.stage.stage import EXCLUDED, Stage

pytestmark = pytest.mark.integration

NAMESPACE = "metallb-system"
SWITCH = {
    "INGRESS_LOST": ("type filter hook forward priority 0", "oifname p12 arp daddr ip {ip} drop"),
    "EGRESS_FILTERED": ("type filter hook prerouting priority -300", "iifname p12 arp saddr ip {ip} drop"),
}


@dataclass
class NewestStage:
    """A stage with one MetalLB of the newest release, the product's Cluster, and its site."""

    stage: Stage
    metallb: Newest
    cluster: Cluster
    site: Site


@pytest.fixture(scope="module")
def newest_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewestStage]:
    """Yield two nodes whose speakers have their configuration; skip if that is impossible."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    newest.speaker()
    folder = tmp_path_factory.mktemp("newest")
    site = reaching.load(tmp_path_factory.mktemp("site"))
    plane = ControlPlane(folder, unserved=newest.OLD_SLICES)
    network = StageNetwork(f"pnw-{os.getpid()}-", folder=folder)
    try:
        plane.start_etcd()
        plane.start_api()
        with reaching.connecting(site) as connect:
            cluster = connect(plane.kubeconfig())
            stage = Stage(network, Api(plane))
            metallb = Newest(stage.api, network, NAMESPACE, directory=folder)
            newest.define(cluster)
            metallb.authenticate(cluster.token(NAMESPACE, "speaker", 3600))
            network.namespace("bridge")
            network.shell("bridge", "ip link add br0 type bridge; ip link set br0 up")
            network.node("prober", 1, "192.0.2.1/24")
            for name, number in (("w1", 11), ("w2", 12)):
                network.node(name, number, f"192.0.2.{number}/24")
                network.serve(name)
                metallb.node(name, f"192.0.2.{number}")
            metallb.pool("main", "192.0.2.170-192.0.2.229")
            metallb.advertise("main")
            for name in metallb.nodes:
                metallb.start(name)
            for name in metallb.nodes:
                until(partial(metallb.log_lines, name, "Serving metrics server"), f"{name} to serve its metrics", 90)
            yield NewestStage(stage, metallb, cluster, site)
    finally:
        network.close()
        plane.stop()


def authorize(newest_stage: NewestStage) -> dict[str, Any]:
    """Apply the product's manifest and return the counters once every speaker exposes them.

    They cache a refusal (controller-runtime, filters: up to 30 seconds).
    """
    for item in templates.read(newest_stage.site, "metallb/metrics.yaml"):
        newest_stage.cluster.apply(item)
    found: dict[str, Any] = {}

    def complete() -> bool:
        found.update(newest_stage.metallb.counters(newest_stage.cluster, []) or {})
        return found.keys() == newest_stage.metallb.nodes.keys()

    until(complete, "both speakers to accept the token", 120)
    return found


def test_counters_are_unreadable_before_the_manifest_is_applied(newest_stage: NewestStage) -> None:
    """First there is no account; then it has no permission, nor has MetalLB to review its token."""
    account, *_ = templates.read(newest_stage.site, "metallb/metrics.yaml")
    notes: list[str] = []
    assert newest_stage.metallb.counters(newest_stage.cluster, notes) is None
    assert notes == [
        "MetalLB's counters: unknown: they require a token, and there is no ServiceAccount "
        f"provisioner-metrics in metallb-system: {REMEDY}"
    ]
    newest_stage.cluster.apply(account)
    notes.clear()
    assert newest_stage.metallb.counters(newest_stage.cluster, notes) is None
    assert len(notes) == 2
    for note in notes:
        assert "does not accept the token of provisioner-metrics (" in note
        assert note.endswith(REMEDY)
    found = authorize(newest_stage)
    assert found.keys() == {"w1", "w2"}


def test_the_newest_speaker_answers_as_predicted(newest_stage: NewestStage) -> None:
    """The election is that of 0.13, by address and node."""
    ip = newest_stage.stage.free_in_system("w1")
    newest_stage.stage.announced(newest_stage.metallb, ip, "w1")
    one = newest_stage.stage.check(newest_stage.metallb, ip)
    assert one.verdict == "OK", one.result
    assert one.notable == []
    assert one.owner_kinds() == {("w1", "eth1", "speaker")}


def test_counters_distinguish_frames_lost_inbound_and_outbound(newest_stage: NewestStage) -> None:
    """A client sees the same silence."""
    stage, metallb, notes = newest_stage.stage, newest_stage.metallb, list[str]()
    authorize(newest_stage)
    ips = {verdict: stage.free_in_system("w2") for verdict in SWITCH}
    for ip in ips.values():
        stage.announced(metallb, ip, "w2")
    with ExitStack() as stack:
        for number, (verdict, (chain, rule)) in enumerate(SWITCH.items()):
            rules = stage.network.rules("bridge", f"bridge switch{number}", chain, rule.format(ip=ips[verdict]))
            stack.enter_context(rules)
        before = metallb.counters(newest_stage.cluster, notes)
        stage.check_all(metallb, [*ips.values()])
        after = metallb.counters(newest_stage.cluster, notes)
        assert before, notes
        assert after, notes
        counted = collected.facts(metallb, metrics=before, metrics_after=after)
        told = stage.check_all(metallb, [*ips.values()], facts=counted)
    assert {verdict: told[ip].verdict for verdict, ip in ips.items()} == {verdict: verdict for verdict in SWITCH}


def test_excluding_all_nodes_causes_silence(newest_stage: NewestStage) -> None:
    """Every candidate has the exclude label, which MetalLB respects since 0.14.2."""
    stage, metallb = newest_stage.stage, newest_stage.metallb
    ip = stage.free_in_system("w1")
    stage.announced(metallb, ip, "w1")
    try:
        for name in metallb.nodes:
            metallb.api.patch(f"/api/v1/nodes/{name}", {"metadata": {"labels": EXCLUDED}})
        stage.wait_announced(metallb, ip)
        one = stage.check(metallb, ip)
    finally:
        for name in metallb.nodes:
            metallb.api.patch(f"/api/v1/nodes/{name}", {"metadata": {"labels": dict.fromkeys(EXCLUDED)}})
    assert (one.exit, one.verdict) == (1, "EXCLUDE_LABEL"), one.result
    assert not one.owners
    stage.wait_announced(metallb, ip, "w1")
