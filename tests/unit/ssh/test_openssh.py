"""The OpenSSH command line."""

from __future__ import annotations

from pathlib import Path

from provisioner.ssh import openssh
from tests.hosts_toml import site


def test_openssh_gets_the_same_login_settings(tmp_path: Path) -> None:
    made = site('[ssh]\nhost_keys = "strict"\njump = "j@gate:2222"\nkey = "/k"\n', tmp_path)
    words = openssh.arguments(made, made.hosts[0])
    known = f'UserKnownHostsFile="{tmp_path}/.provisioner/known_hosts"'
    assert words[0] == "ssh"
    assert words[-1] == "vagrant@192.0.2.10"
    assert "StrictHostKeyChecking=yes" in words
    assert known in words
    proxy = next(word for word in words if word.startswith("ProxyCommand="))
    assert "-p 2222" in proxy
    assert "StrictHostKeyChecking=yes" in proxy
    assert proxy.endswith("-W '[%h]:%p' j@gate")
    off = openssh.arguments(site('[ssh]\nhost_keys = "off"\n'), made.hosts[0])
    assert 'UserKnownHostsFile="/dev/null"' in off
