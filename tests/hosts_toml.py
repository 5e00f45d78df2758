"""Parts of hosts.toml for tests. Tests of the parser itself (tests/unit/site) write their own text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provisioner.site import Site, hardening, load_site, parse_site

UNHARDENED = "[hardening]\n" + "".join(f"{item} = false\n" for item in hardening.ITEMS)


def host(name: str, address: str, *roles: str, **keys: Any) -> str:
    """Return a [[hosts]] table."""
    return _table("hosts", name=name, address=address, roles=roles, **keys)


def hosts(*names: str, network: str = "192.0.2") -> str:
    """Return a [[hosts]] table for each name, from NETWORK.10: a control plane, then workers."""
    return "".join(
        host(name, f"{network}.{number}", "worker" if number > 10 else "control-plane")
        for number, name in enumerate(names, 10)
    )


def pool(name: str, *addresses: str, **keys: Any) -> str:
    """Return a [[metallb.pools]] table."""
    return _table("metallb.pools", name=name, addresses=addresses, **keys)


def load(directory: Path, text: str) -> Site:
    """Write hosts.toml to a directory and return its site."""
    path = directory / "hosts.toml"
    path.write_text(text)
    return load_site(path)


def _table(header: str, **keys: Any) -> str:
    return f"[[{header}]]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in keys.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


HOSTS = hosts("master", "one", "two")


def site(text: str = "", directory: Path = Path("/nowhere")) -> Site:
    """Return the site of HOSTS without writing a file; text: further tables."""
    return parse_site(text + HOSTS, directory / "hosts.toml")
