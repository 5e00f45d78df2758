"""Verdicts without a clean failover: no gratuitous ARP, no return, two owners, Ctrl-C, no failover, interface down."""

from __future__ import annotations

import signal

import pytest

from tests.integration.l2 import capture
from tests.integration.l2.conftest import mac
from tests.integration.l2.watching import IP, Rig, ended, same, watching

pytestmark = pytest.mark.integration


def test_a_takeover_without_gratuitous_frames(rig: Rig) -> None:
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


def test_an_address_that_never_returns(rig: Rig) -> None:
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
def test_a_signal_ends_it_with_the_report(rig: Rig, number: signal.Signals) -> None:
    rig.give(1)
    with watching(rig.segment, IP) as process:
        rig.answered(1, 15)
        process.send_signal(number)
        told = ended(process, 0)
    assert told["run"]["ended_by"] == "interrupted"
    assert told["title"].startswith(f"{IP} stayed on {mac(11)}: no silence in ")
    assert told["changes"] == []


def test_until_stable_without_a_failover_is_inconclusive(rig: Rig) -> None:
    rig.give(1)
    with watching(rig.segment, IP, "--until-stable", "--timeout", "2") as process:
        told = ended(process, 2)
    assert told["verdict"] == "UNKNOWN"
    assert "no failover in" in told["evidence"][0]


def test_an_interface_that_goes_down_is_inconclusive(rig: Rig) -> None:
    rig.give(1)
    with watching(rig.segment, IP) as process:
        rig.answered(1, 10)
        rig.segment.run("prober", "ip", "link", "set", "eth1", "down")
        told = ended(process, 2)
    assert told["verdict"] == "UNKNOWN"
    assert "eth1 went down" in told["evidence"][0]
