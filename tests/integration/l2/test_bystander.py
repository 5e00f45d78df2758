"""No frame changes a bystander's neighbor cache: it is compared before and after every kind of question.

Other tests prove that the comparison can fail: a gratuitous frame, which the program never sends, shows at once.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytest

from tests.integration.l2.conftest import Segment, mac

pytestmark = pytest.mark.integration

OWNED, UNOWNED = {"4": "192.0.2.50", "6": "fd00:2::50"}, {"4": "192.0.2.51", "6": "fd00:2::51"}
# The bystander's entries: none; correct ones; wrong ones, which a disturbing frame would correct.
RIGHT = {"4": {"192.0.2.1": mac(1), "192.0.2.50": mac(11)}, "6": {"fd00:2::50": mac(11)}}
WRONG = {
    "4": {"192.0.2.1": mac(1), "192.0.2.50": mac(0xEE), "192.0.2.51": mac(0xEF)},
    "6": {"fd00:2::50": mac(0xEE), "fd00:2::51": mac(0xEF)},
}
CACHES: dict[str, dict[str, dict[str, str]]] = {"empty": {"4": {}, "6": {}}, "right": RIGHT, "wrong": WRONG}


@pytest.fixture
def crowded(segment: Segment) -> Segment:
    """Add an owner and a bystander in the same solicited-node groups as the addresses asked for."""
    segment.host("a", 11, "192.0.2.50/24")
    segment.host("bystander", 40, "192.0.2.40/24")
    for name, *addresses in (
        ("a", "fd00:2::50/64"),
        ("bystander", "fd00:2::40/64", "fd00:3::50/64", "fd00:3::51/64"),
        ("prober", "fd00:2::1/64"),
    ):
        for address in addresses:
            segment.run(name, "ip", "address", "add", address, "dev", "eth1", "nodad")
    deadline = time.monotonic() + 20
    for name in ("a", "bystander", "prober"):
        while segment.run(name, "ip", "-6", "address", "show", "dev", "eth1", "tentative").stdout:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    return segment


def fill(segment: Segment, cache: dict[str, str]) -> None:
    """Give the bystander exactly these entries, and wait until the kernel allows changes to them."""
    segment.run("bystander", "ip", "neigh", "flush", "all")
    for ip, lladdr in cache.items():
        segment.run("bystander", "ip", "neigh", "replace", ip, "lladdr", lladdr, "dev", "eth1", "nud", "stale")
    time.sleep(1.1)  # the kernel locks an entry for a second (locktime)


def probe(segment: Segment, wanted: dict[str, Any]) -> dict[str, Any]:
    """Run a probe from the prober's namespace."""
    ended = segment.run("prober", sys.executable, "-m", "tests.integration.l2.probe_here", json.dumps(wanted))
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def ask(family: str) -> dict[str, Any]:
    """Return a probe with every kind of question; unicasts go to the bystander too."""
    targets = [mac(11), mac(40)]
    return {"asks": [{"ip": ip, "to": targets, "ports": [80]} for ip in (OWNED[family], UNOWNED[family])]}


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("family", ["4", "6"])
def test_a_bystander_keeps_its_neighbor_cache(crowded: Segment, family: str, cache: str) -> None:
    before = CACHES[cache][family]
    fill(crowded, before)
    assert crowded.neighbours("bystander") == before
    found = probe(crowded, ask(family))
    assert {one["kind"] for one in found["answers"]} == ({"Z", "B", "U"} if family == "4" else {"B", "U"})
    assert {one["outcome"] for one in found["handshakes"]} == {"refused"}
    assert found["echo"] == {OWNED[family]: True}
    probe(crowded, {"asks": [], "others": [OWNED[family], UNOWNED[family]]})
    # To answer a unicast it may have resolved the prober, as any client; nothing else is new.
    prober = {"4": "192.0.2.1", "6": "fe80::ff:fe00:1"}[family]
    after = crowded.neighbours("bystander")
    assert after.pop(prober, mac(1)) == mac(1)
    assert after == {ip: lladdr for ip, lladdr in before.items() if ip != prober}


@pytest.mark.parametrize("family", ["4", "6"])
def test_a_gratuitous_frame_is_noticed(crowded: Segment, family: str) -> None:
    fill(crowded, WRONG[family])
    words = [sys.executable, "-m", "tests.integration.l2.announcer", UNOWNED[family], mac(1), "1"]
    crowded.run("prober", *words)
    deadline = time.monotonic() + 5
    while crowded.neighbours("bystander") == WRONG[family] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert crowded.neighbours("bystander") == {**WRONG[family], UNOWNED[family]: mac(1)}


def test_a_request_with_the_target_as_sender_is_noticed(crowded: Segment) -> None:
    """A mutant: without the guard against requests whose sender is the target."""
    fill(crowded, WRONG["4"])
    mutant = (
        "from ipaddress import IPv4Address; from provisioner.l2.probe import arp, interfaces; "
        "from provisioner.l2.probe.arp import Kind, Question; from provisioner.l2.probe.prober import Prober; "
        "here = interfaces.choose(interfaces.read(), [], 'eth1'); ip = IPv4Address('192.0.2.51'); "
        "made = arp._template(arp.BROADCAST, here.mac, ip); "
        "frame = made[:38] + ip.packed + made[42:]; "
        "prober = Prober(here); prober.send([Question(ip, Kind.REQUEST, frame)])"
    )
    crowded.run("prober", sys.executable, "-c", mutant)
    assert crowded.neighbours("bystander") == {**WRONG["4"], "192.0.2.51": mac(1)}
