"""Logging in: host keys, private keys, addresses, the jump host."""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from provisioner.engine.runner import parallel
from provisioner.errors import Unreachable
from provisioner.ssh.connect import LoginRefused
from provisioner.ssh.host_keys import path as known_hosts
from tests.integration.ssh.conftest import MakeSite, Open, provisioner
from tests.integration.ssh.nodes import NETWORK, Machine, make_key


def test_strict_refuses_an_unknown_host_key_and_accepts_a_known_one(
    make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    site = make_site(host_keys="strict")
    before = machines["one"].sessions()
    with pytest.raises(LoginRefused, match=r"the host key of 192\.0\.2\.\d+ \(ssh-ed25519 SHA256:\S+\) is not in "):
        open_site(site)["one"].run("true")
    assert machines["one"].sessions() == before
    assert not known_hosts(site).exists()
    known_hosts(site).parent.mkdir(exist_ok=True)
    public = (machines["one"].folder / "host_key.pub").read_text()
    known_hosts(site).write_text(f"{machines['one'].address} {public}")
    assert open_site(site)["one"].run("echo in").stdout == "in\n"


def test_accept_new_stores_a_key_and_refuses_a_changed_one(
    make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    site = make_site()
    opened = open_site(site)
    for name in ("master", "one"):
        opened[name].run("true")
    file = known_hosts(site)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = file.read_text().splitlines()
    assert {line.split()[0] for line in lines} == {machines[name].address for name in ("master", "one")}
    subprocess.run(["ssh-keygen", "-l", "-f", str(file)], check=True, capture_output=True)

    machines["one"].new_host_key()
    later = open_site(site)
    with pytest.raises(LoginRefused, match="has changed") as caught:
        later["one"].run("true")
    assert file.read_text().splitlines() == lines
    command = re.search(r"ssh-keygen -f \S+ -R '\S+'", caught.value.remedy)
    assert command
    subprocess.run(shlex.split(command[0]), check=True, capture_output=True)
    assert later["one"].run("echo in").stdout == "in\n"
    assert later["master"].run("echo in").stdout == "in\n"


def test_off_accepts_any_host_key_and_stores_none(
    make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    site = make_site(host_keys="off")
    open_site(site)["one"].run("true")
    machines["one"].new_host_key()
    open_site(site)["one"].run("true")
    assert not known_hosts(site).exists()


def test_host_keys_of_parallel_logins_are_all_stored(make_site: MakeSite, open_site: Open) -> None:
    site = make_site(hosts=("master", "one", "gate"))
    opened = open_site(site)
    parallel(list(opened.hosts.values()), lambda host: host.run("true"), 3)
    assert len(known_hosts(site).read_text().splitlines()) == 3


def test_a_rejected_key_is_named(make_site: MakeSite, open_site: Open, folder: Path) -> None:
    make_key(folder / "other")
    with pytest.raises(LoginRefused, match=r"plain@192.0.2.\d+:22 rejected \S+/other"):
        open_site(make_site(key="other"))["one"].run("true")


def test_a_missing_key_and_one_with_a_passphrase_are_named(make_site: MakeSite, open_site: Open, folder: Path) -> None:
    with pytest.raises(LoginRefused, match=r"cannot read the private key \S+/nothing"):
        open_site(make_site(key="nothing"))["one"].run("true")
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "a phrase", "-f", str(folder / "locked")]
    subprocess.run(words, check=True)
    with pytest.raises(LoginRefused, match="has a passphrase; load it into an agent"):
        open_site(make_site(key="locked"))["one"].run("true")


def test_an_unreachable_host_is_named(make_site: MakeSite, open_site: Open, machines: dict[str, Machine]) -> None:
    site = make_site(connect_timeout=1.0)
    machines["one"].link("down")
    try:
        with pytest.raises(Unreachable, match=r"one: .*plain@.*(timed out|No route to host)"):
            open_site(site)["one"].run("true")
    finally:
        machines["one"].link("up")


def test_a_closed_port_is_named(make_site: MakeSite, open_site: Open) -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        open_site(make_site(port=2))["one"].run("true")


def test_a_login_through_the_jump_host(make_site: MakeSite, open_site: Open, machines: dict[str, Machine]) -> None:
    site = make_site(jump=f"plain@{machines['gate'].address}:22")
    opened = open_site(site)
    connection = opened["one"].run("echo $SSH_CONNECTION", root=False).stdout.split()
    assert connection[0] == machines["gate"].address
    assert opened["one"].run("id -un").stdout == "root\n"
    known = {line.split()[0] for line in known_hosts(site).read_text().splitlines()}
    assert known == {machines["gate"].address, machines["one"].address}


def test_an_unreachable_jump_host_is_named(make_site: MakeSite, open_site: Open) -> None:
    with pytest.raises(Unreachable, match=rf"one: .*jump host plain@{NETWORK}\.99:22"):
        open_site(make_site(jump=f"plain@{NETWORK}.99:22", connect_timeout=1.0))["one"].run("true")


def test_a_host_unreachable_from_the_jump_host_is_named(
    make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    site = make_site(jump=f"plain@{machines['gate'].address}:22", connect_timeout=1.0)
    machines["one"].link("down")
    try:
        with pytest.raises(Unreachable, match=r"one: .*192\.0\.2\.11:22 through the jump host"):
            open_site(site)["one"].run("true")
    finally:
        machines["one"].link("up")


def test_the_openssh_client_uses_the_same_settings(make_site: MakeSite, machines: dict[str, Machine]) -> None:
    site = make_site(jump=f"plain@{machines['gate'].address}:22")
    done = provisioner(site, "ssh", "one", "--", "echo", "$SSH_CONNECTION")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == machines["gate"].address
    assert len(known_hosts(site).read_text().splitlines()) == 2
