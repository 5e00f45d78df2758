"""A failover between namespaces, timed by `l2 watch` and by tcpdump on the same wire, figure by figure."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from . import capture
from .conftest import ROOT, Segment, mac
from .watching import ACCURACY, ended, same, wait, watching

pytestmark = pytest.mark.integration

IP, IP6 = "192.0.2.200", "2001:db8::200"
FACTS = {
    "schema": "l2facts/v1",
    "nodes": [{"name": f"worker{number}", "nics": [{"name": "eth1", "mac": mac(10 + number)}]} for number in (1, 2)],
    "pools": [{"name": "lab", "addresses": ["192.0.2.200-192.0.2.210"]}],
    "services": [
        {"namespace": "default", "name": "web", "ingress_ips": [IP], "ports": [{"port": 80, "protocol": "TCP"}]}
    ],
}
SERVER = (
    "import socket\n"
    "s = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)\n"
    "print('ready', flush=True)\n"
    "while True: s.accept()[0].close()\n"
)


@dataclass
class Rig:
    """Two workers, a prober and a capture file."""

    segment: Segment
    folder: Path

    @property
    def pcap(self) -> Path:
        """Return where the capture is."""
        return self.folder / "wire.pcap"

    def frames(self) -> list[capture.Frame]:
        """Return what the capture has so far."""
        return capture.frames(self.pcap)

    def give(self, worker: int, ip: str = IP) -> None:
        """Add the address to a worker."""
        words = ["nodad"] if ":" in ip else []
        self.segment.run(
            f"worker{worker}", "ip", "address", "add", f"{ip}/{128 if words else 32}", "dev", "eth1", *words
        )

    def take(self, worker: int, ip: str = IP) -> None:
        """Delete the address from a worker."""
        length = 128 if ":" in ip else 32
        self.segment.run(f"worker{worker}", "ip", "address", "del", f"{ip}/{length}", "dev", "eth1")

    def announce(self, worker: int, ip: str = IP, count: int = 5) -> subprocess.Popen[bytes]:
        """Send gratuitous frames from a worker, in the background."""
        words = [sys.executable, "-m", "tests.integration.l2.announcer", ip, mac(10 + worker), str(count)]
        return subprocess.Popen(["ip", "netns", "exec", f"{self.segment.prefix}worker{worker}", *words], cwd=ROOT)

    def answered(self, worker: int, more: int, ip: str = IP) -> None:
        """Wait until a worker has answered `more` more questions."""
        had = len(capture.replies(self.frames(), ip, 10 + worker))
        wait(lambda: len(capture.replies(self.frames(), ip, 10 + worker)) >= had + more)


def link_local(segment: Segment) -> str:
    """Return the prober's link-local address, "" before the kernel has made sure that nobody else has it."""
    words = ["ip", "-6", "-json", "address", "show", "dev", "eth1", "scope", "link", "-tentative"]
    entries = [own for one in json.loads(segment.run("prober", *words).stdout) for own in one.get("addr_info", ())]
    return next((str(entry["local"]) for entry in entries if "local" in entry), "")


@pytest.fixture
def rig(segment: Segment, tmp_path: Path) -> Iterator[Rig]:
    """Give two workers that serve port 80 on all of their addresses, and a capture on the prober."""
    (tmp_path / "facts.json").write_text(json.dumps(FACTS))
    segment.run("prober", "ip", "address", "add", "2001:db8::1/64", "dev", "eth1", "nodad")
    with ExitStack() as stack:
        for number in (1, 2):
            name = f"worker{number}"
            segment.host(name, 10 + number, f"192.0.2.{10 + number}/24")
            segment.run(name, "ip", "address", "add", f"2001:db8::1{number}/64", "dev", "eth1", "nodad")
            server = subprocess.Popen(
                ["ip", "netns", "exec", f"{segment.prefix}{name}", sys.executable, "-c", SERVER],
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(server.communicate)
            stack.callback(server.terminate)
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
        wait(lambda: bool(link_local(segment)))
        stack.enter_context(capture.capturing(segment, "prober", tmp_path / "wire.pcap"))
        yield Rig(segment, tmp_path)


def test_a_failover_to_the_frame(rig: Rig) -> None:
    """The old owner goes silent, two seconds later the new one comes with MetalLB's five pairs."""
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


def test_an_overlap_to_the_frame(rig: Rig) -> None:
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


def test_ipv6_to_the_frame(rig: Rig) -> None:
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
    """Its gratuitous frames are told, and not measured by MetalLB's."""
    if shutil.which("keepalived", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        pytest.skip("there is no keepalived: ./setup.sh")
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
        # The first to come up may have the address for a moment, which is not the failover that is meant.
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


def test_a_takeover_that_nobody_was_told_of(rig: Rig) -> None:
    rig.give(1)
    facts = str(rig.folder / "facts.json")
    with watching(rig.segment, IP, "--until-stable", "--facts", facts) as process:
        rig.answered(1, 10)
        rig.take(1)
        rig.give(2)
        told = ended(process, 1)
    assert told["verdict"] == "GARP_MISSING"
    assert told["changes"][0]["first_gratuitous"] is None
    assert "ip neigh flush" in told["command"]


def test_it_never_came_back(rig: Rig) -> None:
    rig.give(1)
    with watching(
        rig.segment, IP, "--until-stable", "--timeout", "5", "--facts", str(rig.folder / "facts.json")
    ) as process:
        rig.answered(1, 10)
        rig.take(1)
        told = ended(process, 1)
    assert told["verdict"] == "NEVER_RETURNED"
    (change,) = told["changes"]
    assert (change["kind"], change["new_first_reply"], change["silence_s"]) == ("lost", None, None)
    same(change["old_last_reply"], capture.replies(rig.frames(), IP, 11)[-1])


def test_two_owners(rig: Rig) -> None:
    rig.give(1)
    rig.give(2)
    with watching(rig.segment, IP, "--timeout", "4") as process:
        told = ended(process, 1)
    assert told["verdict"] == "TWO_OWNERS"
    assert {owner["mac"] for owner in told["owners"] if owner["holds"]} == {mac(11), mac(12)}
    assert told["command"] == f"provisioner l2 check {IP}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_with_the_report(rig: Rig, number: signal.Signals) -> None:
    rig.give(1)
    with watching(rig.segment, IP) as process:
        rig.answered(1, 15)
        process.send_signal(number)
        told = ended(process, 0)
    assert told["run"]["ended_by"] == "interrupted"
    assert told["title"].startswith(f"{IP} stayed on {mac(11)}: no silence in ")
    assert told["changes"] == []


def test_nothing_happened(rig: Rig) -> None:
    rig.give(1)
    with watching(rig.segment, IP, "--until-stable", "--timeout", "2") as process:
        told = ended(process, 2)
    assert told["verdict"] == "UNKNOWN"
    assert "nothing happened" in told["evidence"][0]


def test_the_interface_goes_away_in_the_middle(rig: Rig) -> None:
    rig.give(1)
    with watching(rig.segment, IP) as process:
        rig.answered(1, 10)
        rig.segment.run("prober", "ip", "link", "set", "eth1", "down")
        told = ended(process, 2)
    assert told["verdict"] == "UNKNOWN"
    assert "eth1 went down" in told["evidence"][0]


def test_a_bystander_keeps_its_neighbour_cache(rig: Rig) -> None:
    """A stale entry for the watched address is not mended by watching it, not even by connecting to it.

    The owner would ask everybody for the prober's MAC before it answers a SYN, unless it was told.
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
    time.sleep(1.1)  # the kernel holds on to an entry for a second (locktime), whatever it hears
    for ip in (IP, IP6):
        with watching(rig.segment, ip, "--timeout", "2", "--port", "80") as process:
            ended(process, 0)
    had = {address: lladdr for address, lladdr in rig.segment.neighbours("bystander").items() if address in cache}
    assert had == cache


def test_the_pace_is_kept(rig: Rig) -> None:
    rig.give(1)
    with watching(rig.segment, IP, "--timeout", "4", "--interval", "0.05", "--port", "80") as process:
        told = ended(process, 0)
    asked = [
        arp[4] for frame in rig.frames() if (arp := frame.arp()) is not None and arp[0] == 1 and arp[2] == "0.0.0.0"
    ]
    assert told["run"]["questions"] == len(asked)
    assert len(asked) == pytest.approx(80, abs=8)
    assert set(asked) == {IP}
    syns = [found for frame in rig.frames() if (found := frame.tcp()) is not None and found[2:] == (True, False)]
    assert len(syns) == pytest.approx(16, abs=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("192.0.2.300",), "'192.0.2.300' is no IP address"),
        (("192.0.2.1",), "this machine itself has 192.0.2.1"),
        (("198.51.100.7",), "not on the segment"),
        ((IP, "--interface", "eth7"), "there is no interface eth7"),
        ((IP, "--facts", "missing.json"), "missing.json"),
        ((IP, "--svg", "/nowhere/at/all.svg"), "there is no folder /nowhere/at"),
    ],
)
def test_a_mistake_is_told_in_a_line(segment: Segment, arguments: tuple[str, ...], message: str) -> None:
    ended_ = segment.cli("l2", "watch", *arguments, "--timeout", "1")
    assert ended_.returncode == 2
    assert ended_.stdout == ""
    assert message in ended_.stderr
    assert "Traceback" not in ended_.stderr


SITE = """
[[hosts]]
name = "master"
address = "192.0.2.11"
roles = ["control-plane"]
[[hosts]]
name = "node"
address = "192.0.2.12"
roles = ["worker"]
[[metallb.pools]]
name = "lab"
addresses = ["192.0.2.200-192.0.2.210"]
"""


def test_nodes_are_known_by_their_own_answers_and_lines_come_as_it_happens(rig: Rig) -> None:
    """With hosts.toml alone, without Z, for people: events on stderr while it runs, the picture on stdout."""
    (rig.folder / "hosts.toml").write_text(SITE)
    rig.give(1)
    words = [sys.executable, "-m", "provisioner", "-f", str(rig.folder / "hosts.toml"), "l2", "watch", IP]
    process = subprocess.Popen(
        ["ip", "netns", "exec", f"{rig.segment.prefix}prober", *words, "--no-zero", "--until-stable", "--port", "80"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith(f"watching {IP} from eth1: a question every 100 ms, TCP 80")
            said = [process.stderr.readline().split("  ", 1)[1] for _ in range(2)]
            assert said == ["master answers\n", "TCP 80 through master: open\n"]
            rig.answered(1, 10)
            rig.take(1)
            rig.give(2)
            with rig.announce(2):
                output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert "last answer of master" in errors or "node answers" in errors
    assert "\x1b" not in errors, "no terminal, no control codes"
    assert output.startswith(f"{IP} moved from master to node")
    assert "5 pairs of the expected 5" in output
    asked = {arp[2] for frame in rig.frames() if (arp := frame.arp()) and arp[0] == 1 and frame.source == mac(1)}
    assert asked == {"192.0.2.1"}


def test_without_the_capability_the_command_that_helps_is_told(segment: Segment) -> None:
    ordinary = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    command = [sys.executable, "-m", "provisioner", "l2", "watch", IP, "--timeout", "1"]
    refused = segment.run("prober", *ordinary, *command, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "run: sudo -E setpriv --reuid=65534" in refused.stderr
