"""Faults on a machine's links: the rules that make them."""

from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab import links
from provisioner.lab.links import Fault
from provisioner.lab.spec import LabSpec

LAB = LabSpec(Path("/x"), extras="second-nic")


def rules(fault: Fault, lab: LabSpec = LAB) -> list[str]:
    return [line for line in links.ruleset(lab, lab.vm("worker1"), fault).splitlines() if line.endswith(" drop")]


def test_no_fault_no_table() -> None:
    assert links.ruleset(LAB, LAB.vm("worker1"), Fault()) == ""
    assert links.ruleset(LAB, LAB.vm("worker1"), Fault(delay=20)) == "", "a queue, not a rule"


def test_loss_is_of_both_directions_and_of_all_links() -> None:
    own = '{ "tap-worker1", "tap2-worker1" }'
    assert rules(Fault(loss=2.5)) == [
        f"iifname {own} numgen random mod 10000 < 250 drop",
        f"oifname {own} numgen random mod 10000 < 250 drop",
    ]


def test_a_link_that_loses_everything() -> None:
    """nft refuses a comparison that is always true."""
    assert rules(Fault(loss=100), LabSpec(Path("/x"))) == [
        'iifname { "tap-worker1" } drop',
        'oifname { "tap-worker1" } drop',
    ]


def test_a_machine_and_a_port_that_are_blocked() -> None:
    plain = LabSpec(Path("/x"))
    assert rules(Fault(block=("worker2", "udp/7946")), plain) == [
        'iifname { "tap-worker1" } oifname { "tap-worker2" } drop',
        'iifname { "tap-worker2" } oifname { "tap-worker1" } drop',
        'oifname { "tap-worker1" } udp dport 7946 drop',
    ]


@pytest.mark.parametrize("word", ["worker9", "worker1", "10250", "icmp/1"])
def test_what_cannot_be_blocked_is_refused(word: str) -> None:
    with pytest.raises(ProvisionerError, match=word) as refusal:
        rules(Fault(block=(word,)))
    assert refusal.value.remedy


def test_a_fault_in_words() -> None:
    assert Fault(5, 20, ("worker2", "tcp/80")).words() == "loses 5 %, delayed by 20 ms, blocked: worker2, tcp/80"
    assert Fault().words() == ""
