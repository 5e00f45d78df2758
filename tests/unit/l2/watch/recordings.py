"""Recordings written by hand: who answers from when to when, to one request every 100 ms."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Announcement, Answer, Handshake
from provisioner.l2.result import AddressOwner
from provisioner.l2.watch.timeline import EndedBy, Recording

START = 1_800_000_000.0
RTT = 0.001
W1, W2, FOREIGN = "02:00:00:00:00:0b", "02:00:00:00:00:0c", "02:00:00:00:00:63"
OWNERS = {
    W1: AddressOwner(W1, "worker1", "eth1", ("worker1",), matched_by="inventory"),
    W2: AddressOwner(W2, "worker2", "eth1", ("worker2",), matched_by="inventory"),
}
IPV4, IPV6 = "192.0.2.200", "2001:db8::200"


def recording(
    until: float,
    *spans: tuple[str, float, float],
    ip: str = IPV4,
    gratuitous: Sequence[Announcement] = (),
    tcp: Sequence[Handshake] = (),
    pauses: Sequence[tuple[float, float]] = (),
    lost: Sequence[float] = (),
    ended_by: EndedBy = "interrupted",
    until_stable: bool = False,
    dropped: int = 0,
) -> Recording:
    """Return a watch of `until` seconds. spans: MAC, from, to, in seconds from the start.

    pauses: when no requests were sent. lost: the requests of these seconds were not answered.
    """
    steps = [number / 10 for number in range(int(until * 10))]
    sent = [step for step in steps if not any(begin <= step < end for begin, end in pauses)]
    answers = [
        Answer(ip_address(ip), mac, Kind.PROBE, START + step + RTT, RTT, 60)
        for step in sent
        for mac, begin, end in spans
        if begin <= step < end and step not in lost
    ]
    return Recording(
        ip=ip_address(ip),
        started=START,
        ended=START + until,
        interval=0.1,
        requests=[START + step for step in sent],
        answers=answers,
        announcements=gratuitous,
        handshakes=tcp,
        port=80 if tcp else 0,
        tcp_interval=0.25 if tcp else 0.0,
        dropped=dropped,
        ended_by=ended_by,
        until_stable=until_stable,
    )


def pairs(mac: str, begin: float, count: int = 5, *, ip: str = IPV4) -> list[Announcement]:
    """Return gratuitous frames as MetalLB's speaker sends them: a pair every 1.1 s (IPv6: single ones)."""
    found = []
    for number in range(count):
        when = START + begin + 1.1 * number
        if ip == IPV6:
            found.append(Announcement(ip_address(ip), mac, when, False, False, 86))
            continue
        found.append(Announcement(ip_address(ip), mac, when, True, True, 60))
        found.append(Announcement(ip_address(ip), mac, when + 0.0003, False, True, 60))
    return found


def connections(mac: str, begin: float, end: float, *, works: bool = True) -> list[Handshake]:
    """Return TCP handshakes through an owner, one every 250 ms, each answered after 2 ms or not at all."""
    count = int((end - begin) * 4)
    return [
        Handshake(ip_address(IPV4), mac, 80, "open", mac, START + begin + number / 4 + 0.002, 0.002)
        if works
        else Handshake(ip_address(IPV4), mac, 80, "silent")
        for number in range(count)
    ]


def failover() -> Recording:
    """Return an ordinary failover: worker1 ends at 2 s, worker2 comes at 7.2 s with all that belongs to it."""
    return recording(
        14,
        (W1, 0, 2),
        (W2, 7.2, 14),
        gratuitous=pairs(W2, 7.15),
        tcp=[*connections(W1, 0, 2), *connections(W1, 2, 7.2, works=False), *connections(W2, 7.5, 14)],
    )
