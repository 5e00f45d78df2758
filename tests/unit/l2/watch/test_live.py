"""What a watch says while it runs: each thing once, in order, and no control codes where there is no terminal."""

from __future__ import annotations

import io
from ipaddress import ip_address

from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Announcement, Answer, Handshake
from provisioner.l2.watch.live import Live
from provisioner.l2.watch.recorder import Moment
from tests.unit.l2.watch.recordings import IPV4, START, W1, W2

NAMES = {W1: "worker1", W2: "worker2"}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def moment(
    now: float,
    *holders: str,
    last: float | None = None,
    answers: tuple[tuple[str, float], ...] = (),
    announced: tuple[tuple[str, float], ...] = (),
    tcp: tuple[tuple[str, str], ...] = (),
) -> Moment:
    """Return how things stand `now` seconds after the start."""
    ip = ip_address(IPV4)
    return Moment(
        START + now,
        holders,
        None if last is None else START + last,
        [Answer(ip, mac, Kind.PROBE, START + when, 0.001, 60) for mac, when in answers],
        [Announcement(ip, mac, START + when, True, True, 60) for mac, when in announced],
        [Handshake(ip, mac, 80, outcome, mac, START + now, 0.001) for mac, outcome in tcp],  # type: ignore[arg-type]
    )


MOMENTS = (
    moment(0.0),
    moment(0.1, W1, last=0.05, answers=((W1, 0.05),), tcp=((W1, "open"),)),
    moment(0.2, W1, last=0.15, answers=((W1, 0.15),), tcp=((W1, "open"),)),
    moment(1.25, last=0.15, tcp=((W1, "silent"),)),
    moment(1.35, last=0.15, tcp=((W1, "silent"),)),
    moment(5.3, W2, last=5.25, answers=((W2, 5.25),), announced=((W2, 5.2), (W2, 5.201)), tcp=((W1, "silent"),)),
    moment(5.4, W2, last=5.35, answers=((W2, 5.35),), tcp=((W2, "open"),)),
    moment(6.3, W2, last=6.25, answers=((W2, 6.25),), announced=((W2, 6.3),)),
)


def told(stream: io.StringIO) -> str:
    """Return what a whole failover writes."""
    live = Live(stream, NAMES.__getitem__)
    for one in MOMENTS:
        live(one)
    live.close()
    return stream.getvalue()


def test_each_thing_is_said_once_and_in_order() -> None:
    lines = told(io.StringIO()).splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "worker1 answers",
        "TCP 80 through worker1: open",
        "last answer of worker1; silent since",
        "TCP 80 through worker1: silent",
        "gratuitous frame from worker2",
        "worker2 answers, 5.1 s after the last answer",
        "TCP 80 through worker2: open",
        "gratuitous frame from worker2",
    ]
    assert ".150  last answer" in lines[2], "its time is that of the answer, not of when it was noticed"
    assert "\x1b" not in "".join(lines)


def test_a_terminal_has_a_line_that_counts_the_silence() -> None:
    drawn = told(Terminal())
    assert "nobody has answered yet" in drawn
    assert "nobody answers for 1.1 s" in drawn
    assert "worker2 answers; Ctrl-C ends with the report" in drawn
    assert drawn.endswith("\r\x1b[K")


def test_an_owner_that_gives_way_is_told() -> None:
    stream = io.StringIO()
    live = Live(stream, NAMES.__getitem__)
    live(moment(0.1, W1, last=0.05, answers=((W1, 0.05),)))
    live(moment(0.2, W1, W2, last=0.15, answers=((W2, 0.15),)))
    live(moment(1.4, W2, last=1.35, answers=((W2, 1.35),)))
    assert stream.getvalue().splitlines()[-1].endswith("worker1 answers no longer")
