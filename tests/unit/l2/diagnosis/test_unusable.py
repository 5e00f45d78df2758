"""An address that no host can have is a fault of its Service, and of no other."""

from __future__ import annotations

from ipaddress import IPv4Interface, ip_address

import pytest

from provisioner.l2 import diagnosis
from provisioner.l2.facts import Facts, Service
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Answer, Capture, Vantage

HERE = Vantage("eth1", "02:00:00:00:00:01", (IPv4Interface("192.0.2.1/24"),))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0.0.0.0", "0.0.0.0 is the unspecified address, which no host can have."),
        ("224.0.0.5", "224.0.0.5 is a multicast address, which no host can have."),
        ("192.0.2.255", "192.0.2.255 is the broadcast address of 192.0.2.0/24, which no host can have."),
        ("ff02::5", "ff02::5 is a multicast address, which no host can have."),
    ],
)
def test_it_is_a_certain_fault(text: str, why: str) -> None:
    ip = ip_address(text)
    facts = Facts(services=(Service(namespace="default", name="odd", ingress_ips=(text,)),))
    result = diagnosis.diagnose(Capture(HERE, (ip,)), facts, ip)
    assert (result.verdict, result.confidence, result.service) == ("ADDRESS_UNUSABLE", "certain", "default/odd")
    assert result.evidence == (why,)
    assert not result.ok
    assert not result.inconclusive
    assert result.command == "kubectl -n default get service odd -o yaml --show-managed-fields"


def test_an_answer_for_a_broadcast_address_does_not_make_it_usable() -> None:
    ip = ip_address("192.0.2.255")
    answer = Answer(ip, "52:54:00:00:00:11", Kind.REQUEST, 1.0, 0.001, 60)
    result = diagnosis.diagnose(Capture(HERE, (ip,), (answer,)), None, ip)
    assert result.verdict == "ADDRESS_UNUSABLE"
    assert result.evidence[1] == "52:54:00:00:00:11 answers; clients do not ask."
