"""A small site for unit tests: one control plane and two workers."""

from __future__ import annotations

from pathlib import Path

from provisioner.site import Site, parse_site

HOSTS = """
[[hosts]]
name = "master"
address = "192.0.2.10"
roles = ["control-plane"]
[[hosts]]
name = "one"
address = "192.0.2.11"
roles = ["worker"]
[[hosts]]
name = "two"
address = "192.0.2.12"
roles = ["worker"]
"""


def site(text: str = "", folder: Path = Path("/nowhere")) -> Site:
    """Return the site, with further tables before [[hosts]]."""
    return parse_site(text + HOSTS, folder / "hosts.toml")
