"""MetalLB 0.16 shows its counters to bearers of a token alone: refused, let in, and what they prove."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from provisioner.kube import Cluster, templates
from provisioner.site import Site
from tests.integration.kube import reaching
from tests.integration.kube.apiserver import ControlPlane
from tests.integration.l2.stage import collected, newest
from tests.integration.l2.stage.metallb import Api
from tests.integration.l2.stage.newest import Newest
from tests.integration.l2.stage.street import Street, until
from tests.integration.l2.stage.town import EXCLUDED, Town

pytestmark = pytest.mark.integration

NAMESPACE = "metallb-system"
SWITCH = {
    "INGRESS_LOST": ("type filter hook forward priority 0", "oifname p12 arp daddr ip {ip} drop"),
    "EGRESS_FILTERED": ("type filter hook prerouting priority -300", "iifname p12 arp saddr ip {ip} drop"),
}


@dataclass
class Suburb:
    """A town with one MetalLB of the newest release, the Cluster that the product sees, and its site."""

    town: Town
    metallb: Newest
    cluster: Cluster
    site: Site


@pytest.fixture(scope="module")
def suburb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suburb]:
    """Give two nodes with speakers that have their configuration; skip where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    newest.speaker()
    folder = tmp_path_factory.mktemp("suburb")
    site = reaching.load(tmp_path_factory.mktemp("site"))
    plane = ControlPlane(folder, unserved=newest.OLD_SLICES)
    street = Street(f"pnw-{os.getpid()}-", folder=folder)
    try:
        plane.start_etcd()
        plane.start_api()
        with reaching.connecting(site) as connect:
            cluster = connect(plane.kubeconfig())
            town = Town(street, Api(plane))
            metallb = Newest(town.api, street, NAMESPACE, tokens=folder)
            newest.define(cluster)
            metallb.enter(cluster.token(NAMESPACE, "speaker", 3600))
            street.namespace("bridge")
            street.shell("bridge", "ip link add br0 type bridge; ip link set br0 up")
            street.node("prober", 1, "192.0.2.1/24")
            for name, number in (("w1", 11), ("w2", 12)):
                street.node(name, number, f"192.0.2.{number}/24")
                street.serve(name)
                metallb.node(name, f"192.0.2.{number}")
            metallb.pool("main", "192.0.2.170-192.0.2.229")
            metallb.advertise("main")
            for name in metallb.nodes:
                metallb.start(name)
            for name in metallb.nodes:
                until(partial(metallb.said, name, "Serving metrics server"), f"{name} to serve its metrics", 90)
            yield Suburb(town, metallb, cluster, site)
    finally:
        street.close()
        plane.stop()


def let_in(suburb: Suburb) -> dict[str, Any]:
    """Apply our manifest and return the counters as soon as every speaker shows them.

    They remember a refusal for a while (controller-runtime, filters: up to 30 seconds).
    """
    for item in templates.read(suburb.site, "metallb/metrics.yaml"):
        suburb.cluster.apply(item)
    found: dict[str, Any] = {}

    def shown() -> bool:
        found.update(suburb.metallb.counted(suburb.cluster, []) or {})
        return found.keys() == suburb.metallb.nodes.keys()

    until(shown, "both speakers to let the token in", 120)
    return found


def test_nobody_reads_the_counters_before_our_manifest_is_there(suburb: Suburb) -> None:
    """First there is no account; then the account may not, and MetalLB may not even ask who it is."""
    account, *_ = templates.read(suburb.site, "metallb/metrics.yaml")
    notes: list[str] = []
    assert suburb.metallb.counted(suburb.cluster, notes) is None
    assert notes == [
        "MetalLB's counters: unknown: they require a token, and there is no ServiceAccount "
        "provisioner-metrics in metallb-system: kubectl apply -f metallb/metrics.yaml"
    ]
    suburb.cluster.apply(account)
    notes.clear()
    assert suburb.metallb.counted(suburb.cluster, notes) is None
    assert len(notes) == 2
    for note in notes:
        assert "does not accept the token of provisioner-metrics (" in note
        assert note.endswith("kubectl apply -f metallb/metrics.yaml")
    found = let_in(suburb)
    assert found.keys() == {"w1", "w2"}


def test_the_newest_speaker_answers_and_is_who_was_predicted(suburb: Suburb) -> None:
    """The election is that of 0.13, by the address and the node."""
    ip = suburb.town.of_system("w1")
    suburb.town.announced(suburb.metallb, ip, "w1")
    one = suburb.town.check(suburb.metallb, ip)
    assert one.verdict == "OK", one.result
    assert one.notable == []
    assert one.who() == {("w1", "eth1", "speaker")}


def test_lost_on_the_way_in_and_lost_on_the_way_out_are_told_apart_by_its_counters(suburb: Suburb) -> None:
    """To a client both are the same silence."""
    town, metallb, notes = suburb.town, suburb.metallb, list[str]()
    let_in(suburb)
    ips = {verdict: town.of_system("w2") for verdict in SWITCH}
    for ip in ips.values():
        town.announced(metallb, ip, "w2")
    with ExitStack() as stack:
        for number, (verdict, (chain, rule)) in enumerate(SWITCH.items()):
            rules = town.street.rules("bridge", f"bridge switch{number}", chain, rule.format(ip=ips[verdict]))
            stack.enter_context(rules)
        before = metallb.counted(suburb.cluster, notes)
        town.check_all(metallb, [*ips.values()])
        after = metallb.counted(suburb.cluster, notes)
        assert before, notes
        assert after, notes
        counted = collected.facts(metallb, metrics=before, metrics_after=after)
        told = town.check_all(metallb, [*ips.values()], facts=counted)
    assert {verdict: told[ip].verdict for verdict, ip in ips.items()} == {verdict: verdict for verdict in SWITCH}


def test_nodes_that_are_all_excluded_leave_silence(suburb: Suburb) -> None:
    """Every candidate carries the label that load balancers honour, since 0.14.2 also this one."""
    town, metallb = suburb.town, suburb.metallb
    ip = town.of_system("w1")
    town.announced(metallb, ip, "w1")
    try:
        for name in metallb.nodes:
            metallb.api.patch(f"/api/v1/nodes/{name}", {"metadata": {"labels": EXCLUDED}})
        town.wait_announced(metallb, ip)
        one = town.check(metallb, ip)
    finally:
        for name in metallb.nodes:
            metallb.api.patch(f"/api/v1/nodes/{name}", {"metadata": {"labels": dict.fromkeys(EXCLUDED)}})
    assert (one.exit, one.verdict) == (1, "EXCLUDE_LABEL"), one.result
    assert not one.owners
    town.wait_announced(metallb, ip, "w1")
