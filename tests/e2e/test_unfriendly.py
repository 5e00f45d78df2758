"""Machines as people have them (SUITE=unfriendly): a sentence for each obstacle; mended as said, apply gets there.

What is wrong with them is in provisioner/lab/unfriendly.py and docs/lab.md.
"""

from __future__ import annotations

import re

import pytest

from tests.e2e import drive

pytestmark = pytest.mark.e2e


def failures(ran: drive.Ran) -> dict[str, str]:
    """Return what was said of each host that failed."""
    return {str(event["host"]): str(event["text"]) for event in ran.events if event["kind"] == "failed"}


def mend(host: str, command: str) -> None:
    """Do on a machine what a sentence says."""
    done = drive.ssh(host, command)
    assert done.status == 0, done.text


def test_preflight_says_what_is_in_the_way_and_nothing_is_changed() -> None:
    """The chatty login with zsh, umask 077 and two sessions is not."""
    ran = drive.operator("apply", "-y")
    said = failures(ran)
    assert ran.status == 1
    assert not ran.changes(), ran.changes()
    assert said.keys() == {"worker1", "worker2"}, said
    leftover = re.search(
        r"has cni0 with 10\.42\.0\.1/24 of an earlier pod network, outside pod_cidr \S+: sudo (ip link delete cni0)",
        said["worker1"],
    )
    assert leftover, said["worker1"]
    assert re.search(r"has \d+ MiB free on /var/lib/containerd, needs 1500: ", said["worker2"])
    mend("worker1", leftover[1])
    mend("worker2", "umount /var/lib/containerd")


def test_the_packet_filter_is_named_before_kubeadm_runs() -> None:
    """With the command that opens it; the machines are still blank."""
    ran = drive.operator("apply", "-y")
    assert ran.status == 1
    assert not ran.changes(), ran.changes()
    (said,) = failures(ran).values()
    assert said.startswith(
        "worker1: does not get TCP 10250 (kubelet), TCP 7946 (MetalLB) and UDP 7946 (MetalLB) from "
    )
    assert "its nftables chain incoming of table inet firewall has the policy drop" in said
    command = re.search(r"on worker1: sudo (nft insert rule .* accept); and add that to /etc/nftables.conf", said)
    assert command, said
    mend("worker1", command[1])


def test_then_apply_gets_there() -> None:
    """While another apt holds the lock for a while, and with a dead package source."""
    mend("worker2", "systemd-run -q /usr/local/sbin/hold-lists 90")
    ran = drive.operator("apply", "-y")
    assert ran.status == 0, ran.text[-3000:]
    changes = ran.changes()
    assert "prepare worker2: disable my-swap.service, which turns swap on at boot" in changes
    assert "containerd worker1: change /etc/containerd/config.toml (keeps root)" in changes
    assert not [change for change in changes if "worker1: write /etc/apt/sources.list.d/docker.list" in change]
    notes = [str(event["text"]) for event in ran.events if event["kind"] == "note"]
    assert any("192.168.56.99" in note and "/etc/apt/sources.list.d/old.list:1" in note for note in notes), notes
    waited = [str(event["text"]) for event in ran.events if event["kind"] == "output"]
    assert any("/var/lib/apt/lists/lock" in line and line.endswith("waiting") for line in waited)


def test_verify_passes_and_nothing_is_left_to_do() -> None:
    """The ports are tried again, on what listens there now."""
    ran = drive.operator("verify")
    assert ran.status == 0, ran.text[-3000:]
    assert '"PORTS_OPEN"' in ran.text
    again = drive.operator("apply", "-y")
    assert again.status == 0, again.text[-3000:]
    assert not again.changes(), again.changes()


def test_verify_names_a_filter_that_comes_later() -> None:
    """The pair, the port and the owner of the rule."""
    mend("worker2", "iptables -I INPUT -s 192.168.56.10 -p tcp --dport 10250 -j DROP")
    ran = drive.operator("verify", "reachability")
    mend("worker2", "iptables -D INPUT -s 192.168.56.10 -p tcp --dport 10250 -j DROP")
    assert ran.status == 1, ran.text
    assert "does not get TCP 10250 (kubelet) from master: its iptables chain INPUT has the rule" in ran.text
