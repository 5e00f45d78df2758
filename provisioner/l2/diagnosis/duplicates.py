"""Several owners of one address, all of them the cluster's: which of the ways to that it is.

Two MACs of one node are its two interfaces. Of two nodes, who answers tells: kernels by kube-proxy's ipvs, speakers
that lost sight of one another, or two Services that share the address and have two leaders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from provisioner.l2.diagnosis import handover
from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import answered
from provisioner.l2.election import predictor
from provisioner.l2.gratuitous import by_metallb
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Answer
from provisioner.l2.result import AddressOwner, Confidence
from provisioner.text import join_words

AT_ONCE = 0.1  # seconds between the answers of a kernel and a speaker of one node to one question


def nodes(case: Case) -> tuple[str, ...]:
    """Return the nodes that answer; empty unless every owner is known to be a node's."""
    if any(not seen.node for seen in case.owners):
        return ()
    return tuple(dict.fromkeys(seen.node for seen in case.owners))


def arp_flux_ipvs(case: Case) -> Cause | None:
    """ARP_FLUX_IPVS: kube-proxy's ipvs without strictARP makes every node's kernel answer."""
    proxy = case.facts.kube_proxy
    by_speaker = [seen for seen in case.owners if seen.owner_class == "speaker"]
    if len(nodes(case)) < 2 or len(by_speaker) > 1:
        return None
    if proxy.mode == "ipvs" and proxy.strict_arp is False:
        what = "kube-proxy runs in ipvs mode without strictARP, so every node's kernel answers for every external IP."
        return Cause("ARP_FLUX_IPVS", "certain", (what, *_answers(case)))
    kernels = [seen.node for seen in case.owners if seen.owner_class == "kernel"]
    if len(kernels) < 2 or proxy.mode not in (None, "ipvs") or (proxy.mode == "ipvs" and proxy.strict_arp):
        return None
    missing = "whether strictARP is on" if proxy.mode == "ipvs" else "kube-proxy's mode"
    what = f"The kernels of {join_words(kernels)} answer, as they do in ipvs mode without strictARP; {missing} is not known."
    others = ("KUBE_VIP_DUPLICATE", "POOL_OVERLAPS_NODE")
    return Cause("ARP_FLUX_IPVS", "likely" if proxy.mode else "possible", (what, *_answers(case)), others)


def split_brain(case: Case) -> Cause | None:
    """SPLIT_BRAIN: speakers of several nodes answer, since each holds itself for the leader."""
    kernels = [seen for seen in case.owners if seen.owner_class == "kernel"]
    if len(nodes(case)) < 2 or kernels:
        return None
    speakers = all(seen.owner_class == "speaker" for seen in case.owners)
    logs = case.facts.speaker_log or {}
    partial = [name for name, log in sorted(logs.items()) if log.partial_join]
    confidence: Confidence
    if partial:
        confidence = "certain" if speakers else "likely"
    else:
        # Cilium's answers look like a speaker's.
        confidence = "likely" if speakers and not case.facts.others.cilium_l2 else "possible"
    evidence = [f"{join_words(nodes(case))} answer for {case.ip} at the same time."]
    if partial:
        evidence.append(
            f"The speaker's log of {join_words(partial)} tells of a partial join: memberlist has lost nodes."
        )
    elif logs:
        evidence.append("No speaker's log that was read tells of a partial join.")
    own = case.segment.announcements.get(case.ip, ())
    if shaped := [seen.node for seen in case.owners if by_metallb([a for a in own if a.mac == seen.mac])]:
        evidence.append(f"{join_words(shaped)} announced it in MetalLB's shape.")
    others = [] if speakers else ["ARP_FLUX_IPVS"] if case.facts.kube_proxy.mode in (None, "ipvs") else []
    if len(case.services) > 1 or case.service is None:
        others.append("SHARED_IP_SPLIT")
    return Cause("SPLIT_BRAIN", confidence, (*evidence, *_answers(case)), tuple(others), _peer(case))


def shared_ip_split(case: Case) -> Cause | None:
    """SHARED_IP_SPLIT: Services that share the address have different leaders, each of them rightly."""
    seen = nodes(case)
    logs = case.facts.speaker_log or {}
    if len(seen) < 2 or len(case.services) < 2 or any(log.partial_join for log in logs.values()):
        return None
    leaders = {one.key: predictor.predict(case.facts, case.ip, one).leader for one in case.services}
    said = join_words(
        f"{key} is announced by {node or 'a node that cannot be predicted'}" for key, node in leaders.items()
    )
    evidence = (f"{join_words(leaders)} share {case.ip}: {said}.", *_answers(case))
    if set(seen) == set(leaders.values()):
        return Cause("SHARED_IP_SPLIT", "certain", evidence, fields=_differing(case))
    # Without a prediction for each, only what can part the leaders of Services makes it likely.
    local = [one.key for one in case.services if one.external_traffic_policy == "Local"]
    selecting = [one.name for one in case.facts.advertisements or () if one.service_selectors]
    if "" not in leaders.values() or not (local or selecting):
        return None
    why = [f"{join_words(local)} {'have' if len(local) > 1 else 'has'} externalTrafficPolicy Local."] if local else []
    why += [f"{join_words(selecting)} selects by Service."] if selecting else []
    return Cause("SHARED_IP_SPLIT", "likely", (*evidence, *why), ("SPLIT_BRAIN",), _differing(case))


def multi_nic_same_segment(case: Case) -> Cause | None:
    """MULTI_NIC_SAME_SEGMENT: two interfaces of one node answer."""
    if len(case.owners) < 2 or len(nodes(case)) != 1:
        return None
    node = case.facts.node(nodes(case)[0])
    nics = {nic.name: nic for nic in (node.nics if node is not None else None) or ()}
    named = [seen.nic for seen in case.owners if seen.nic]
    if any(nics[name].master for name in named if name in nics):
        return None  # ports of one bond or bridge, which is another matter
    here = f"its interfaces {join_words(named)}" if len(named) == len(case.owners) else "two of its interfaces"
    evidence = (f"{nodes(case)[0]} answers with {here}, which are on the same segment.", *_answers(case))
    fields = {"node": nodes(case)[0]}
    keep = next((name for name in named if name in nics and nics[name].addresses), "")
    if keep:
        fields["nic"] = keep
    if case.advertisements:
        fields["advertisement"] = case.advertisements[0].name
    return Cause(
        "MULTI_NIC_SAME_SEGMENT", "certain" if len(named) == len(case.owners) else "likely", evidence, (), fields
    )


def kernel_also_owns(case: Case) -> tuple[AddressOwner, str] | None:
    """Return the one owner, and the sentence that its kernel answers beside MetalLB's speaker; None without reason.

    Two replies to one question show it, unless the segment doubles that node's other replies too.
    """
    seen = case.owner
    if seen is None or not seen.node:
        return None
    if carriers := [name for name, _ in case.carriers(seen.node)]:
        return (
            seen,
            f"{case.ip} is also configured on {seen.node}'s {join_words(carriers)}, so that its kernel answers too.",
        )
    if seen.owner_class == "kernel":
        return seen, f"It is {seen.node}'s kernel that answers for {case.ip}: the address is configured there as well."
    lengths = {answer.length for answer in case.answers if answer.mac == seen.mac}
    twice = [len(lengths) > 1 and case.ip.version == 4, _doubled(case, seen.mac)]
    if not any(twice) or _doubles_own(case, seen):
        return None
    return seen, f"{seen.node} ({seen.mac}) answers one question for {case.ip} twice: its kernel has the address too."


def _doubled(case: Case, mac: str) -> bool:
    """Tell whether a MAC answered more often than it was asked.

    An answer that comes late is taken for one to the newest question of its kind; so where it is known how often was
    asked, all answers of a kind are held against all questions of that kind. This machine's own kernel asks as well,
    when it resets a connection that was tried and does not know the owner: never as nobody, and some time later.
    """
    own = [answer for answer in case.answers if answer.mac == mac and answer.kind is not Kind.UNICAST]
    sent = case.segment.capture.times.get(case.ip)
    if sent:
        heard = Counter(answer.kind for answer in own)
        telling = [Kind.PROBE] if heard[Kind.PROBE] else [kind for kind in heard if _at_once(own, kind)]
        return any(heard[kind] > sent.get(kind, heard[kind]) for kind in telling)
    return len(own) > len(handover.questions(own))


def _at_once(answers: Sequence[Answer], kind: Kind) -> bool:
    """Tell whether two answers to that kind of question came one right after the other."""
    times = sorted(answer.timestamp for answer in answers if answer.kind is kind)
    return any(later - earlier < AT_ONCE for earlier, later in pairwise(times))


def _doubles_own(case: Case, seen: AddressOwner) -> bool:
    """Tell whether the replies for the node's own addresses come twice as well: the segment doubles frames then."""
    segment = case.segment
    for ip in segment.addresses.get(seen.node, ()):
        own = [answer for answer in segment.answers.get(ip, ()) if answer.mac == seen.mac]
        if len(own) > len(handover.questions(own)) and not all(answer.kind.value == "U" for answer in own):
            return True
    return False


def _answers(case: Case) -> tuple[str, ...]:
    lasting = handover.together(case.answers)
    last = (f"They answered the same questions over {lasting:.1f} s, so this is no handover.",)
    return (*(answered(case, seen) for seen in case.owners), *(last if lasting >= handover.LONGEST else ()))


def _peer(case: Case) -> dict[str, str]:
    """Return the address of one of the nodes, to try memberlist's port from the other."""
    names = nodes(case)
    known = [case.facts.node(name) for name in names]
    ips = [node.internal_ips[0] for node in known if node is not None and node.internal_ips]
    return {"node": names[0], "peer": ips[-1]} if len(ips) == len(names) else {"node": names[0]}


def _differing(case: Case) -> dict[str, str]:
    selecting = [one.name for one in case.facts.advertisements or () if one.service_selectors]
    return {"advertisement": selecting[0]} if selecting else {}
