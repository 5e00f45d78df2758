"""Each verdict on an address with a wrong owner, or several, is reached by its evidence."""

from __future__ import annotations

import pytest

from provisioner.l2.facts import OtherAnnouncers, Port, SpeakerLog
from tests.unit.l2.diagnosis.segment import (
    BOTH,
    FOREIGN,
    IP,
    IPVS,
    OWN,
    ROUTER,
    SECOND,
    W1,
    W2,
    W3,
    Row,
    address,
    capture,
    facts,
    gratuitous,
    healthy,
    heard,
    judge,
    nic,
    nodes,
    pools,
    reaches,
    service,
    sharing,
    syn,
    two_nics,
    vantage,
)

TABLE: list[Row] = [
    (
        "SPEAKER_DOWN",
        healthy(W1),
        facts(nodes=nodes(w2={"speaker": "failing"})),
        "certain",
        "w2 should announce 192.0.2.200 by MetalLB's election, but its speaker is failing.",
        "spec.nodeName=w2",
    ),
    (
        "ARP_FLUX_IPVS",
        capture(heard(W2), heard(W1, length=42), heard(W3, length=42), syn(W2), syn(W1), syn(W3)),
        facts(kube_proxy=IPVS),
        "certain",
        "kube-proxy runs in IPVS mode without strictARP",
        "kubectl -n kube-system edit configmap kube-proxy",
    ),
    (
        "SPLIT_BRAIN",
        BOTH,
        facts(speaker_log={"w1": SpeakerLog(partial_join=True)}),
        "certain",
        "w2 and w1 answer for 192.0.2.200 at the same time.",
        "provisioner exec --limit w2 -- nc -zvw3 192.0.2.11 7946",
    ),
    ("SPLIT_BRAIN", BOTH, facts(), "likely", "w2 and w1 answer", "7946"),
    (
        "SHARED_IP_SPLIT",
        BOTH,
        facts(services=sharing(ports=(Port(port=53),))),
        "certain",
        "share 192.0.2.200; predicted leaders: w1 for default/web and w2 for default/dns.",
        "l2advertisements",
    ),
    (
        "MULTI_NIC_SAME_SEGMENT",
        capture(heard(W2), heard(SECOND), syn(W2), syn(SECOND)),
        facts(nodes=nodes(w2={"nics": two_nics()})),
        "certain",
        "w2 answers on eth1 and eth2, all on this segment.",
        """kubectl -n metallb-system patch l2advertisement all --type merge -p '{"spec":{"interfaces":["eth1"]}}'""",
    ),
    (
        "ADDRESS_CONFLICT",
        capture(heard(W2), heard(FOREIGN), syn(W2), syn(FOREIGN)),
        facts(),
        "certain",
        f"{FOREIGN} (not a cluster node, Raspberry Pi Foundation) answers for {IP}.",
        "kubectl -n metallb-system edit ipaddresspool lab",
    ),
    ("ADDRESS_CONFLICT", healthy(FOREIGN), facts(), "certain", FOREIGN, "ipaddresspool lab"),
    (
        "POOL_ADDRESS_IN_USE",
        capture(heard(FOREIGN)),
        facts(services=()),
        "certain",
        f"No Service has {IP} of pool lab, but {FOREIGN}",
        "ipaddresspool lab",
    ),
    (
        "POOL_OFF_SUBNET",
        capture(heard(W3, ip="198.51.100.5"), syn(W3, ip="198.51.100.5"), targets=(address("198.51.100.5"),)),
        facts(pools=pools("198.51.100.0/24"), services=(service(ingress_ips=("198.51.100.5",)),)),
        "likely",
        "198.51.100.5 of pool lab is in no subnet of this segment (192.0.2.0/24)",
        "ipaddresspool lab",
    ),
    (
        "PROXY_ARP",
        capture(
            heard(ROUTER, "BU", rtt=0.4),
            syn(ROUTER),
            vantage=vantage(gateways=(address("192.0.2.254"),), neighbours={address("192.0.2.254"): ROUTER}),
        ),
        facts(),
        "certain",
        f"answers requests for {IP} from 192.0.2.1, but no probe from 0.0.0.0.",
        "ip neigh show dev eth1",
    ),
    (
        "PROXY_ARP",
        capture(heard(W1, "BU"), syn(W1)),
        facts(nodes=nodes(w1={"nics": (nic("w1", proxy_arp=True),)})),
        "certain",
        "w1 eth1",
        "provisioner exec --limit w1 -- sysctl -w net.ipv4.conf.eth1.proxy_arp=0",
    ),
    (
        "AMBIGUOUS_MAC",
        capture(heard(W2), syn(W2), heard(W2, "ZB", OWN["w1"]), heard(W2, "ZB", OWN["w2"]), quiet=True),
        facts(nodes=nodes(w1={"nics": None}, w2={"nics": None})),
        "certain",
        f"{W2} answers for {IP} and belongs to w1 and w2; which of them answers is unknown.",
        "ip neigh",
    ),
    (
        "KUBE_VIP_DUPLICATE",
        capture(
            heard(W2),
            heard(W1, length=42),
            syn(W2),
            syn(W1),
            *(gratuitous(W1, 100.0 + 3 * number, metallb=False) for number in range(4)),
        ),
        facts(others=OtherAnnouncers(kube_vip=True)),
        "certain",
        f"w1 eth1 ({W1}) announces {IP} every 3 s, as kube-vip does.",
        "kubectl get pods -A -o wide | grep kube-vip",
    ),
    (
        "SERVICELB_CONFLICT",
        capture(heard(W1, ip=OWN["w1"], length=42), syn(W1, ip=OWN["w1"]), quiet=True),
        facts(services=(service(ingress_ips=(OWN["w1"],)),), others=OtherAnnouncers(servicelb=True)),
        "certain",
        "default/web has 192.0.2.11, which is w1's own address and in no MetalLB pool.",
        "kubectl get pods -A -o wide | grep svclb-",
    ),
    (
        "CILIUM_L2_CONFLICT",
        BOTH,
        facts(others=OtherAnnouncers(cilium_l2=True)),
        "likely",
        "Cilium announces external IPs on layer 2",
        "kubectl get ciliuml2announcementpolicies",
    ),
]
IPS = {"POOL_OFF_SUBNET": "198.51.100.5", "SERVICELB_CONFLICT": OWN["w1"]}


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_a_verdict_is_reached_by_its_evidence(row: Row) -> None:
    reaches(row, IPS.get(row[0], IP))


def test_a_pool_that_contains_a_nodes_or_the_routers_address() -> None:
    own = facts(pools=pools("192.0.2.10-192.0.2.254"), services=(service(ingress_ips=(OWN["w1"],)),))
    result = judge(capture(syn(W1, ip=OWN["w1"])), own, OWN["w1"])
    assert (result.verdict, result.confidence) == ("POOL_OVERLAPS_NODE", "certain")
    assert result.evidence[0] == "192.0.2.11 of pool lab is w1's own address."
    routed = vantage(gateways=(address("192.0.2.254"),))
    run = capture(heard(ROUTER, ip="192.0.2.254"), targets=(address("192.0.2.254"),), vantage=routed)
    result = judge(run, own, "192.0.2.254")
    assert result.verdict == "POOL_OVERLAPS_NODE"
    assert result.evidence[0] == "192.0.2.254 of pool lab is the router of this segment."
    # Another address of that pool may be OK, and its evidence lists the overlaps.
    overlapping = facts(pools=pools("192.0.2.10-192.0.2.254"))
    result = judge(capture(heard(W2), syn(W2), vantage=routed), overlapping)
    assert result.verdict == "OK"
    assert any("192.0.2.12 (w2)" in one and "192.0.2.254 (the router)" in one for one in result.evidence)
