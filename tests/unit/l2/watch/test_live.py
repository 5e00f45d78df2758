"""Live output of a watch: each event once and in order, control codes on a terminal only."""

from __future__ import annotations

import io
from ipaddress import ip_address

from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Announcement, Answer, Handshake
from provisioner.l2.watch.live import Live
from provisioner.l2.watch.recorder import Tick
from tests.unit.l2.watch.recordings import IPV4, START, W1, W2

NAMES = {W1: "worker1", W2: "worker2"}


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def tick(
    now: float,
    *holders: str,
    last: float | None = None,
    answers: tuple[tuple[str, float], ...] = (),
    announced: tuple[tuple[str, float], ...] = (),
    tcp: tuple[tuple[str, str], ...] = (),
) -> Tick:
    """Return the tick `now` seconds after the start."""
    ip = ip_address(IPV4)
    return Tick(
        START + now,
        holders,
        None if last is None else START + last,
        [Answer(ip, mac, Kind.PROBE, START + when, 0.001, 60) for mac, when in answers],
        [Announcement(ip, mac, START + when, True, True, 60) for mac, when in announced],
        [Handshake(ip, mac, 80, outcome, mac, START + now, 0.001) for mac, outcome in tcp],  # type: ignore[arg-type]
    )


FAILOVER = (
    tick(0.0),
    tick(0.1, W1, last=0.05, answers=((W1, 0.05),), tcp=((W1, "open"),)),
    tick(0.2, W1, last=0.15, answers=((W1, 0.15),), tcp=((W1, "open"),)),
    tick(1.25, last=0.15, tcp=((W1, "silent"),)),
    tick(1.35, last=0.15, tcp=((W1, "silent"),)),
    tick(5.3, W2, last=5.25, answers=((W2, 5.25),), announced=((W2, 5.2), (W2, 5.201)), tcp=((W1, "silent"),)),
    tick(5.4, W2, last=5.35, answers=((W2, 5.35),), tcp=((W2, "open"),)),
    tick(6.3, W2, last=6.25, answers=((W2, 6.25),), announced=((W2, 6.3),)),
)


def output(stream: io.StringIO) -> str:
    """Return the output of a whole failover."""
    live = Live(stream, NAMES.__getitem__)
    for one in FAILOVER:
        live(one)
    live.close()
    return stream.getvalue()


def test_each_event_is_printed_once_and_in_order() -> None:
    lines = output(io.StringIO()).splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "worker1 answers",
        "TCP 80 through worker1: open",
        "last reply from worker1; silent since",
        "TCP 80 through worker1: silent",
        "gratuitous frame from worker2",
        "worker2 answers, 5.1 s after the last reply",
        "TCP 80 through worker2: open",
        "gratuitous frame from worker2",
    ]
    assert ".150  last reply" in lines[2], "its time is the reply's, not when the silence was noticed"
    assert "\x1b" not in "".join(lines)


def test_a_terminal_has_a_status_line_that_counts_the_silence() -> None:
    drawn = output(Terminal())
    assert "no reply yet" in drawn
    assert "silent for 1.1 s" in drawn
    assert "worker2 answers; press Ctrl-C to end it with the report" in drawn
    assert drawn.endswith("\r\x1b[K")


def test_an_owner_that_no_longer_answers_is_printed() -> None:
    stream = io.StringIO()
    live = Live(stream, NAMES.__getitem__)
    live(tick(0.1, W1, last=0.05, answers=((W1, 0.05),)))
    live(tick(0.2, W1, W2, last=0.15, answers=((W2, 0.15),)))
    live(tick(1.4, W2, last=1.35, answers=((W2, 1.35),)))
    assert stream.getvalue().splitlines()[-1].endswith("worker1 no longer answers")
