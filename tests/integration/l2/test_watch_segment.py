"""A failover between namespaces, timed by `l2 watch` and by tcpdump on the same segment, figure by figure."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import ExitStack
from xml.etree import ElementTree

import pytest

from tests.integration.l2 import capture
from tests.integration.l2.watching import ACCURACY, IP, IP6, Rig, ended, same, wait, watching

pytestmark = pytest.mark.integration


def test_a_failover_agrees_with_the_capture(rig: Rig) -> None:
    """The old owner goes silent; two seconds later the new one sends MetalLB's five pairs."""
    facts, svg = str(rig.folder / "facts.json"), rig.folder / "failover.svg"
    rig.give(1)
    with watching(rig.segment, IP, "--until-stable", "--facts", facts, "--svg", str(svg)) as process:
        rig.answered(1, 15)
        rig.take(1)
        time.sleep(2)
        rig.give(2)
        with rig.announce(2):
            told = ended(process, 0)
    found = rig.frames()
    (change,) = told["changes"]
    old, new = (capture.replies(found, IP, number) for number in (11, 12))
    announced = capture.gratuitous(found, IP, 12)
    before, after = (capture.accepted(found, IP, number) for number in (11, 12))
    worst = max(
        same(change["old_last_reply"], old[-1]),
        same(change["new_first_reply"], new[0]),
        same(change["first_gratuitous"], announced[0]),
        same(change["last_tcp_before"], before[-1]),
        same(change["first_tcp_answer"], after[0]),
    )
    print(f"worst difference to the capture: {worst * 1e6:.1f} us")
    assert change["kind"] == "moved"
    assert change["silence_s"] == pytest.approx(new[0] - old[-1], abs=ACCURACY)
    assert 1.8 < change["silence_at_least_s"] <= change["silence_s"] < 3
    assert change["resolution_s"] < 0.5
    assert change["tcp_outage_s"] == pytest.approx(after[0] - before[-1], abs=ACCURACY)
    assert change["overlap_s"] == 0
    assert len(announced) == 10
    assert (change["gratuitous_frames"], change["gratuitous_pairs"], change["gratuitous_expected"]) == (10, 5, 5)
    assert told["verdict"] == "OK"
    assert told["title"].startswith(f"{IP} moved from worker1 to worker2: silent for 2.")
    assert (told["service"], told["pool"], told["run"]["ended_by"]) == ("default/web", "lab", "stable")
    assert [(owner["node"], owner["nic"], owner["holds"]) for owner in told["owners"]] == [
        ("worker1", "eth1", False),
        ("worker2", "eth1", True),
    ]
    assert told["run"]["dropped"] == 0
    assert told["title"] in (ElementTree.parse(svg).getroot().attrib["aria-label"])


def test_an_overlap_agrees_with_the_capture(rig: Rig) -> None:
    rig.give(1)
    with watching(
        rig.segment, IP, "--until-stable", "--facts", str(rig.folder / "facts.json"), "--port", "0"
    ) as process:
        rig.answered(1, 10)
        rig.give(2)
        with rig.announce(2):
            rig.answered(2, 3)
            rig.take(1)
            told = ended(process, 0)
    found = rig.frames()
    old, new = (capture.replies(found, IP, number) for number in (11, 12))
    (change,) = told["changes"]
    same(change["old_last_reply"], old[-1])
    same(change["new_first_reply"], new[0])
    assert change["overlap_s"] == pytest.approx(old[-1] - new[0], abs=ACCURACY)
    assert change["overlap_s"] > 0.1
    assert change["silence_s"] == 0
    assert (change["first_tcp_answer"], change["tcp_outage_s"]) == (None, None)
    assert not [frame for frame in found if frame.tcp()], "no port, no SYN"
    assert "both answered" in told["title"]


def test_an_ipv6_failover_agrees_with_the_capture(rig: Rig) -> None:
    rig.give(1, IP6)
    facts = str(rig.folder / "facts.json")
    with watching(rig.segment, IP6, "--until-stable", "--facts", facts, "--port", "80") as process:
        rig.answered(1, 10, IP6)
        rig.take(1, IP6)
        time.sleep(2)
        rig.give(2, IP6)
        with rig.announce(2, IP6):
            told = ended(process, 0)
    found = rig.frames()
    old, new = (capture.replies(found, IP6, number) for number in (11, 12))
    (change,) = told["changes"]
    same(change["old_last_reply"], old[-1])
    same(change["new_first_reply"], new[0])
    same(change["first_gratuitous"], capture.gratuitous(found, IP6, 12)[0])
    assert (change["gratuitous_frames"], change["gratuitous_pairs"]) == (5, 5)
    assert change["first_tcp_outcome"] == "open"
    assert told["family"] == "ipv6"
    assert "moved from worker1 to worker2" in told["title"]


KEEPALIVED = """
global_defs {{ router_id {name} }}
vrrp_instance address {{
    state BACKUP
    interface eth1
    virtual_router_id 51
    priority {priority}
    advert_int 1
    virtual_ipaddress {{ {ip}/24 }}
}}
"""


def test_keepalived_takes_over(rig: Rig) -> None:
    """Its gratuitous frames are reported, and not compared with MetalLB's."""
    if shutil.which("keepalived", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        pytest.skip("keepalived is not installed: run ./setup.sh")
    with ExitStack() as stack:
        for number in (1, 2):
            place = rig.folder / f"keepalived{number}"
            text = KEEPALIVED.format(name=f"worker{number}", priority=120 - number, ip=IP)
            place.with_suffix(".conf").write_text(text)
            files = ["-f", f"{place}.conf", "-p", f"{place}.pid", "-r", f"{place}.vrrp", "-c", f"{place}.check"]
            program = subprocess.Popen(
                ["ip", "netns", "exec", f"{rig.segment.prefix}worker{number}", "keepalived", "-n", "-l", *files],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(program.wait)
            stack.callback(program.terminate)
        facts = str(rig.folder / "facts.json")
        # The first instance to start may have the address for a moment, which is not this failover.
        wait(lambda: bool(capture.gratuitous(rig.frames(), IP, 11)))
        with watching(rig.segment, IP, "--until-stable", "--facts", facts) as process:
            rig.answered(1, 15)
            rig.segment.run("bridge", "ip", "link", "set", "p11", "down")
            told = ended(process, 0)
    found = rig.frames()
    (change,) = told["changes"]
    same(change["old_last_reply"], capture.replies(found, IP, 11)[-1])
    same(change["new_first_reply"], capture.replies(found, IP, 12)[0])
    last = change["old_last_reply"]["unix"]
    same(change["first_gratuitous"], next(one for one in capture.gratuitous(found, IP, 12) if one > last))
    assert 2 < change["silence_s"] < 6, "three advertisements are missed first"
    assert change["gratuitous_frames"] >= 5
    assert (change["gratuitous_pairs"], change["gratuitous_expected"]) == (None, None)
    assert (told["verdict"], told["warnings"]) == ("OK", [])
