"""Each verdict and each warning is reached by its evidence, and by nothing less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from provisioner.l2 import diagnosis
from provisioner.l2.election_rules import EXCLUDE_LABEL as EXCLUDE
from provisioner.l2.facts import (
    Advertisement,
    Counters,
    Endpoint,
    Event,
    Facts,
    KubeProxy,
    L2Status,
    Others,
    Pool,
    Port,
    SpeakerLog,
)
from provisioner.l2.wire import Wire

from .segment import (
    IP,
    IP6,
    OWN,
    ROUTER,
    STRANGER,
    W1,
    W2,
    W3,
    address,
    facts,
    gratuitous,
    heard,
    judge,
    kernels,
    metallb,
    nat,
    nic,
    nodes,
    service,
    syn,
    vantage,
    well,
    wire,
)

SILENT = wire()
TWO = wire(heard(W2), heard(W1), syn(W2), syn(W1))
COUNTED = {"w2": {IP: Counters(requests_received=3, responses_sent=3)}}
MORE = {"w2": {IP: Counters(requests_received=6, responses_sent=6)}}


def ipv6(**changes: Any) -> Facts:
    both = service(ingress_ips=(IP, IP6))
    return facts(services=(both,), **changes)


def pools(*addresses: str, **changes: Any) -> tuple[Pool, ...]:
    return (Pool(name="lab", addresses=addresses, **changes),)


# verdict, what was heard, what is known, confidence, words of the first sentence, words of the command
TABLE: list[tuple[str, Wire, Facts | None, str, str, str]] = [
    ("OK", well(), facts(), "certain", f"w2 eth1 ({W2}) answers for {IP}", ""),
    (
        "CONFIG_INVALID",
        SILENT,
        facts(metallb=metallb(config="invalid", config_error="pool lab overlaps pool old")),
        "likely",
        "goes on with the last good one: pool lab overlaps pool old.",
        "kubectl -n metallb-system logs deployment/controller --tail=50",
    ),
    ("CONFIG_STALE", SILENT, facts(metallb=metallb(config="stale")), "likely", "newest configuration", "controller"),
    (
        "NO_L2ADVERTISEMENT",
        SILENT,
        facts(advertisements=(Advertisement(name="other", pools=("other",)),)),
        "certain",
        "No L2Advertisement covers pool lab (there are: other).",
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
        facts(nodes=nodes(**{name: {"labels": {EXCLUDE: ""}} for name in OWN})),
        "certain",
        f"w1, w2 and w3 carry the label {EXCLUDE}, and MetalLB 0.16.1 honours it.",
        f"kubectl label node w1 w2 w3 {EXCLUDE}-",
    ),
    (
        "NODE_SELECTOR_EMPTY",
        SILENT,
        facts(advertisements=(Advertisement(name="a", node_selectors=({"matchLabels": {"zone": "x"}},)),)),
        "certain",
        "The node selectors of L2Advertisement a admit none",
        "kubectl -n metallb-system edit l2advertisement a",
    ),
    (
        "NO_ENDPOINTS",
        SILENT,
        facts(services=(service(endpoints=(Endpoint(node="w1", ready=False),)),)),
        "certain",
        "Service default/web has 1 endpoint, none of them ready",
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
        "its ready endpoints are on w1, which may not announce",
        """kubectl -n default patch service web -p '{"spec":{"externalTrafficPolicy":"Cluster"}}'""",
    ),
    (
        "SPEAKER_DOWN",
        SILENT,
        facts(nodes=nodes(**{name: {"speaker": "missing"} for name in OWN})),
        "certain",
        "w2 should announce 192.0.2.200 by MetalLB's election, and has no speaker.",
        "kubectl -n metallb-system get pods -l component=speaker -o wide --field-selector spec.nodeName=w2",
    ),
    (
        "SPEAKER_DOWN",
        well(W1),
        facts(nodes=nodes(w2={"speaker": "failing"})),
        "certain",
        "w2 should announce 192.0.2.200 by MetalLB's election, and has a speaker that fails.",
        "spec.nodeName=w2",
    ),
    (
        "INTERFACE_MISSING",
        SILENT,
        facts(
            advertisements=(Advertisement(name="a", interfaces=("ens5",)),),
            services=(
                service(
                    events=(
                        Event(reason="nodeAssigned", node="w2"),
                        Event(reason="announceFailed", node="w2", message="the interfaces don't exist"),
                    )
                ),
            ),
        ),
        "certain",
        "L2Advertisement a allows ens5 only, and w2, which should announce 192.0.2.200, has eth0 and eth1.",
        "kubectl -n metallb-system edit l2advertisement a",
    ),
    (
        "LEADER_OFF_SEGMENT",
        wire(kernels("w1", "w3"), quiet=True),
        facts(nodes=nodes(w2={"nics": (nat(), nic("w2", addresses=("203.0.113.12/24",)))})),
        "certain",
        "w2 should announce 192.0.2.200, and none of its interfaces is on this segment",
        "kubectl -n metallb-system edit l2advertisement all",
    ),
    (
        "BROADCAST_BLIND",
        wire(heard(W2, "U")),
        facts(),
        "certain",
        f"{IP} was asked 2 times as nobody, once as 192.0.2.1 and directly at w1 eth1, w2 eth1 and w3 eth1; only the "
        f"direct question was answered, by w2 eth1 ({W2}).",
        "provisioner exec --limit w2 -- ip link set eth1 promisc on",
    ),
    (
        "BROADCAST_BLIND",
        wire(gratuitous(W2, 100.5), gratuitous(W2, 101.6)),
        facts(),
        "likely",
        f"w2 eth1 ({W2}) announced {IP} 2 times and answered no question.",
        "promisc",
    ),
    (
        "EGRESS_FILTERED",
        SILENT,
        facts(metrics=COUNTED, metrics_after=MORE),
        "certain",
        "w2's speaker sent 3 responses for 192.0.2.200 to the 3 requests that it received during this run",
        "provisioner exec --limit w2 -- timeout 10 tcpdump -eni eth1 'arp and host 192.0.2.200'",
    ),
    (
        "INGRESS_LOST",
        wire(kernels("w1", "w3"), quiet=True),
        facts(metrics=COUNTED, metrics_after=COUNTED, l2_status=(L2Status(service="default/web", node="w2"),)),
        "certain",
        "w2's speaker received none of the requests for 192.0.2.200",
        "tcpdump -eni eth1",
    ),
    (
        "NO_FAILOVER_MEMBERLIST_OFF",
        SILENT,
        facts(metallb=metallb(memberlist=False), nodes=nodes(w2={"ready": False})),
        "certain",
        "w2 should announce 192.0.2.200 and is not ready; memberlist is off",
        "kubectl -n metallb-system get daemonset speaker",
    ),
    (
        "ARP_FLUX_IPVS",
        wire(heard(W2), heard(W1, length=42), heard(W3, length=42), syn(W2), syn(W1), syn(W3)),
        facts(kube_proxy=KubeProxy(mode="ipvs", strict_arp=False)),
        "certain",
        "kube-proxy runs in ipvs mode without strictARP",
        "kubectl -n kube-system edit configmap kube-proxy",
    ),
    (
        "SPLIT_BRAIN",
        TWO,
        facts(speaker_log={"w1": SpeakerLog(partial_join=True)}),
        "certain",
        "w2 and w1 answer for 192.0.2.200 at the same time.",
        "provisioner exec --limit w2 -- nc -zvw3 192.0.2.11 7946",
    ),
    ("SPLIT_BRAIN", TWO, facts(), "likely", "w2 and w1 answer", "7946"),
    (
        "SHARED_IP_SPLIT",
        TWO,
        facts(
            services=(
                service(allow_shared_ip="a", external_traffic_policy="Local"),
                service(
                    name="dns",
                    allow_shared_ip="a",
                    external_traffic_policy="Local",
                    endpoints=(Endpoint(node="w2"),),
                    ports=(Port(port=53),),
                ),
            )
        ),
        "certain",
        "share 192.0.2.200: default/web is announced by w1 and default/dns is announced by w2.",
        "l2advertisements",
    ),
    (
        "MULTI_NIC_SAME_SEGMENT",
        wire(heard(W2), heard("52:54:00:00:01:12"), syn(W2), syn("52:54:00:00:01:12")),
        facts(
            nodes=nodes(
                w2={
                    "nics": (nic("w2"), nic("w2", name="eth2", mac="52:54:00:00:01:12", addresses=("192.0.2.112/24",)))
                }
            )
        ),
        "certain",
        "w2 answers with its interfaces eth1 and eth2, which are on the same segment.",
        """kubectl -n metallb-system patch l2advertisement all --type merge -p '{"spec":{"interfaces":["eth1"]}}'""",
    ),
    (
        "ADDRESS_CONFLICT",
        wire(heard(W2), heard(STRANGER), syn(W2), syn(STRANGER)),
        facts(),
        "certain",
        f"{STRANGER} (no node's, by Raspberry Pi Foundation) answers for {IP}.",
        "kubectl -n metallb-system edit ipaddresspool lab",
    ),
    ("ADDRESS_CONFLICT", well(STRANGER), facts(), "certain", STRANGER, "ipaddresspool lab"),
    (
        "POOL_ADDRESS_IN_USE",
        wire(heard(STRANGER)),
        facts(services=()),
        "certain",
        f"No Service has {IP} of pool lab, and {STRANGER}",
        "ipaddresspool lab",
    ),
    (
        "POOL_OFF_SUBNET",
        wire(heard(W3, ip="198.51.100.5"), syn(W3, ip="198.51.100.5"), targets=(address("198.51.100.5"),)),
        facts(pools=pools("198.51.100.0/24"), services=(service(ingress_ips=("198.51.100.5",)),)),
        "likely",
        "198.51.100.5 of pool lab is in no subnet of this segment (192.0.2.0/24)",
        "ipaddresspool lab",
    ),
    (
        "PROXY_ARP",
        wire(
            heard(ROUTER, "BU", rtt=0.4),
            syn(ROUTER),
            vantage=vantage(gateways=(address("192.0.2.254"),), neighbours={address("192.0.2.254"): ROUTER}),
        ),
        facts(),
        "certain",
        f"{ROUTER} (no node's, by QEMU or KVM virtual machine) answers for {IP} when asked as 192.0.2.1, and not as",
        "ip neigh show dev eth1",
    ),
    (
        "PROXY_ARP",
        wire(heard(W1, "BU"), syn(W1)),
        facts(nodes=nodes(w1={"nics": (nic("w1", proxy_arp=True),)})),
        "certain",
        "w1 eth1",
        "provisioner exec --limit w1 -- sysctl -w net.ipv4.conf.eth1.proxy_arp=0",
    ),
    (
        "AMBIGUOUS_MAC",
        well(W2),
        facts(nodes=nodes(w1={"nics": (nic("w1", mac=W2),)})),
        "certain",
        f"{W2} answers for {IP} and stands for w1 and w2; which of them cannot be told.",
        "ip neigh",
    ),
    (
        "RETURN_PATH",
        wire(heard(W2), syn(W2, "silent")),
        facts(nodes=nodes(w2={"internal_ips": ("203.0.113.12",), "nics": (nic("w2", addresses=()),)})),
        "certain",
        "w2's eth1 has no IPv4 address of its own.",
        "provisioner exec --limit w2 -- ip route get 192.0.2.1",
    ),
    (
        "RETURN_PATH",
        wire(heard(W2), syn(W2, "silent")),
        facts(),
        "possible",
        "port 80 is not answered",
        "ip route get",
    ),
    (
        "NOT_SERVING",
        wire(heard(W2), syn(W2, "refused")),
        facts(),
        "certain",
        "TCP port 80 is refused",
        "endpointslices",
    ),
    (
        "NOT_SERVING",
        wire(heard(W2), syn(W2, "silent")),
        facts(services=(service(source_ranges=("203.0.113.0/24",)),)),
        "certain",
        "TCP port 80 is not answered",
        "endpointslices -l kubernetes.io/service-name=web",
    ),
    (
        "STALE_CACHE",
        wire(heard(W2), syn(W2), vantage=vantage(neighbours={address(IP): W1})),
        facts(),
        "certain",
        f"This machine's neighbour cache says {W1} (w1) for {IP}, and w2 eth1 ({W2}) answers now.",
        f"sudo ip neigh flush to {IP} dev eth1",
    ),
    (
        "KUBE_VIP_DUPLICATE",
        wire(
            heard(W2),
            heard(W1, length=42),
            syn(W2),
            syn(W1),
            *(gratuitous(W1, 100.0 + 3 * number, metallb=False) for number in range(4)),
        ),
        facts(others=Others(kube_vip=True)),
        "certain",
        f"w1 eth1 ({W1}) announces {IP} every 3 s, as kube-vip does.",
        "kubectl get pods -A -o wide | grep kube-vip",
    ),
    (
        "SERVICELB_CONFLICT",
        wire(heard(W1, ip=OWN["w1"], length=42), syn(W1, ip=OWN["w1"]), quiet=True),
        facts(services=(service(ingress_ips=(OWN["w1"],)),), others=Others(servicelb=True)),
        "certain",
        "default/web has 192.0.2.11, which is w1's own address and in no pool of MetalLB.",
        "kubectl get pods -A -o wide | grep svclb-",
    ),
    (
        "CILIUM_L2_CONFLICT",
        TWO,
        facts(others=Others(cilium_l2=True)),
        "likely",
        "Cilium announces external IPs on layer 2",
        "kubectl get ciliuml2announcementpolicies",
    ),
    (
        "NDP_RESPONDER_FAILED",
        wire(heard(W2), syn(W2), targets=(address(IP6),)),
        ipv6(
            nodes=nodes(
                w2={"nics": (nic("w2", addresses=("192.0.2.12/24", "fe80::12/64"), dad_failed=("fe80::12/64",)),)}
            )
        ),
        "certain",
        "w2's eth1 has lost fe80::12 to another machine (DADFAILED)",
        "provisioner exec --limit w2 -- ip -6 address show dev eth1",
    ),
    (
        "NDP_RESPONDER_FAILED",
        wire(heard(W2), syn(W2), targets=(address(IP6),)),
        ipv6(nodes=nodes(w2={"nics": (nic("w2", addresses=("192.0.2.12/24",)),)})),
        "certain",
        "w2's eth1 has no IPv6 link-local address",
        "provisioner exec --limit w2 -- ip -6 address show dev eth1",
    ),
    (
        "BUGGY_IP",
        wire(heard(W2), syn(W2), targets=(address("192.0.2.255"),), quiet=False),
        facts(
            pools=pools("192.0.2.200-192.0.2.255"),
            services=(service(), service(name="edge", ingress_ips=("192.0.2.255",))),
        ),
        "likely",
        "Of pool lab, 192.0.2.200 is served, and only 192.0.2.255 is not",
        """kubectl -n metallb-system patch ipaddresspool lab --type merge -p '{"spec":{"avoidBuggyIPs":true}}'""",
    ),
    (
        "INCONCLUSIVE_PROBE_LOCATION",
        replace(well(), vantage=vantage(mac=W1, own_macs=frozenset({W1}))),
        facts(),
        "certain",
        f"This machine's MAC {W1} is that of w1's eth1.",
        f"provisioner l2 check {IP}",
    ),
    (
        "UNKNOWN",
        SILENT,
        facts(),
        "possible",
        f"{IP} was asked 2 times as nobody, once as 192.0.2.1 and directly at w1 eth1, w2 eth1 and w3 eth1; nobody "
        "answered.",
        "provisioner exec --limit w2 -- timeout 10 tcpdump -eni eth1 'arp and host 192.0.2.200'",
    ),
]
IPS = {
    "POOL_OFF_SUBNET": "198.51.100.5",
    "SERVICELB_CONFLICT": OWN["w1"],
    "NDP_RESPONDER_FAILED": IP6,
    "BUGGY_IP": "192.0.2.255",
}


@pytest.mark.parametrize(
    ("verdict", "run", "known", "confidence", "said", "typed"), TABLE, ids=[row[0] for row in TABLE]
)
def test_a_verdict_is_reached_by_its_evidence(
    verdict: str, run: Wire, known: Facts, confidence: str, said: str, typed: str
) -> None:
    result = judge(run, known, IPS.get(verdict, IP))
    assert (result.verdict, result.confidence) == (verdict, confidence), result
    assert any(said in sentence for sentence in result.evidence[:2]), result.evidence
    assert typed in result.command


def test_a_pool_that_holds_a_nodes_or_the_routers_address() -> None:
    own = facts(pools=pools("192.0.2.10-192.0.2.254"), services=(service(ingress_ips=(OWN["w1"],)),))
    result = judge(wire(syn(W1, ip=OWN["w1"])), own, OWN["w1"])
    assert (result.verdict, result.confidence) == ("POOL_OVERLAPS_NODE", "certain")
    assert result.evidence[0] == "192.0.2.11 of pool lab is w1's own address."
    routed = vantage(gateways=(address("192.0.2.254"),))
    run = wire(heard(ROUTER, ip="192.0.2.254"), targets=(address("192.0.2.254"),), vantage=routed)
    result = judge(run, own, "192.0.2.254")
    assert result.verdict == "POOL_OVERLAPS_NODE"
    assert result.evidence[0] == "192.0.2.254 of pool lab is the router of this segment."
    # Another address of that pool may be all right, and says what else its pool holds.
    fine = facts(pools=pools("192.0.2.10-192.0.2.254"))
    result = judge(wire(heard(W2), syn(W2), vantage=routed), fine)
    assert result.verdict == "OK"
    assert any("192.0.2.12 (w2)" in one and "192.0.2.254 (the router)" in one for one in result.evidence)


WARNED: list[tuple[str, Callable[[], tuple[Wire, Facts, str]], str]] = [
    (
        "NDP_UNICAST_UNANSWERED",
        lambda: (
            wire(heard(W2, "B", IP6), syn(W2, ip=IP6), targets=(address(IP6),)),
            ipv6(),
            IP6,
        ),
        "expected with MetalLB",
    ),
    ("UNEXPECTED_LEADER", lambda: (well(W1), facts(), IP), "By MetalLB's election w2 should announce"),
    ("PREDICTION_UNKNOWN", lambda: (well(), facts(advertisements=None), IP), "cannot be predicted"),
    (
        "KERNEL_ALSO_OWNS",
        lambda: (wire(heard(W2), heard(W2, "ZB", length=42, rtt=0.0003), syn(W2)), facts(), IP),
        "twice: its kernel has the address too",
    ),
    ("ICMP_SILENT", lambda: (replace(well(), echo={address(IP): False}), facts(), IP), "does not answer ping"),
]


@pytest.mark.parametrize(("code", "make", "said"), WARNED, ids=[row[0] for row in WARNED])
def test_a_warning_leaves_the_verdict_ok(code: str, make: Callable[[], tuple[Wire, Facts, str]], said: str) -> None:
    run, known, ip = make()
    result = judge(run, known, ip)
    assert (result.verdict, result.warnings) == ("OK", (code,))
    assert any(said in sentence for sentence in result.evidence)


def test_an_address_that_is_all_right_has_no_warning_and_is_the_leaders() -> None:
    result = judge(well(), facts())
    assert (result.warnings, result.predicted_leader, result.remedy, result.command) == ((), "w2", "", "")
    (owner,) = result.owners
    assert (owner.node, owner.nic, owner.owner_class, owner.matched_by) == ("w2", "eth1", "speaker", "inventory")
    assert owner.answered == ("Z", "B", "U")
    assert owner.rtt_us == (400, 400, 400)
    assert (result.service, result.pool, result.family) == ("default/web", "lab", "ipv4")


@pytest.mark.parametrize("name", ["web; reboot", "$(reboot)", "-A", "a'b", "web\nreboot", "web --all", "{web}"])
def test_a_facts_file_does_not_write_commands(name: str) -> None:
    known = facts(services=(service(name=name, endpoints=()),))
    result = judge(SILENT, known)
    assert (result.verdict, result.command) == ("NO_ENDPOINTS", "kubectl get endpointslices -A")


def test_every_verdict_of_the_table_has_a_test_and_a_remedy() -> None:
    elsewhere = {"POOL_OVERLAPS_NODE", "NO_ADDRESS", "POOL_EXHAUSTED"}
    of_watch, warning = {"GARP_MISSING"}, {"KERNEL_ALSO_OWNS"}
    assert set(diagnosis.REMEDIES) == {row[0] for row in TABLE} | elsewhere | of_watch | warning
