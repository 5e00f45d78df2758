"""Every cause in the order of the verdicts in docs/l2.md, and those that the evidence supports."""

from __future__ import annotations

from collections.abc import Callable

from provisioner.l2.diagnosis import (
    announcers,
    configuration,
    connection,
    duplicates,
    elsewhere,
    foreign,
    frame_loss,
    leader,
    path,
    routers,
    serving,
)
from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.result import Confidence

CAUSES: tuple[Callable[[Case], Cause | None], ...] = (
    foreign.pool_overlaps_node,
    configuration.pools_overlap,
    configuration.config,
    configuration.external_ip,
    configuration.no_advertisement,
    configuration.exclude_label,
    configuration.node_selector_empty,
    configuration.no_endpoints,
    configuration.local_no_candidate,
    configuration.assigned_by_other,
    serving.service_without_endpoints,
    leader.speaker_down,
    leader.interface_missing,
    leader.leader_off_segment,
    frame_loss.broadcast_blind,
    frame_loss.egress_filtered,
    frame_loss.ingress_lost,
    leader.no_failover,
    duplicates.flapping,
    duplicates.arp_flux_ipvs,
    duplicates.split_brain,
    duplicates.shared_ip_split,
    duplicates.multi_nic_same_segment,
    foreign.address_conflict,
    foreign.pool_address_in_use,
    foreign.pool_off_subnet,
    foreign.proxy_arp,
    foreign.cloned_mac,
    foreign.ambiguous_mac,
    path.unicast_lost,
    path.spoof_guard,
    path.mtu_black_hole,
    announcers.servicelb_conflict,
    connection.return_path,
    serving.backend_partly_dead,
    connection.not_serving,
    serving.lossy,
    connection.stale_cache,
    path.router_stale,
    announcers.kube_vip_duplicate,
    announcers.cilium_l2_conflict,
    path.multicast_snooping,
    frame_loss.ndp_filtered,
    frame_loss.ndp_responder_failed,
    frame_loss.buggy_ip,
)

# For an address that another program announces: first what that program did wrong, then what concerns no announcer.
ELSEWHERE: tuple[Callable[[Case], Cause | None], ...] = (
    routers.vrrp_id_in_use,
    routers.vrrp_two_masters,
    routers.vrrp_priority_war,
    elsewhere.no_announcer,
    elsewhere.lease_expired,
    elsewhere.holder_silent,
    elsewhere.announced_twice,
)
# What only MetalLB does, or only its facts can show.
_METALLB = frozenset(
    {
        *(one for one in CAUSES if one.__module__ in (configuration.__name__, leader.__name__, announcers.__name__)),
        frame_loss.egress_filtered,
        frame_loss.ingress_lost,
        frame_loss.ndp_responder_failed,
        duplicates.split_brain,
        duplicates.shared_ip_split,
        foreign.pool_address_in_use,
        foreign.pool_off_subnet,
    }
)
_WITHOUT_METALLB = (*ELSEWHERE, *(cause for cause in CAUSES if cause not in _METALLB))
_WITH_METALLB = (*CAUSES, *ELSEWHERE[:3])
_RANK: tuple[Confidence, ...] = ("certain", "likely", "possible")


def supported(case: Case) -> tuple[Cause, ...]:
    """Return every cause that the evidence supports, the most certain first, ties in the table's order."""
    found = [found for cause in _tried(case) if (found := cause(case)) is not None]
    return tuple(sorted(found, key=lambda found: _RANK.index(found.confidence)))


def _tried(case: Case) -> tuple[Callable[[Case], Cause | None], ...]:
    return _WITH_METALLB if case.by_metallb else _WITHOUT_METALLB
