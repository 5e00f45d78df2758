"""Mistakes that preflight finds: one clear message per host, and no change."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.e2e import drive

pytestmark = pytest.mark.e2e


def test_a_wrong_key_is_refused() -> None:
    """Each host is named; none is changed."""
    key = drive.LAB / "unknown-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    ran = drive.operator("apply", "-y", site=drive.other_site("wrong-key", (str(drive.LAB / "id_ed25519"), str(key))))
    _refused(ran, *drive.hosts())


def test_an_unreachable_host_is_named() -> None:
    """The one that does not answer is named; none is changed."""
    site = drive.other_site("unreachable", ("192.168.56.12", "192.168.56.99"))
    ran = drive.operator("apply", "-y", site=site)
    _refused(ran, "worker2")
    assert "192.168.56.99" in ran.text


def test_a_missing_sudo_password_is_named() -> None:
    """sudo needs a password and none is given; no host is changed."""
    for host in drive.hosts():
        made = drive.ssh(
            host, "useradd -m -G sudo ops && cp -a /home/vagrant/.ssh /home/ops/ && chown -R ops /home/ops"
        )
        assert made.status == 0, made.text
    _refused(
        drive.operator("apply", "-y", site=drive.other_site("ops", ('user = "vagrant"', 'user = "ops"'))),
        *drive.hosts(),
    )


def test_a_full_disk_stops_in_preflight() -> None:
    """The worker without enough space is named; no host is changed."""
    assert drive.ssh("worker1", "fallocate -l $(( $(df --output=avail -k / | tail -1) - 500000 ))K /full").status == 0
    ran = drive.operator("apply", "-y")
    assert drive.ssh("worker1", "rm /full").status == 0
    assert ran.status == 1
    assert "worker1" in ran.text
    assert "MiB free on /" in ran.text
    assert not ran.changes(), ran.changes()
    assert "Traceback" not in ran.text


def test_a_pool_address_in_use_stops_in_preflight() -> None:
    """The MAC of the machine that uses it is named; no host is changed."""
    add = drive.lab("exec", "--", "ip", "address", "add", "192.168.56.205/24", "dev", "eth1")
    assert add.status == 0, add.text
    ran = drive.operator("apply", "-y")
    drive.lab("exec", "--", "ip", "address", "del", "192.168.56.205/24", "dev", "eth1")
    assert ran.status == 1
    assert re.search(r"192\.168\.56\.205 of the MetalLB pools is in use by ([0-9a-f]{2}:){5}[0-9a-f]{2}", ran.text)
    assert not ran.changes(), ran.changes()


def _refused(ran: drive.Ran, *hosts: str) -> None:
    assert ran.status == 1, ran.text
    assert not ran.changes(), ran.changes()
    assert "Traceback" not in ran.text
    for host in hosts:
        messages = {event["text"] for event in ran.events if event["kind"] == "failed" and event.get("host") == host}
        messages |= {line for line in ran.text.splitlines() if line.startswith(f"{host}: ")}
        assert messages, f"no message names {host}:\n{ran.text}"
