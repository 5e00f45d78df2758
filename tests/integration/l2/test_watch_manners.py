"""A watch changes no neighbor cache, and keeps its rate."""

from __future__ import annotations

import time

import pytest

from tests.integration.l2.conftest import mac
from tests.integration.l2.watching import IP, IP6, Rig, ended, link_local, watching

pytestmark = pytest.mark.integration


def test_a_bystander_keeps_its_neighbor_cache(rig: Rig) -> None:
    """Neither watching an address nor connecting to it repairs a stale entry for it.

    An owner that did not know the prober's MAC would broadcast a request for it before it answers a SYN.
    """
    rig.give(1)
    rig.give(1, IP6)
    rig.segment.host("bystander", 40, "192.0.2.40/24")
    rig.segment.run("bystander", "ip", "address", "add", "2001:db8::40/64", "dev", "eth1", "nodad")
    own = link_local(rig.segment)
    cache = {IP: mac(0xEE), IP6: mac(0xED), "192.0.2.1": mac(1), own: mac(0xEB), "2001:db8::1": mac(0xEA)}
    for address, lladdr in cache.items():
        entry = ["ip", "neigh", "replace", address, "lladdr", lladdr, "dev", "eth1", "nud", "stale"]
        rig.segment.run("bystander", *entry)
    time.sleep(1.1)  # the kernel locks an entry for a second (locktime)
    for ip in (IP, IP6):
        with watching(rig.segment, ip, "--timeout", "2", "--port", "80") as process:
            ended(process, 0)
    kept = {address: lladdr for address, lladdr in rig.segment.neighbours("bystander").items() if address in cache}
    assert kept == cache


def test_the_rate_is_kept(rig: Rig) -> None:
    rig.give(1)
    with watching(rig.segment, IP, "--timeout", "4", "--interval", "0.05", "--port", "80") as process:
        told = ended(process, 0)
    targets = [
        arp[4] for frame in rig.frames() if (arp := frame.arp()) is not None and arp[0] == 1 and arp[2] == "0.0.0.0"
    ]
    assert told["run"]["questions"] == len(targets)
    assert len(targets) == pytest.approx(80, abs=8)
    assert set(targets) == {IP}
    syns = [found for frame in rig.frames() if (found := frame.tcp()) is not None and found[2:] == (True, False)]
    assert len(syns) == pytest.approx(16, abs=4)
