"""A pool changes in hosts.toml: every Service moves to a new address, and the old ones fall silent."""

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
    """Return how many MACs answer for each address, according to `l2 scan`."""
    ran = drive.operator("l2", "scan", *ips, quiet=True)
    document = json.loads(ran.text[ran.text.index("{") : ran.text.rindex("}") + 1])
    return {result["ip"]: len(result["owners"]) for result in document["results"]}


def test_every_service_moves_with_its_pool() -> None:
    """apply moves them; a scan finds one owner each, and none for the old addresses."""
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


def test_a_pool_that_grows_moves_no_service() -> None:
    """Back with the old hosts.toml, the Services keep their addresses."""
    before = external_ips()
    ran = drive.operator("apply", "-y", "--only", "pools")
    assert ran.status == 0, ran.text[-4000:]
    assert external_ips() == before


def test_the_address_of_a_deleted_service_falls_silent() -> None:
    """The next apply creates the Service again."""
    ip = external_ips()["course/lb-one"]
    assert owners(ip) == {ip: 1}
    drive.kubectl("-n course delete service lb-one")
    drive.until(f"{ip} to fall silent", lambda: owners(ip) == {ip: 0}, 120)
    ran = drive.operator("apply", "-y", "--only", "workloads")
    assert ran.status == 0, ran.text[-4000:]
    drive.until("lb-one to have an address", lambda: "course/lb-one" in external_ips(), 120)
