"""Days in compressed time: a busy, hostile segment grows neither the memory nor the file."""

from __future__ import annotations

import gc
import random
import tracemalloc
from ipaddress import ip_address
from pathlib import Path

from provisioner.l2.guard.event import Event
from provisioner.l2.guard.known import known
from provisioner.l2.guard.sighting import Sighting
from provisioner.l2.guard.store import Store
from provisioner.l2.probe.dhcp import Lease
from provisioner.l2.probe.router_adverts import RouterAdvert
from tests.unit.l2.guard.segment import VIP, W1, W2, Segment, facts

DAY = 86400.0


def a_day(segment: Segment, chance: random.Random, store: Store) -> None:
    """Let a day pass: leaders that move, hosts in the pool with changing MACs, leases, VRRP groups, scans."""
    segment.events.clear()
    for _ in range(40):
        mac = f"02:00:00:{chance.randrange(256):02x}:{chance.randrange(256):02x}:{chance.randrange(256):02x}"
        free = ip_address(f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}")
        segment.hear(Sighting(free, mac, "uses", segment.now))
        segment.hear(Sighting(VIP, mac, "announces", segment.now))
        segment.events += segment.watcher.hear(Lease("ack", free, mac, None), segment.now)  # type: ignore[arg-type]
        source = ip_address(f"192.0.2.{chance.randrange(1, 255)}")
        group = chance.randrange(1, 256)
        for protocol in ("VRRP", "CARP", "HSRP"):
            one = RouterAdvert(protocol, 2, group, source, mac, 100, (), 1.0, segment.now)
            segment.events += segment.watcher.hear(one, segment.now)
        segment.run(DAY / 40, step=720.0)
    for event in segment.events:
        store.add(event)


def test_thirty_days_do_not_grow(tmp_path: Path) -> None:
    chance = random.Random(7)
    cluster = facts()
    pool = (cluster.pools or ())[0].model_copy(update={"addresses": ("10.0.0.0/8", "192.0.2.200-192.0.2.210")})
    watched = known(cluster.model_copy(update={"pools": (pool,)}), ())
    segment = Segment(watched, {VIP: lambda t: (W1,) if int(t / 20000) % 2 else (W2,)}, every=720.0)
    sizes, files = [], []
    with Store(tmp_path / "guard.sqlite", keep=500) as store:
        for _ in range(12):
            a_day(segment, chance, store)
        gc.collect()
        tracemalloc.start()
        begun = tracemalloc.get_traced_memory()[0]
        for _ in range(18):
            a_day(segment, chance, store)
            segment.events.clear()
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0] - begun)
            files.append((tmp_path / "guard.sqlite").stat().st_size)
        tracemalloc.stop()
        assert len(store.events()) <= 700
    # What was allocated since the twelfth day replaces what was there; it levels off instead of growing by the day.
    assert max(sizes[9:]) < max(sizes[:9]) * 1.2 + 50_000, sizes
    assert max(files[9:]) <= max(files[:9]) * 1.1, files
    assert len(segment.watcher.strays) <= 1024


def test_a_thousand_events_of_one_kind_are_kept_to_the_newest(tmp_path: Path) -> None:
    with Store(tmp_path / "guard.sqlite", keep=100) as store:
        for number in range(1000):
            store.add(Event(float(number), "SILENT", "fault", "192.0.2.200", str(number)))
        kept = store.events()
    assert [event.text for event in kept[-100:]] == [str(number) for number in range(900, 1000)]
    assert len(kept) <= 300
