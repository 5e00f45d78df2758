"""The login settings of hosts and the jump host."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.ssh.login import jump_logins, login
from tests.hosts_toml import site


def test_a_hosts_own_settings_take_precedence(tmp_path: Path) -> None:
    text = '[ssh]\nuser = "a"\nkey = "keys/id"\nport = 2022\n'
    made = site(text, tmp_path)
    target = login(made, made.hosts[1])
    assert (target.user, target.address, target.port) == ("a", "192.0.2.11", 2022)
    assert target.key == str(tmp_path / "keys/id")
    own = made.hosts[1].ssh.model_copy(update={"user": "b", "port": 23})
    other = made.hosts[1].model_copy(update={"ssh_address": "node.example.org", "ssh": own})
    target = login(made, other)
    assert (target.user, target.address, target.port) == ("b", "node.example.org", 23)


@pytest.mark.parametrize(
    ("jump", "user", "address", "port"),
    [
        ("gate", "vagrant", "gate", 22),
        ("ann@gate:2222", "ann", "gate", 2222),
        ("a@[fd00::1]:23", "a", "fd00::1", 23),
    ],
)
def test_the_jump_host_is_parsed(jump: str, user: str, address: str, port: int) -> None:
    (found,) = jump_logins(site(f'[ssh]\njump = "{jump}"\n'))
    assert (found.user, found.address, found.port) == (user, address, port)
