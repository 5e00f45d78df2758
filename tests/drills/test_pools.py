"""A pool changes in hosts.toml: every Service moves to the new addresses, none is lost, the old ones fall silent."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

import pytest

from tests.e2e import drive

pytestmark = pytest.mark.drill
FIRST = IPv4Address("192.168.56.215")


def external_ips() -> dict[str, str]:
    """Return the external IP of each LoadBalancer Service, by namespace/name."""
    services = json.loads(drive.kubectl("get services -A -o json"))["items"]
    return {
        f"{one['metadata']['namespace']}/{one['metadata']['name']}": ingress["ip"]
        for one in services
        for ingress in one["status"].get("loadBalancer", {}).get("ingress", ())
    }


def owners(*ips: str) -> dict[str, int]:
    """Return how many MACs answer for each address on the segment, as `l2 scan` sees it."""
    ran = drive.operator("l2", "scan", *ips, quiet=True)
    document = json.loads(ran.text[ran.text.index("{") : ran.text.rindex("}") + 1])
    return {result["ip"]: len(result["owners"]) for result in document["results"]}


def test_addresses_move_with_their_pool_and_none_is_lost() -> None:
    """Apply moves them; the wire agrees."""
    before = external_ips()
    assert any(IPv4Address(ip) < FIRST for ip in before.values()), before
    shrunk = drive.other_site("shrunk", ("192.168.56.200-192.168.56.230", f"{FIRST}-192.168.56.230"))
    ran = drive.operator("apply", "-y", "--only", "pools", site=shrunk)
    assert ran.status == 0, ran.text[-4000:]
    after = external_ips()
    assert after.keys() == before.keys()
    assert all(IPv4Address(ip) >= FIRST for ip in after.values()), after
    again = drive.operator("plan", site=shrunk)
    assert again.status == 0, again.text[-4000:]
    old = sorted(set(before.values()) - set(after.values()))
    assert owners(*old, *after.values()) == dict.fromkeys(old, 0) | dict.fromkeys(after.values(), 1)


def test_a_pool_that_grows_again_moves_nobody() -> None:
    """Back to the hosts.toml of before: the Services keep what they have."""
    before = external_ips()
    ran = drive.operator("apply", "-y", "--only", "pools")
    assert ran.status == 0, ran.text[-4000:]
    assert external_ips() == before


def test_a_deleted_service_frees_its_address_and_falls_silent() -> None:
    """The next apply brings the Service back."""
    ip = external_ips()["course/lb-one"]
    assert owners(ip) == {ip: 1}
    drive.kubectl("-n course delete service lb-one")
    drive.until(f"{ip} to fall silent", lambda: owners(ip) == {ip: 0}, 120)
    ran = drive.operator("apply", "-y", "--only", "workloads")
    assert ran.status == 0, ran.text[-4000:]
    drive.until("lb-one to have an address", lambda: "course/lb-one" in external_ips(), 120)
