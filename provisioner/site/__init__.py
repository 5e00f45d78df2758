"""The site: hosts.toml, validated and frozen, with every default filled in; no I/O beyond reading the file.

The model is built when a name of it is first used: it takes a third of the time in which a command starts, and a
command of `l2` without hosts.toml, or the help of any command, does without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.site.load import SiteErrors, parse_site
    from provisioner.site.model import HostSpec, Site, Workloads

__all__ = [
    "HostSpec",
    "Site",
    "SiteErrors",
    "Workloads",
    "hardening",
    "load_site",
    "messages",
    "parse_site",
    "proxy",
    "rules",
    "syntax",
    "toml_lines",
]

_DEFINED_IN = {"HostSpec": "model", "Site": "model", "Workloads": "model", "SiteErrors": "load", "parse_site": "load"}


def load_site(path: Path) -> Site:
    """Read a site from hosts.toml; raise SiteErrors with every fault found."""
    site: Site = import_module("provisioner.site.load").load_site(path)
    return site


def __getattr__(name: str) -> object:
    """Return a public name of the model (PEP 562)."""
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"provisioner.site.{_DEFINED_IN[name]}"), name)
