"""Each verdict on an address without a reply, or without one that a client needs, is reached by its evidence."""

from __future__ import annotations

from ipaddress import IPv4Interface

import pytest

from provisioner.l2.election.rules import EXCLUDE_LABEL as EXCLUDE
from provisioner.l2.facts import Advertisement, Endpoint, Pool, ServiceEvent
from tests.unit.l2.diagnosis.segment import (
    ANNOUNCES,
    IP,
    IP6,
    NO_W2,
    OFF,
    SILENT,
    W2,
    Row,
    address,
    capture,
    counted,
    each_node,
    facts,
    gratuitous,
    heard,
    ipv6,
    metallb,
    nic,
    nodes,
    pools,
    reaches,
    service,
    syn,
    vantage,
)

WIDE = vantage(addresses=(IPv4Interface("192.0.2.1/22"),))  # in which 192.0.2.255 is no broadcast address
TABLE: list[Row] = [
    (
        "CONFIG_INVALID",
        SILENT,
        facts(metallb=metallb(config="invalid", config_error="pool lab overlaps pool old")),
        "likely",
        "keeps running the last valid one: pool lab overlaps pool old.",
        "kubectl -n metallb-system logs deployment/controller --tail=50",
    ),
    ("CONFIG_STALE", SILENT, facts(metallb=metallb(config="stale")), "likely", "latest configuration", "controller"),
    (
        "NO_L2ADVERTISEMENT",
        SILENT,
        facts(
            pools=(*pools("192.0.2.200-192.0.2.210"), Pool(name="other", addresses=("198.51.100.0/24",))),
            advertisements=(Advertisement(name="other", pools=("other",)),),
        ),
        "certain",
        "No L2Advertisement covers pool lab (existing: other).",
        "kind: L2Advertisement\\nmetadata: {name: lab, namespace: metallb-system}",
    ),
    (
        "NO_L2ADVERTISEMENT",
        SILENT,
        facts(
            advertisements=(
                Advertisement(name="db", pools=("lab",), service_selectors=({"matchLabels": {"a": "b"}},)),
            )
        ),
        "certain",
        "L2Advertisement db covers pool lab, but not Service default/web.",
        "kubectl -n metallb-system edit l2advertisement db",
    ),
    (
        "EXCLUDE_LABEL",
        SILENT,
        facts(nodes=each_node(labels={EXCLUDE: ""})),
        "certain",
        f"w1, w2 and w3 have the label {EXCLUDE}, which MetalLB 0.16.1 honors.",
        f"kubectl label node w1 w2 w3 {EXCLUDE}-",
    ),
    (
        "NODE_SELECTOR_EMPTY",
        SILENT,
        facts(advertisements=(Advertisement(name="a", node_selectors=({"matchLabels": {"zone": "x"}},)),)),
        "certain",
        "The nodeSelectors of L2Advertisement a match no candidate node.",
        "kubectl -n metallb-system edit l2advertisement a",
    ),
    (
        "NO_ENDPOINTS",
        SILENT,
        facts(services=(service(endpoints=(Endpoint(node="w1", ready=False),)),)),
        "certain",
        "Service default/web has 1 endpoint, none ready",
        "kubectl -n default get endpointslices -l kubernetes.io/service-name=web -o wide",
    ),
    (
        "LOCAL_NO_CANDIDATE",
        SILENT,
        facts(
            nodes=nodes(w1={"labels": {EXCLUDE: ""}}),
            services=(service(external_traffic_policy="Local"),),
        ),
        "certain",
        "its ready endpoints are on w1, not a candidate",
        """kubectl -n default patch service web -p '{"spec":{"externalTrafficPolicy":"Cluster"}}'""",
    ),
    (
        "SPEAKER_DOWN",
        SILENT,
        facts(nodes=each_node(speaker="missing")),
        "certain",
        "w2 should announce 192.0.2.200 by MetalLB's election, but has no speaker.",
        "kubectl -n metallb-system get pods -l component=speaker -o wide --field-selector spec.nodeName=w2",
    ),
    (
        "INTERFACE_MISSING",
        SILENT,
        facts(
            advertisements=(Advertisement(name="a", interfaces=("ens5",)),),
            services=(
                service(
                    events=(
                        ServiceEvent(reason="nodeAssigned", node="w2"),
                        ServiceEvent(reason="announceFailed", node="w2", message="the interfaces don't exist"),
                    )
                ),
            ),
        ),
        "certain",
        "L2Advertisement a allows only ens5, but w2, which should announce 192.0.2.200, has eth0 and eth1.",
        "kubectl -n metallb-system edit l2advertisement a",
    ),
    (
        "LEADER_OFF_SEGMENT",
        NO_W2,
        facts(nodes=OFF),
        "certain",
        "w2 should announce 192.0.2.200, but none of its interfaces is on this segment",
        "kubectl -n metallb-system edit l2advertisement all",
    ),
    (
        "BROADCAST_BLIND",
        capture(heard(W2, "U")),
        facts(),
        "certain",
        f"{IP} was probed twice from 0.0.0.0, once from 192.0.2.1 and by unicast to w1 eth1, w2 eth1 and w3 eth1; "
        f"only the unicast request was answered, by w2 eth1 ({W2}).",
        "provisioner exec --limit w2 -- ip -details link show dev eth1",
    ),
    (
        "BROADCAST_BLIND",
        capture(gratuitous(W2, 100.5), gratuitous(W2, 101.6)),
        facts(),
        "likely",
        f"w2 eth1 ({W2}) announced {IP} twice and answered no request.",
        "ip -details link show",
    ),
    (
        "EGRESS_FILTERED",
        SILENT,
        facts(metrics=counted(3, 3), metrics_after=counted(6, 6)),
        "certain",
        "w2's speaker sent 3 responses for 192.0.2.200 to 3 requests during this run",
        "provisioner exec --limit w2 -- timeout 10 tcpdump -eni eth1 'arp and host 192.0.2.200'",
    ),
    (
        "INGRESS_LOST",
        NO_W2,
        facts(metrics=counted(3, 3), metrics_after=counted(3, 3), l2_status=ANNOUNCES),
        "certain",
        "w2's speaker received no request for 192.0.2.200 during this run.",
        "tcpdump -eni eth1",
    ),
    (
        "NO_FAILOVER_MEMBERLIST_OFF",
        SILENT,
        facts(metallb=metallb(memberlist=False), nodes=nodes(w2={"ready": False})),
        "certain",
        "w2 should announce 192.0.2.200 but is not ready; memberlist is off",
        "kubectl -n metallb-system get daemonset speaker",
    ),
    (
        "NDP_RESPONDER_FAILED",
        capture(heard(W2), syn(W2), targets=(address(IP6),)),
        ipv6(
            nodes=nodes(
                w2={"nics": (nic("w2", addresses=("192.0.2.12/24", "fe80::12/64"), dad_failed=("fe80::12/64",)),)}
            )
        ),
        "certain",
        "fe80::12 on w2's eth1 is dadfailed",
        "provisioner exec --limit w2 -- ip -6 address show dev eth1",
    ),
    (
        "NDP_RESPONDER_FAILED",
        capture(heard(W2), syn(W2), targets=(address(IP6),)),
        ipv6(nodes=nodes(w2={"nics": (nic("w2", addresses=("192.0.2.12/24",)),)})),
        "certain",
        "w2's eth1 has no IPv6 link-local address",
        "provisioner exec --limit w2 -- ip -6 address show dev eth1",
    ),
    (
        "BUGGY_IP",
        capture(heard(W2), syn(W2), targets=(address("192.0.2.255"),), vantage=WIDE),
        facts(
            pools=pools("192.0.2.200-192.0.2.255"),
            services=(service(), service(name="edge", ingress_ips=("192.0.2.255",))),
        ),
        "likely",
        "In pool lab, 192.0.2.200 works, and only 192.0.2.255 fails",
        """kubectl -n metallb-system patch ipaddresspool lab --type merge -p '{"spec":{"avoidBuggyIPs":true}}'""",
    ),
    (
        "UNKNOWN",
        SILENT,
        facts(),
        "certain",
        f"{IP} was probed twice from 0.0.0.0, once from 192.0.2.1 and by unicast to w1 eth1, w2 eth1 and w3 eth1; no "
        "reply.",
        "provisioner exec --limit w2 -- timeout 10 tcpdump -eni eth1 'arp and host 192.0.2.200'",
    ),
]
IPS = {"NDP_RESPONDER_FAILED": IP6, "BUGGY_IP": "192.0.2.255"}


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_a_verdict_is_reached_by_its_evidence(row: Row) -> None:
    reaches(row, IPS.get(row[0], IP))
