"""What the masters of VRRP, HSRP and CARP do to an address: two of them, a war, a number that is used twice."""

from __future__ import annotations

from provisioner.l2.diagnosis.case import Case
from provisioner.l2.diagnosis.cause import Cause
from provisioner.l2.diagnosis.sentences import silence
from provisioner.l2.redundancy import Group, Master
from provisioner.text import join_words, times


def vrrp_id_in_use(case: Case) -> Cause | None:
    """VRRP_ID_IN_USE: two groups with different addresses have one number on the segment."""
    for group in case.segment.router_groups:
        if group.state == "number used twice" and case.ip in group.addresses:
            used = join_words(f"{_name(case, master)} for {_addresses(master)}" for master in group.masters)
            return Cause("VRRP_ID_IN_USE", "certain", (f"{group.name} is used by {used}.",), fields=_fields(group))
    # keepalived obeys a stranger of higher priority and falls silent, so that only the stranger is heard.
    strangers = [
        (group, master)
        for group in case.segment.router_groups
        if case.is_api and case.silent and not case.segment.masters_of(case.ip)
        for master in group.masters
        if not case.segment.node_at(master.source)
    ]
    if not strangers or not _keepalived(case):
        return None
    group, master = strangers[0]
    heard = f"{_name(case, master)} is master of {group.name}, priority {master.priority}, for {_addresses(master)}."
    why = f"If the control planes use the same number for {case.ip}, they obey it and stay backups."
    return Cause("VRRP_ID_IN_USE", "possible", (heard, why, silence(case)), fields=_fields(group))


def vrrp_two_masters(case: Case) -> Cause | None:
    """VRRP_TWO_MASTERS: two hosts advertise the address at the same time, so neither hears the other."""
    for group in case.segment.router_groups:
        if group.state == "two masters" and case.ip in group.addresses:
            return Cause("VRRP_TWO_MASTERS", "certain", _masters(case, group), (), _fields(group))
    return None


def vrrp_priority_war(case: Case) -> Cause | None:
    """VRRP_PRIORITY_WAR: the master changed several times within the run."""
    for group in case.segment.router_groups:
        if group.state == "war" and case.ip in group.addresses:
            what = f"The master of {group.name} changed {times(group.turns)} while this machine listened."
            return Cause("VRRP_PRIORITY_WAR", "certain", (what, *_masters(case, group)), (), _fields(group))
    return None


def note(case: Case) -> str:
    """Return the sentence on who is master of the address; "" if no host says so, or if several do."""
    masters = case.segment.masters_of(case.ip)
    if len(masters) != 1:
        return ""
    group, master = masters[0]
    priority = f", priority {master.priority}" if master.priority >= 0 else ""
    return f"{_name(case, master)} advertises it as master of {group.name}{priority}."


def _masters(case: Case, group: Group) -> tuple[str, ...]:
    found = [
        f"{_name(case, one)} advertises {_addresses(one)} as master of {group.name}, priority {one.priority}, "
        f"{times(one.count)}."
        for one in group.masters
    ]
    versions = {one.version for one in group.masters}
    if len(versions) > 1:
        found.append(f"They use different versions of {group.protocol} ({join_words(map(str, sorted(versions)))}).")
    if len({one.authentication for one in group.masters}) > 1:
        found.append("They use different authentication, so each discards what the other sends.")
    return tuple(found)


def _name(case: Case, master: Master) -> str:
    node = case.segment.node_at(master.source)
    return f"{node or 'a host that is no node'} ({master.source}, {master.mac})"


def _addresses(master: Master) -> str:
    return join_words(map(str, master.addresses)) or "an unnamed address"


def _fields(group: Group) -> dict[str, str]:
    return {"group": str(group.number), "group_name": group.name}


def _keepalived(case: Case) -> bool:
    """Tell whether the API's address may be keepalived's: nothing else is known to announce it."""
    return case.service is not None and case.service.announcer in ("keepalived", "other")
