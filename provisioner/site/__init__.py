"""The site: hosts.toml, validated and frozen, with every default filled in; no I/O beyond reading the file."""

from __future__ import annotations

from provisioner.site.load import SiteErrors, load_site, parse_site
from provisioner.site.model import HostSpec, Site, Workloads

__all__ = [
    "HostSpec",
    "Site",
    "SiteErrors",
    "Workloads",
    "load_site",
    "messages",
    "parse_site",
    "proxy",
    "rules",
    "syntax",
    "toml_lines",
]
