"""The prepare step: modules, sysctls, swap, packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.ssh.facts import Package, Unit
from provisioner.steps import kernel_settings, prepare
from provisioner.steps.prepare import STEP
from tests.unit.steps.doubles import RecordingHost, carry_out, drain, fleet_for, present, running, site_at, summaries


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    return fleet_for(STEP, site_at(tmp_path))["worker1"]


@pytest.fixture
def converged(host: RecordingHost) -> RecordingHost:
    carry_out(STEP, host)
    host.keep()
    host.commands.clear()
    host.works.clear()
    return host.know(
        modules=frozenset({"overlay", "br_netfilter", "ext4"}),
        sysctls={**prepare.SYSCTLS, **kernel_settings.SETTINGS},
        packages={name: Package("1") for name in prepare.PACKAGES},
    )


def test_a_blank_host(host: RecordingHost) -> None:
    assert carry_out(STEP, host) == [
        "write /etc/modules-load.d/provisioner.conf",
        "load overlay, br_netfilter",
        "write /etc/sysctl.d/90-provisioner.conf",
        "set net.ipv4.ip_forward, net.bridge.bridge-nf-call-iptables, net.bridge.bridge-nf-call-ip6tables",
        "write /etc/sysctl.d/99-zz-provisioner.conf",
        f"set {', '.join(kernel_settings.SETTINGS)}",
        "install ca-certificates, curl, conntrack, ebtables, ethtool, iptables, nfs-common, socat",
    ]
    assert host.files["/etc/modules-load.d/provisioner.conf"] == ("overlay\nbr_netfilter\n", 0o644)
    sysctls = dict(line.split(" = ") for line in host.files[prepare.SYSCTL_FILE][0].splitlines())
    assert sysctls == prepare.SYSCTLS
    done = [command for command in host.commands if not command.startswith("for path in ")]  # a question
    assert done == [
        "modprobe -a overlay br_netfilter",
        "sysctl -q -p /etc/sysctl.d/90-provisioner.conf",
        "sysctl -q -p /etc/sysctl.d/99-zz-provisioner.conf",
    ]
    (install,) = host.works.values()
    assert "apt-get" in install
    assert " update" in install
    assert "nfs-common" in install


def test_the_nfs_server_gets_its_package_as_well(tmp_path: Path) -> None:
    server = fleet_for(STEP, site_at(tmp_path))["master"]
    carry_out(STEP, server)
    (install,) = server.works.values()
    assert " socat nfs-kernel-server ||" in install
    without = fleet_for(STEP, site_at(tmp_path, rest="[nfs]\nenabled = false\n[workloads]\nenabled = []"))["master"]
    carry_out(STEP, without)
    (install,) = without.works.values()
    assert "nfs-kernel-server" not in install


def test_a_converged_host(converged: RecordingHost) -> None:
    assert drain(STEP, converged) == []


STATES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "killed before the modules were loaded": ({"modules": frozenset({"overlay"})}, ["load br_netfilter"]),
    "killed before the sysctls were set": (
        {"sysctls": {"net.ipv4.ip_forward": "0"}},
        ["set net.ipv4.ip_forward"],
    ),
    "a file with other content": (
        {"files": {prepare.SYSCTL_FILE: present("net.ipv4.ip_forward = 0\n")}},
        ["change /etc/sysctl.d/90-provisioner.conf"],
    ),
    "a file with another mode": (
        {"files": {prepare.SYSCTL_FILE: present("".join(f"{k} = {v}\n" for k, v in prepare.SYSCTLS.items()), 0o600)}},
        ["chmod 0644 /etc/sysctl.d/90-provisioner.conf"],
    ),
    "swap on": ({"swap": ("/dev/sda2", "/swap")}, ["turn swap off, also at boot (/dev/sda2, /swap)"]),
    "dpkg was killed": ({"dpkg_interrupted": True}, ["finish an interrupted dpkg run"]),
    "no module loaded": ({"modules": frozenset()}, ["load overlay, br_netfilter"]),
}


@pytest.mark.parametrize(("facts", "expected"), STATES.values(), ids=STATES)
def test_partial_states(converged: RecordingHost, facts: dict[str, Any], expected: list[str]) -> None:
    assert summaries(STEP, converged.know(**facts)) == expected


def test_a_single_missing_package(converged: RecordingHost) -> None:
    del converged.facts.packages["nfs-common"]  # type: ignore[attr-defined]
    assert carry_out(STEP, converged) == ["install nfs-common"]
    assert "install --no-remove --no-install-recommends nfs-common ||" in converged.works["apt-install"]


def test_swap_is_off_now_and_after_a_reboot(converged: RecordingHost) -> None:
    table = (
        "# comment with swap swap swap\n"
        "UUID=1 / ext4 errors=remount-ro 0 1\n"
        "UUID=2 none swap sw 0 0\n"
        "/swapfile\tswap\tswap\tdefaults\t0\t0\n"
        "#UUID=3 none swap sw 0 0\n"
        "/dev/swap /srv ext4 defaults 0 2"
    )
    converged.know(swap=("/dev/sda2",), files={prepare.FSTAB: present(table, 0o600)})
    changes = drain(STEP, converged)
    assert [change.summary for change in changes] == [
        "turn swap off, also at boot (/dev/sda2)",
        "comment swap out in /etc/fstab",
    ]
    for change in changes:
        change.do()
    assert converged.commands == ["systemctl mask --quiet swap.target && swapoff -a"]
    text, mode = converged.files[prepare.FSTAB]
    assert mode == 0o600
    assert text.splitlines() == [
        "# comment with swap swap swap",
        "UUID=1 / ext4 errors=remount-ro 0 1",
        "#UUID=2 none swap sw 0 0",
        "#/swapfile\tswap\tswap\tdefaults\t0\t0",
        "#UUID=3 none swap sw 0 0",
        "/dev/swap /srv ext4 defaults 0 2",
    ]
    assert text.endswith("0 2"), "no newline is added"
    assert "-UUID=2 none swap sw 0 0" in changes[1].diff


def test_the_diff_shows_old_and_new_values(converged: RecordingHost) -> None:
    (change,) = drain(STEP, converged.know(sysctls={"net.ipv4.ip_forward": "0"}))
    assert change.diff == "- net.ipv4.ip_forward = 0\n+ net.ipv4.ip_forward = 1\n"


CUSTOM = "[Service]\nType=oneshot\nExecStart=/usr/sbin/swapon /var/swap\n[Install]\nWantedBy=multi-user.target\n"
SHELL = "[Service]\nExecStartPre=-/sbin/mkswap /dev/zram0\nExecStart=sh -c 'swapon /dev/zram0'\n"
AT_BOOT = "/etc/systemd/system/multi-user.target.wants"


def test_units_that_turn_swap_on_are_disabled(converged: RecordingHost) -> None:
    """Masking swap.target does not reach them: they are started by multi-user.target."""
    converged.know(
        units={"dphys-swapfile.service": running(), "zramswap.service": Unit(active=False, enabled=True)},
        files={
            "/etc/systemd/system/my-swap.service": present(CUSTOM),
            f"{AT_BOOT}/my-swap.service": present(),
            "/etc/systemd/system/unused.service": present(CUSTOM),
            "/etc/systemd/system/other.service": present("[Service]\nExecStart=/usr/bin/swapoff -a\n"),
            f"{AT_BOOT}/other.service": present(),
            "/etc/systemd/system/shell.service": present(SHELL),
            f"{AT_BOOT}/shell.service": present(),
        },
    )
    assert carry_out(STEP, converged) == [
        f"disable {name}, which turns swap on at boot"
        for name in ("dphys-swapfile.service", "zramswap.service", "my-swap.service", "shell.service")
    ]
    assert converged.commands[0] == "systemctl disable --quiet --now dphys-swapfile.service"
