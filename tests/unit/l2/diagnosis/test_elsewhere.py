"""Addresses that kube-vip, Cilium, ServiceLB or nobody announces: who should answer, and remedies without MetalLB."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from provisioner.l2 import diagnosis, targets
from provisioner.l2.facts import (
    Advertisement,
    Announcer,
    ApiAddress,
    Facts,
    Lease,
    OtherAnnouncers,
    Service,
    SpeakerLog,
)
from provisioner.l2.probe.capture import Capture
from provisioner.l2.probe.router_adverts import RouterAdvert
from provisioner.l2.result import Result
from tests.unit.l2.diagnosis.segment import (
    FOREIGN,
    IP,
    SILENT,
    W1,
    W2,
    capture,
    each_node,
    facts,
    heard,
    judge,
    metallb,
    nodes,
    service,
    syn,
)

LEASE = Lease(name="kube-system/cilium-l2announce-default-web", holder="w2", expired=False)


def announced(by: Announcer, lease: Lease | None = LEASE, **changes: Any) -> Facts:
    """Return a cluster without MetalLB and SSH, whose Service another program announces."""
    one = service(
        announcer=by, announcer_reason="no program that announces Services was found", lease=lease, **changes
    )
    return facts(
        metallb=metallb(installed=False, version=None, memberlist=None, config="unknown"),
        others=OtherAnnouncers(cilium_l2=by == "cilium", kube_vip=by == "kube-vip"),
        nodes=each_node(speaker="missing"),
        pools=(),
        advertisements=(),
        l2_status=None,
        services=(one,),
    )


def serving(*macs: str, ip: str = IP, **changes: Any) -> Capture:
    """Return a run in which these MACs answer like a kernel, and serve."""
    frames = (frame for mac in macs for frame in (heard(mac, ip=ip, length=42), syn(mac, ip=ip)))
    return capture(*frames, **changes)


def test_the_leases_holder_is_the_leader() -> None:
    result = judge(serving(W2), announced("cilium"))
    assert (result.verdict, result.predicted_leader) == ("OK", "w2")
    assert "w2 holds kube-system/cilium-l2announce-default-web." in result.evidence
    other = judge(serving(W1), announced("cilium"))
    assert (other.verdict, other.warnings[0]) == ("OK", "UNEXPECTED_LEADER")
    assert any(
        line.startswith("w2 holds kube-system/cilium-l2announce-default-web, but w1") for line in other.evidence
    )


@pytest.mark.parametrize(
    ("lease", "verdict", "evidence"),
    [
        (LEASE, "LEASE_HOLDER_SILENT", "w2 holds kube-system/cilium-l2announce-default-web, and no host answers"),
        (LEASE.model_copy(update={"expired": True}), "LEASE_EXPIRED", "was last renewed by w2 and has expired"),
        (LEASE.model_copy(update={"holder": ""}), "LEASE_EXPIRED", "has no holder"),
        (None, "UNKNOWN", "no Lease is known that says which node"),
    ],
)
@pytest.mark.parametrize("by", ["cilium", "kube-vip"])
def test_silence(by: Announcer, lease: Lease | None, verdict: str, evidence: str) -> None:
    result = judge(SILENT, announced(by, lease))
    assert result.verdict == verdict
    assert evidence in " ".join(result.evidence)
    clean(result)


def test_nobody_announces() -> None:
    result = judge(SILENT, announced("other", None))
    assert (result.verdict, result.confidence) == ("NO_ANNOUNCER", "certain")
    clean(result)
    classed = judge(SILENT, announced("other", None, load_balancer_class="example.org/lb"))
    assert (classed.verdict, classed.confidence) == ("NO_ANNOUNCER", "likely")


def test_an_unknown_announcer_in_a_cluster_without_metallb_is_not_metallb() -> None:
    known = announced("cilium", None)
    assert known.services
    unknown = known.services[0].model_copy(update={"announcer": None, "endpoints": ()})
    result = judge(SILENT, known.model_copy(update={"services": (unknown,)}))
    assert result.verdict == "UNKNOWN"
    clean(result)


def test_two_nodes_answer() -> None:
    result = judge(serving(W1, W2), announced("kube-vip", Lease(name="default/kubevip-web", holder="w2")))
    assert (result.verdict, result.confidence) == ("ANNOUNCED_TWICE", "certain")
    assert result.command == f"provisioner exec --limit w1 -- ip address show to {IP}"
    clean(result)


def test_servicelb_gives_a_service_its_nodes_addresses() -> None:
    one = service(announcer="servicelb", ingress_ips=("192.0.2.12",))
    known = announced("servicelb").model_copy(update={"services": (one,), "others": OtherAnnouncers(servicelb=True)})
    result = judge(serving(W2, ip="192.0.2.12"), known, "192.0.2.12")
    assert (result.verdict, result.predicted_leader) == ("OK", "w2")
    assert "192.0.2.12 is w2's own address." in result.evidence


def test_a_stranger_is_a_conflict_without_pools() -> None:
    result = judge(serving(FOREIGN), announced("cilium"))
    assert result.verdict == "ADDRESS_CONFLICT"
    clean(result)


def clean(result: Result) -> None:
    said = f"{result.remedy} {result.command}".lower()
    assert not any(word in said for word in ("metallb", "speaker", "pool", "l2advertisement")), said


@pytest.mark.parametrize(
    ("by", "verdict", "remedy"),
    [
        ("cilium", "NO_ADDRESS", "CiliumLoadBalancerIPPool"),
        ("kube-vip", "NO_ADDRESS", "kube-vip.io/loadbalancerIPs"),
        ("servicelb", "NO_ADDRESS", "taken on the nodes"),
        ("other", "NO_ANNOUNCER", "Install a program"),
    ],
)
def test_a_service_without_an_address(by: Announcer, verdict: str, remedy: str) -> None:
    known = announced(by, None, ingress_ips=())
    assert known.services
    result = diagnosis.diagnose_pending(known, known.services[0])
    assert result.verdict == verdict
    assert remedy in result.remedy
    assert result.command
    assert "metallb" not in f"{result.remedy} {result.command}".lower()


# --- the API's own address, and VRRP ---------------------------------------------------------------------------------


def api(**changes: Any) -> Facts:
    known = announced("cilium").model_copy(
        update={"api": ApiAddress(endpoint=f"{IP}:80", addresses=(IP,), port=80, **changes), "services": ()}
    )
    words, found = targets.with_api(["api"], known)
    assert (words, found is not None) == (("default/kubernetes",), True)
    assert found is not None
    return found


def advert(sender: str, when: float, vip: str = IP, mac: str = W1, **changes: Any) -> RouterAdvert:
    return RouterAdvert("VRRP", 2, 51, ip_address(sender), mac, 100, (ip_address(vip),), 1.0, when, **changes)


def test_the_api_is_one_more_external_ip() -> None:
    lease = Lease(name="kube-system/plndr-cp-lock", holder="w1")
    result = judge(serving(W1), api(announcer="kube-vip", lease=lease))
    assert (result.verdict, result.service, result.predicted_leader) == ("OK", "default/kubernetes", "w1")


def test_the_api_behind_a_balancer_that_is_no_node_is_fine() -> None:
    result = judge(serving(FOREIGN), api())
    assert (result.verdict, result.confidence) == ("OK", "likely")
    assert any("no node" in line for line in result.evidence)


@pytest.mark.parametrize(
    ("adverts", "verdict", "evidence"),
    [
        (
            [advert("192.0.2.11", when) for when in (0, 1, 2)],
            "OK",
            "advertises it as master of VRRP virtual router 51",
        ),
        (
            [advert(f"192.0.2.{host}", when + host / 100) for when in range(4) for host in (11, 12)],
            "VRRP_TWO_MASTERS",
            "w2 (192.0.2.12",
        ),
        (
            [advert(f"192.0.2.{host}", when) for host, when in ((11, 0), (12, 5), (11, 9), (12, 14), (11, 18))],
            "VRRP_PRIORITY_WAR",
            "changed 4 times",
        ),
        (
            [advert("192.0.2.11", 0), advert("192.0.2.254", 0.5, "192.0.2.250", FOREIGN), advert("192.0.2.11", 1)],
            "VRRP_ID_IN_USE",
            "a host that is no node (192.0.2.254",
        ),
    ],
)
def test_what_vrrp_says(adverts: list[RouterAdvert], verdict: str, evidence: str) -> None:
    result = judge(serving(W1, routers=tuple(adverts)), api(announcer="keepalived"))
    assert result.verdict == verdict
    assert evidence in " ".join(result.evidence)


def test_a_silent_api_beside_a_strangers_group() -> None:
    adverts = tuple(advert("192.0.2.254", when, "192.0.2.250", FOREIGN) for when in (0, 1, 2))
    result = judge(capture(routers=adverts), api(announcer="keepalived"))
    assert (result.verdict, result.confidence) == ("VRRP_ID_IN_USE", "possible")


def test_a_group_of_others_changes_nothing() -> None:
    adverts = tuple(advert(f"192.0.2.{host}", when, "192.0.2.250") for when in range(4) for host in (253, 254))
    assert judge(serving(W2, routers=adverts), announced("cilium")).verdict == "OK"


def test_api_and_a_service_of_that_name_are_not_mixed_up() -> None:
    named = announced("cilium").model_copy(update={"services": (Service(namespace="a", name="api"),)})
    with pytest.raises(Exception, match="write default/kubernetes or a/api"):
        targets.with_api(["api"], named)
    with pytest.raises(Exception, match="the API's own address is not known"):
        targets.with_api(["api"], announced("cilium"))


def test_a_speakers_log_shows_that_the_leader_lacks_the_interface() -> None:
    """Without SSH, the log is the only source of a node's interfaces."""
    own = (Advertisement(name="lab", pools=("lab",), interfaces=("eth7",)),)
    log = {"w2": SpeakerLog(interfaces=("eth0", "eth1", "veth12"))}
    known = facts(nodes=each_node(nics=None), advertisements=own, speaker_log=log)
    result = judge(SILENT, known)
    assert (result.verdict, result.confidence) == ("INTERFACE_MISSING", "likely")
    assert "allows only eth7, but by its log the speaker on w2, which should announce" in result.evidence[0]
    assert "has eth0 and eth1." in result.evidence[0]
    with_it = {"w2": SpeakerLog(interfaces=("eth7",))}
    assert judge(SILENT, known.model_copy(update={"speaker_log": with_it})).verdict != "INTERFACE_MISSING"


@pytest.mark.parametrize(
    ("label", "selector"),
    [("component", "-l component=speaker"), ("app.kubernetes.io/component", "-l app.kubernetes.io/component=speaker")],
)
def test_a_charts_pods_are_found_by_its_labels(label: Any, selector: str) -> None:
    known = facts(metallb=metallb(component_label=label, namespace="lb"), nodes=nodes(w2={"speaker": "failing"}))
    assert judge(SILENT, known).command == (
        f"kubectl -n lb get pods {selector} -o wide --field-selector spec.nodeName=w2"
    )
