"""What leaves a guard: the file of past events, timelines, metrics, hooks, and what it reads from frames."""

from __future__ import annotations

import http.server
import json
import re
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.errors import ProvisionerError
from provisioner.l2.guard import history, hooks, metrics, runner, sighting
from provisioner.l2.guard.event import Event
from provisioner.l2.guard.known import Known, known
from provisioner.l2.guard.sighting import Sighting
from provisioner.l2.guard.store import Store, parse_since
from provisioner.l2.probe import dhcp, packets
from tests.unit.l2.guard.segment import STRANGER, VIP, W1, W2, Segment, facts
from tests.unit.l2.probe.test_hostile_frames import GOOD, damaged

CLIENT = bytes.fromhex("9cb6d0123456")
FAULT = Event(100.0, "SPLIT_BRAIN", "fault", "192.0.2.200", "w1 and w2 answer.", (W1, W2), "default/web")


def dhcp_frame(kind: int, *, yours: str = "0.0.0.0", options: bytes = b"", ports: tuple[int, int] = (67, 68)) -> bytes:
    """Return a DHCP message in a broadcast frame."""
    fixed = b"\x02\x01\x06\x00" + b"\0" * 12 + ip_address(yours).packed + b"\0" * 8 + CLIENT.ljust(16, b"\0")
    message = fixed.ljust(236, b"\0") + b"\x63\x82\x53\x63\x35\x01" + bytes([kind]) + options + b"\xff"
    own, everybody = (CLIENT.hex(":"), ip_address("192.0.2.254")), ("ff:ff:ff:ff:ff:ff", ip_address("255.255.255.255"))
    return packets.udp(own, everybody, ports, message)


SERVER = b"\x36\x04" + ip_address("192.0.2.254").packed
ASKED = b"\x32\x04" + ip_address("192.0.2.205").packed


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (dhcp_frame(2, yours="192.0.2.205", options=SERVER), "offer"),
        (dhcp_frame(5, yours="192.0.2.205", options=b"\0\0" + SERVER), "ack"),
        (dhcp_frame(3, options=ASKED + SERVER, ports=(68, 67)), "request"),
    ],
)
def test_a_lease_is_read(frame: bytes, kind: str) -> None:
    lease = dhcp.parse(frame)
    assert lease is not None
    assert (lease.kind, str(lease.ip), lease.client, str(lease.server)) == (
        kind,
        "192.0.2.205",
        STRANGER,
        "192.0.2.254",
    )


@pytest.mark.parametrize(
    "frame",
    [
        dhcp_frame(1),  # a discovery names nothing
        dhcp_frame(5),  # an ack to an INFORM gives no address
        dhcp_frame(2, yours="192.0.2.205", ports=(53, 53)),
        dhcp_frame(2, yours="192.0.2.205")[:200],
    ],
)
def test_what_hands_out_nothing_is_none(frame: bytes) -> None:
    assert dhcp.parse(frame) is None


def arp_request(mac: bytes, sender: str, target: str) -> bytes:
    head = b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"
    return b"\xff" * 6 + mac + head + mac + ip_address(sender).packed + b"\0" * 6 + ip_address(target).packed


def test_who_asks_has_the_address_that_it_asks_from() -> None:
    found = sighting.parse(arp_request(CLIENT, "192.0.2.205", "192.0.2.1"), 1.0)
    assert found == Sighting(ip_address("192.0.2.205"), STRANGER, "uses", 1.0)
    assert sighting.parse(arp_request(CLIENT, "0.0.0.0", "192.0.2.205"), 1.0) is None
    announced = sighting.parse(arp_request(CLIENT, "192.0.2.205", "192.0.2.205"), 1.0)
    assert announced == Sighting(ip_address("192.0.2.205"), STRANGER, "announces", 1.0)


@settings(deadline=None, max_examples=300)
@given(damaged() | st.binary(max_size=400), st.integers(0, 400))
def test_no_frame_raises(frame: bytes, cut: int) -> None:
    for one in (frame, dhcp_frame(5, yours="192.0.2.205", options=frame[:60])[:cut], *GOOD):
        sighting.parse(one, 1.0)


def test_events_are_kept_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "guard.sqlite"
    with Store(path) as kept:
        kept.add(FAULT)
    with Store(path, create=False) as kept:
        assert kept.events() == [FAULT]
        assert kept.events(since=101) == []
        assert kept.before(101) == [FAULT]
        assert kept.events(subjects=("192.0.2.201",)) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file; start `provisioner l2 guard`"), (b"text" * 500, "cannot be used"), ("folder", "is not a")],
)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, content: object, says: str) -> None:
    path = tmp_path / "guard.sqlite"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(ProvisionerError, match=says) as caught:
        Store(path, create=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "h", "-1h", "1", "1w", "٣h", "99999999999h", "1.5h", "0d"])
def test_a_period_is_a_number_and_a_unit(text: str) -> None:
    with pytest.raises(ProvisionerError, match="is not a period; write 90m, 24h or 7d"):
        parse_since(text)


def test_periods() -> None:
    assert [parse_since(text, 1e6) for text in ("90m", "24h", "7d")] == [1e6 - 5400, 1e6 - 86400, 1e6 - 604800]


def lane(*events: tuple[float, str], before: str = "", cells: int = 10) -> str:
    made = [Event(when, code, "fault", "192.0.2.200", "") for when, code in events]
    earlier = [Event(-1.0, before, "notice", "192.0.2.200", "")] if before else []
    (one,) = history.lanes(made, earlier, 0.0, 100.0, cells)
    return one.cells


def test_a_lane_shows_the_state_and_the_worst_of_each_cell() -> None:
    assert lane((25, "FOUND"), (55, "SILENT"), (75, "ANSWERED")) == "··███   ██"
    assert lane((25, "SPLIT_BRAIN"), (45, "ALONE"), before="FOUND") == "██╳╳╳█████"
    assert lane((35, "LEADER_CHANGED"), before="FOUND") == "███▲██████"
    assert lane((31, "SILENT"), (33, "ANSWERED"), before="FOUND") == "███ ██████"
    assert lane((100, "FOUND")) == "·········█"


@pytest.mark.parametrize("width", [60, 120])
def test_a_history_fits_the_width_and_ends_with_a_count(width: int) -> None:
    events = [FAULT, Event(200.0, "ALONE", "resolved", "192.0.2.200", "Only w1 answers.", (W1,))]
    text = history.render(events, (), 0.0, 300.0, width=width)
    lanes, _, log = text.partition("\n\n")
    assert max(map(len, lanes.splitlines())) <= max(width, 70)
    assert lanes.startswith("192.0.2.200  ·")
    assert "SPLIT_BRAIN  w1 and w2 answer." in log
    assert text.endswith("2 events, faults: SPLIT_BRAIN.")
    history.render(events, (), 0.0, 300.0, width=width, utf8=False).encode("ascii")


def test_a_history_without_events_says_so() -> None:
    assert history.render((), (), 0.0, 1.0, width=80).startswith("Nothing was reported since ")


SAMPLE = re.compile(r'[a-z_0-9]+(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? -?[0-9.e+]+')


def test_metrics_are_in_the_text_format() -> None:
    segment = Segment(answering={VIP: lambda _: (W1,)})
    segment.run(100)
    listener = SimpleNamespace(sent=3, heard=5, dropped=0)
    text = metrics.render(segment.watcher, listener, Counter({("SPLIT_BRAIN", "fault"): 2}))  # type: ignore[arg-type]
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    for line in text.splitlines():
        assert line.startswith("# HELP ") or line.startswith("# TYPE ") or SAMPLE.fullmatch(line), line
        if not line.startswith("#"):
            assert re.split(r"[{ ]", line)[0] in kinds
    assert 'l2_guard_address_state{address="192.0.2.200",service="default/web",state="held"} 1' in text
    assert 'l2_guard_events_total{code="SPLIT_BRAIN",severity="fault"} 2' in text
    assert all(kind == "counter" for name, kind in kinds.items() if name.endswith("_total"))


def test_metrics_are_served_on_this_machine_only() -> None:
    segment = Segment()
    server = metrics.Server(0)
    try:
        server.count(FAULT)
        server.show(segment.watcher, SimpleNamespace(sent=0, heard=0, dropped=0))  # type: ignore[arg-type]
        assert server._server.server_address[0] == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
            assert answer.headers["Content-Type"] == metrics.CONTENT_TYPE
            assert b"l2_guard_addresses 1" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="404") as missing:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/")
        missing.value.close()
        with pytest.raises(ProvisionerError, match="cannot serve metrics on port"):
            metrics.Server(server.port)
    finally:
        server.close()


def test_a_command_gets_faults_and_their_end_but_no_notices(tmp_path: Path) -> None:
    notes: list[str] = []
    out = tmp_path / "out"
    script = tmp_path / "hook"
    script.write_text(f'#!/bin/sh\ncat >>{out}\necho "$L2_CODE $L2_TEXT" >>{out}\n')
    script.chmod(0o755)
    told = hooks.Hooks(str(script), "", notes.append)
    told(FAULT)
    told(Event(1.0, "FOUND", "notice", "192.0.2.200", "w1 answers"))
    told(Event(2.0, "ALONE", "resolved", "192.0.2.200", "$(reboot); `reboot`"))
    told.close(30)
    lines = out.read_text().splitlines()
    assert json.loads(lines[0]) == FAULT.document()
    assert lines[1] == "SPLIT_BRAIN w1 and w2 answer."
    assert lines[3] == "ALONE $(reboot); `reboot`"
    assert (len(lines), notes) == (4, [])


@pytest.mark.parametrize(
    ("command", "says"), [("/nowhere/x", "No such file"), ("sh -c 'echo no >&2; exit 3'", "3: no")]
)
def test_a_command_that_fails_is_said(command: str, says: str) -> None:
    notes: list[str] = []
    told = hooks.Hooks(command, "", notes.append)
    told(FAULT)
    told.close(30)
    assert says in notes[0]


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    """Yield the URL of a server and what it was sent; the first request is refused."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(500 if len(bodies) == 1 else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", bodies
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_webhook_is_tried_again(receiver: tuple[str, list[bytes]]) -> None:
    url, bodies = receiver
    notes: list[str] = []
    told = hooks.Hooks("", url, notes.append)
    told(FAULT)
    told.close(30)
    assert [json.loads(body) for body in bodies] == [FAULT.document()] * 2
    assert notes == []


@pytest.mark.parametrize("url", ["ftp://x/y", "file:///etc/passwd", "x", "http://"])
def test_a_webhook_is_a_web_address(url: str) -> None:
    with pytest.raises(ProvisionerError, match=r"is not a URL; write https://"):
        hooks.Hooks("", url, print)


def test_a_command_that_a_shell_could_not_read_is_refused() -> None:
    with pytest.raises(ProvisionerError, match="cannot be read"):
        hooks.Hooks("x 'y", "", print)


def test_free_addresses_are_asked_in_turn_and_a_refresh_goes_on_where_it_was() -> None:
    watched = known(facts(), ())
    schedule = runner.Schedule(watched)
    seen = [schedule.free(when) for when in (0, 10, 15, 20)]
    assert [str(ip) for ip in seen] == ["192.0.2.201", "192.0.2.202", "None", "192.0.2.203"]
    schedule = runner.Schedule(watched, 20.0, 0.0, ip_address("192.0.2.209"))
    assert [str(schedule.free(when)) for when in (30, 40, 50)] == ["192.0.2.210", "192.0.2.201", "192.0.2.202"]
    assert runner.Schedule(Known({VIP: ""})).free(0) is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["0.0.0.0"], "is the unspecified address"),
        (["pool:x"], "pool 'x' not found"),
        (["web"], "is not an address, range or network"),
    ],
)
def test_what_cannot_be_watched_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(ProvisionerError, match=says):
        known(facts(), words)


def test_nothing_to_watch_is_an_error() -> None:
    with pytest.raises(ProvisionerError, match="there is nothing to watch"):
        known(None, ())


def test_words_are_addresses_and_pools() -> None:
    watched = known(facts(), ["192.0.2.7", "192.0.2.200/29", "pool:lab"])
    assert watched.assigned == {ip_address("192.0.2.7"): "", VIP: "default/web"}
    assert list(watched.pools) == ["192.0.2.200/29", "lab"]
