"""Odd Services and odd arguments on a real segment: each is told, and none ends the run for the others."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.l2.conftest import Segment
from tests.integration.l2.test_check_segment import VIP, check, facts, serving

pytestmark = pytest.mark.integration

ODD = ("0.0.0.0", "224.0.0.5", "127.0.0.1", "192.0.2.255", "::", "ff02::1")


@pytest.fixture
def nodes(segment: Segment) -> Iterator[Segment]:
    segment.host("w1", 11, "192.0.2.11/24", f"{VIP}/32")
    segment.host("w2", 12, "192.0.2.12/24")
    with serving(segment, "w1"):
        yield segment


def test_an_odd_address_of_one_service_does_not_end_the_check_of_the_others(nodes: Segment) -> None:
    known = facts()
    (web,) = known["services"]
    known["services"] += [{**web, "name": f"odd{n}", "ingress_ips": [ip]} for n, ip in enumerate(ODD)]
    status, made, _ = check(nodes, known)
    verdicts = {result["ip"]: result["verdict"] for result in made["results"]}
    assert verdicts == {VIP: "OK", **dict.fromkeys(ODD, "ADDRESS_UNUSABLE")}
    assert status == 1
    # The scan of everything shows the rest, too.
    ended = nodes.cli("-o", "json", "l2", "scan", "--facts", "facts.json")
    states = {result["ip"]: result["state"] for result in json.loads(ended.stdout)["results"]}
    assert states[VIP] == "right", ended.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["check", "192.0.2.1"], "192.0.2.1 is this machine's own address; run it on another machine on the segment"),
        (["scan", "192.0.2.1"], "192.0.2.1 is this machine's own address"),
        (["watch", "192.0.2.1"], "192.0.2.1 is this machine's own"),
        (["check", "192.0.2.255"], "192.0.2.255 is the broadcast address of 192.0.2.0/24, which no host can have"),
        (["watch", "192.0.2.255"], "192.0.2.255 is the broadcast address of 192.0.2.0/24"),
        (["scan", VIP, "--interface", "eth\x1b[31m9"], "no interface eth\\x1b[31m9 on this machine"),
    ],
)
def test_an_address_of_this_segment_that_no_other_host_can_have_is_status_2(
    segment: Segment, words: list[str], says: str
) -> None:
    ended = segment.cli("l2", *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert says in ended.stderr
    assert all(line.isprintable() for line in ended.stderr.splitlines())
