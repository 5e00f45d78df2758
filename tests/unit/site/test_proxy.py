"""[proxy]: what programs are told, and what is reached without it."""

from __future__ import annotations

import pytest

from provisioner.site import SiteErrors, proxy
from tests import hosts_toml

PROXY = '[proxy]\nhttp = "http://proxy.example.org:3128/"\nhttps = "http://proxy.example.org:3128"\n'


def test_without_a_proxy_nothing_is_said() -> None:
    site = hosts_toml.site()
    assert proxy.environment(site) == {}
    assert proxy.shell_prefix(site) == proxy.apt_settings(site) == proxy.unit_drop_in(site) == ""


def test_the_clusters_own_networks_are_reached_without_it() -> None:
    site = hosts_toml.site(
        f'{PROXY}no_proxy = [".example.net", "198.51.100.0/24"]\n[mirror]\npackages = "http://192.168.0.2/pkgs"\n'
        'images = "http://registry.lan:5000/{registry}"\nmanifests = "https://mirror.example.org"\n'
        '[cluster]\nendpoint = "api.example.net:6443"\n'
    )
    values = proxy.environment(site)
    assert values["http_proxy"] == values["HTTPS_PROXY"] == "http://proxy.example.org:3128"
    assert values["NO_PROXY"].split(",") == [
        "localhost", "127.0.0.1", "::1", "master", "one", "two", "192.0.2.10", "192.0.2.11", "192.0.2.12",
        "api.example.net", "10.244.0.0/16", "10.96.0.0/16", ".svc", ".cluster.local", "192.168.0.2", "registry.lan",
        ".example.net", "198.51.100.0/24",
    ]  # fmt: skip
    apt = proxy.apt_settings(site).splitlines()
    assert apt[:2] == [f'Acquire::{each}::Proxy "http://proxy.example.org:3128";' for each in ("http", "https")]
    assert 'Acquire::http::Proxy::192.168.0.2 "DIRECT";' in apt
    assert not any("/24" in line or ".svc" in line for line in apt), "apt knows no networks and domains"
    assert 'Environment="HTTPS_PROXY=http://proxy.example.org:3128"\n' in proxy.unit_drop_in(site)


def test_one_of_both() -> None:
    site = hosts_toml.site('[proxy]\nhttps = "http://192.0.2.99:3128"\n')
    assert set(proxy.environment(site)) == {"https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY"}
    assert "Acquire::http::Proxy " not in proxy.apt_settings(site)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('http = "proxy.example.org:3128"', "is not the URL of a proxy"),
        ('http = "socks5://192.0.2.1"', "is not the URL of a proxy"),
        ('http = "http://user:secret@192.0.2.1:3128"', "contains more than scheme, host and port"),
        ('http = "http://192.0.2.1/x"', "contains more than scheme, host and port"),
        ('no_proxy = ["a b"]', "is not a name, address or network"),
    ],
)
def test_mistakes(line: str, words: str) -> None:
    with pytest.raises(SiteErrors) as raised:
        hosts_toml.site(f"[proxy]\n{line}\n")
    assert words in str(raised.value)
