"""Drills run on the lab that `make lab` created and leave a working cluster; each file runs by itself."""

from __future__ import annotations

import os

import pytest

from tests.e2e import drive


@pytest.fixture(scope="session", autouse=True)
def cluster() -> None:
    """Exit without a cluster."""
    if os.geteuid() != 0:
        pytest.exit("the lab needs root for network namespaces: sudo make drills", returncode=1)
    if drive.lab("status").status != 0 or not drive.SITE.exists():
        pytest.exit("there is no cluster to run drills on; create one: make lab", returncode=1)
    # Machines that were restored from a snapshot need a moment to become Ready.
    drive.until("every node to be ready", lambda: drive.operator("status", quiet=True).status == 0, 300)
