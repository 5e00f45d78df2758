"""Minimal hosts.toml texts that tests build on, and the mistakes in a text."""

from __future__ import annotations

import pytest

from provisioner.errors import SiteError
from provisioner.site import SiteErrors, parse_site

MASTER = """\
[[hosts]]
name = "master"
address = "192.168.56.10"
roles = ["control-plane"]
"""

WORKER = """\
[[hosts]]
name = "worker1"
address = "192.168.56.11"
roles = ["worker"]
"""


def errors(text: str | bytes) -> tuple[SiteError, ...]:
    """Return the mistakes in an invalid hosts.toml."""
    with pytest.raises(SiteErrors) as caught:
        parse_site(text)
    return caught.value.errors
