"""Gratuitous frames by shape and period, as the real programs sent them between namespaces."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from provisioner.l2.gratuitous import by_metallb, periodic
from provisioner.l2.probe.capture import Announcement

IP = IPv4Address("192.0.2.200")


def frame(at: float, *, request: bool, broadcast: bool = True, length: int = 42) -> Announcement:
    return Announcement(IP, "02:00:00:00:00:0b", at, request, broadcast, length)


METALLB = [frame(at + 0.0002 * reply, request=not reply, length=60) for at in (0, 1.1, 2.2) for reply in (0, 1)]
KEEPALIVED = [frame(at, request=True) for at in (0, 1, 2, 3)]  # garp_master_refresh 1
KUBE_VIP = [frame(at, request=False) for at in (0, 3.0, 6.01)]
LINUX = [frame(0, request=True, broadcast=False)]  # arp_notify


@pytest.mark.parametrize(
    ("frames", "metallb", "repeats"),
    [
        pytest.param(METALLB, True, False, id="MetalLB 0.13"),
        pytest.param(METALLB[:1], False, False, id="half a pair of MetalLB's"),
        pytest.param(KEEPALIVED, False, False, id="keepalived 2.2"),
        pytest.param(KUBE_VIP, False, True, id="kube-vip"),
        pytest.param(KUBE_VIP[:2], False, False, id="too few for a period"),
        pytest.param(LINUX, False, False, id="Linux"),
        pytest.param([], False, False, id="nothing"),
    ],
)
def test_shape_and_period(frames: list[Announcement], metallb: bool, repeats: bool) -> None:
    assert by_metallb(frames) is metallb
    assert periodic(frames) is repeats
