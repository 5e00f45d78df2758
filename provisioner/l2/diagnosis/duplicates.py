"""Classify duplicate replies that all come from cluster nodes.

Two MACs of one node are two of its interfaces. With two nodes it depends on what answers: kernels (kube-proxy in IPVS
mode), speakers that do not see each other, or the leaders of two Services that share the address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from provisioner.l2.diagnosis import handover
from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import answers
from provisioner.l2.election import predictor
from provisioner.l2.gratuitous import by_metallb
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Answer
from provisioner.l2.result import AddressOwner, Confidence
from provisioner.text import join_words, times

AT_ONCE = 0.1  # seconds between the replies of one node's kernel and speaker to one request


def answering_nodes(case: Case) -> tuple[str, ...]:
    """Return the nodes that answer; empty unless every owner is a known node."""
    if any(not owner.node for owner in case.owners):
        return ()
    return tuple(dict.fromkeys(owner.node for owner in case.owners))


def flapping(case: Case) -> Cause | None:
    """FLAPPING: nodes answer in turn, again and again, and hardly ever together: the leader changes."""
    if len(case.owners) < 2 or any(len(owner.nodes) != 1 for owner in case.owners):
        return None
    if not handover.takes_turns(case.answers):
        return None
    turns = handover.owners_in_turn(case.answers)
    named = {owner.mac: owner.node for owner in case.owners}
    path = [named.get(mac, mac) for mac, _ in turns]
    seconds = turns[-1][1] - turns[0][1]
    shown = " → ".join([*path[:6], *(["…"] if len(path) > 6 else [])])
    evidence = [
        f"{case.ip} moved {times(len(turns) - 1)} in {seconds:.0f} s: {shown}; they answered in turn, not together.",
        *(answers(case, owner) for owner in case.owners),
    ]
    local = [one.key for one in case.services if one.external_traffic_policy == "Local"]
    if local:
        evidence.append(
            f"{join_words(local)} {'have' if len(local) > 1 else 'has'} externalTrafficPolicy Local, so the leader "
            "follows the pods that are ready."
        )
    explained = ("SPLIT_BRAIN", "SHARED_IP_SPLIT", "KUBE_VIP_DUPLICATE", "CILIUM_L2_CONFLICT", "ARP_FLUX_IPVS")
    return Cause("FLAPPING", "certain", tuple(evidence), explains=(*explained, "STALE_CACHE", "SPEAKER_DOWN"))


def arp_flux_ipvs(case: Case) -> Cause | None:
    """ARP_FLUX_IPVS: kube-proxy in IPVS mode without strictARP makes every node's kernel answer."""
    proxy = case.facts.kube_proxy
    speakers = [owner for owner in case.owners if owner.owner_class == "speaker"]
    if len(answering_nodes(case)) < 2 or len(speakers) > 1:
        return None
    if proxy.mode == "ipvs" and proxy.strict_arp is False:
        what = "kube-proxy runs in IPVS mode without strictARP, so every node's kernel answers for every external IP."
        return Cause("ARP_FLUX_IPVS", "certain", (what, *_answers(case)))
    kernels = [owner.node for owner in case.owners if owner.owner_class == "kernel"]
    if len(kernels) < 2 or proxy.mode not in (None, "ipvs") or (proxy.mode == "ipvs" and proxy.strict_arp):
        return None
    unknown = "whether strictARP is set" if proxy.mode == "ipvs" else "kube-proxy's mode"
    what = f"The kernels of {join_words(kernels)} answer, as in IPVS mode without strictARP; {unknown} is unknown."
    others = ("KUBE_VIP_DUPLICATE", "POOL_OVERLAPS_NODE")
    return Cause("ARP_FLUX_IPVS", "likely" if proxy.mode else "possible", (what, *_answers(case)), others)


def split_brain(case: Case) -> Cause | None:
    """SPLIT_BRAIN: speakers of several nodes answer, because each considers itself the leader."""
    kernels = [owner for owner in case.owners if owner.owner_class == "kernel"]
    if len(answering_nodes(case)) < 2 or kernels:
        return None
    speakers = all(owner.owner_class == "speaker" for owner in case.owners)
    logs = case.facts.speaker_log or {}
    partial = [name for name, log in sorted(logs.items()) if log.partial_join]
    confidence: Confidence
    if partial:
        confidence = "certain" if speakers else "likely"
    elif logs and len(case.services) > 1:
        confidence = (
            "possible"  # nobody's memberlist complains, and Services that share an address may have two leaders
        )
    else:
        # Cilium's answers look like a speaker's.
        confidence = "likely" if speakers and not case.facts.others.cilium_l2 else "possible"
    evidence = [f"{join_words(answering_nodes(case))} answer for {case.ip} at the same time."]
    if partial:
        evidence.append(f"The speaker log of {join_words(partial)} reports a partial join: memberlist has lost nodes.")
    elif logs:
        evidence.append("No speaker log reports a partial join.")
    frames = case.segment.announcements.get(case.ip, ())
    announced = [owner.node for owner in case.owners if by_metallb([one for one in frames if one.mac == owner.mac])]
    if announced:
        evidence.append(f"{join_words(announced)} sent gratuitous ARP like MetalLB's.")
    others = [] if speakers else ["ARP_FLUX_IPVS"] if case.facts.kube_proxy.mode in (None, "ipvs") else []
    if len(case.services) > 1 or case.service is None:
        others.append("SHARED_IP_SPLIT")
    return Cause("SPLIT_BRAIN", confidence, (*evidence, *_answers(case)), tuple(others), _peer(case))


def shared_ip_split(case: Case) -> Cause | None:
    """SHARED_IP_SPLIT: Services that share the address have different leaders, each elected correctly."""
    nodes = answering_nodes(case)
    logs = case.facts.speaker_log or {}
    if len(nodes) < 2 or len(case.services) < 2 or any(log.partial_join for log in logs.values()):
        return None
    leaders = {one.key: predictor.predict(case.facts, case.ip, one).leader for one in case.services}
    predicted = join_words(f"{node or 'an unknown node'} for {key}" for key, node in leaders.items())
    evidence = (f"{join_words(leaders)} share {case.ip}; predicted leaders: {predicted}.", *_answers(case))
    if set(nodes) == set(leaders.values()):
        return Cause("SHARED_IP_SPLIT", "certain", evidence, fields=_service_selecting(case))
    # Without a prediction for each, it is likely only if something can separate their leaders.
    local = [one.key for one in case.services if one.external_traffic_policy == "Local"]
    selecting = [one.name for one in case.facts.advertisements or () if one.service_selectors]
    if not logs and ("" not in leaders.values() or not (local or selecting)):
        return None
    why = [f"{join_words(local)} {'have' if len(local) > 1 else 'has'} externalTrafficPolicy Local."] if local else []
    why += [f"L2Advertisement {join_words(selecting)} has serviceSelectors."] if selecting else []
    why += ["No speaker log reports a partial join, so the speakers see each other."] if logs else []
    return Cause("SHARED_IP_SPLIT", "likely", (*evidence, *why), ("SPLIT_BRAIN",), _service_selecting(case))


def multi_nic_same_segment(case: Case) -> Cause | None:
    """MULTI_NIC_SAME_SEGMENT: two interfaces of one node answer."""
    if len(case.owners) < 2 or len(answering_nodes(case)) != 1:
        return None
    (name,) = answering_nodes(case)
    node = case.facts.node(name)
    nics = {nic.name: nic for nic in (node.nics if node is not None else None) or ()}
    named = [owner.nic for owner in case.owners if owner.nic]
    if any(nics[nic].master for nic in named if nic in nics):
        return None  # ports of one bond or bridge
    here = join_words(named) if len(named) == len(case.owners) else "two of its interfaces"
    evidence = (f"{name} answers on {here}, all on this segment.", *_answers(case))
    fields = {"node": name}
    keep = next((nic for nic in named if nic in nics and nics[nic].addresses), "")
    if keep:
        fields["nic"] = keep
    if case.advertisements:
        fields["advertisement"] = case.advertisements[0].name
    return Cause(
        "MULTI_NIC_SAME_SEGMENT", "certain" if len(named) == len(case.owners) else "likely", evidence, (), fields
    )


def kernel_also_owns(case: Case) -> tuple[AddressOwner, str] | None:
    """Return the only owner and the sentence that its kernel answers in addition to MetalLB's speaker, else None.

    Two replies to one request show it, unless the segment duplicates that node's other replies too.
    """
    owner = case.owner
    if owner is None or not owner.node:
        return None
    if nics := [nic for nic, _ in case.configured_on(owner.node)]:
        return owner, f"{case.ip} is also configured on {owner.node}'s {join_words(nics)}, so its kernel answers too."
    if owner.owner_class == "kernel":
        return owner, f"{owner.node}'s kernel answers for {case.ip}: the address is configured there as well."
    lengths = {answer.length for answer in case.answers if answer.mac == owner.mac}
    twice = [len(lengths) > 1 and case.ip.version == 4, _replies_twice(case, owner.mac)]
    if not any(twice) or _own_replies_twice(case, owner):
        return None
    return owner, f"{owner.node} ({owner.mac}) replies twice to one request for {case.ip}: its kernel has it too."


def _replies_twice(case: Case, mac: str) -> bool:
    """Tell whether a MAC sent more replies than it received requests.

    A late reply is attributed to the latest request of its kind. So where the requests were counted, all replies of a
    kind are compared with all requests of that kind. This machine's kernel sends requests too, when it resets a tried
    connection and does not know the owner: never from 0.0.0.0, and some time later.
    """
    own = [answer for answer in case.answers if answer.mac == mac and answer.kind is not Kind.UNICAST]
    sent = case.segment.capture.times.get(case.ip)
    if sent:
        heard = Counter(answer.kind for answer in own)
        telling = [Kind.PROBE] if heard[Kind.PROBE] else [kind for kind in heard if _at_once(own, kind)]
        return any(heard[kind] > sent.get(kind, heard[kind]) for kind in telling)
    return len(own) > len(handover.answered_requests(own))


def _at_once(replies: Sequence[Answer], kind: Kind) -> bool:
    """Tell whether two replies to that kind of request came in quick succession."""
    times = sorted(reply.timestamp for reply in replies if reply.kind is kind)
    return any(later - earlier < AT_ONCE for earlier, later in pairwise(times))


def _own_replies_twice(case: Case, owner: AddressOwner) -> bool:
    """Tell whether replies for the node's own addresses come twice too, which means the segment duplicates frames."""
    segment = case.segment
    for ip in segment.addresses.get(owner.node, ()):
        own = [answer for answer in segment.answers.get(ip, ()) if answer.mac == owner.mac]
        if len(own) > len(handover.answered_requests(own)) and not all(answer.kind.value == "U" for answer in own):
            return True
    return False


def _answers(case: Case) -> tuple[str, ...]:
    overlap = handover.overlap_seconds(case.answers)
    lasting = (f"They answered the same requests for {overlap:.1f} s, so this is not a handover.",)
    return (*(answers(case, owner) for owner in case.owners), *(lasting if overlap >= handover.MAX_OVERLAP else ()))


def _peer(case: Case) -> dict[str, str]:
    """Return one of the nodes, and the address of another for a test of memberlist's port."""
    names = answering_nodes(case)
    known = [case.facts.node(name) for name in names]
    ips = [node.internal_ips[0] for node in known if node is not None and node.internal_ips]
    return {"node": names[0], "peer": ips[-1]} if len(ips) == len(names) else {"node": names[0]}


def _service_selecting(case: Case) -> dict[str, str]:
    """Return the first L2Advertisement with serviceSelectors, as a placeholder."""
    selecting = [one.name for one in case.facts.advertisements or () if one.service_selectors]
    return {"advertisement": selecting[0]} if selecting else {}
