"""Drills are held on the lab as `make lab` left it, and leave a cluster that works; each file stands on its own."""

from __future__ import annotations

import os

import pytest

from tests.e2e import drive


@pytest.fixture(scope="session", autouse=True)
def standing() -> None:
    """Refuse to begin without a cluster."""
    if os.geteuid() != 0:
        pytest.exit("the lab's network namespaces are root's: sudo make drills", returncode=1)
    if drive.lab("status").status != 0 or not drive.SITE.exists():
        pytest.exit("there is no cluster to hold drills on: make lab", returncode=1)
    # Machines whose snapshot was put back a moment ago have to find each other first.
    drive.until("every node to be ready", lambda: drive.operator("status", quiet=True).status == 0, 300)
