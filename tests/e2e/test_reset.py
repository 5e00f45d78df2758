"""A whole cluster is reset: the machines keep nothing of it but the data on the export."""

from __future__ import annotations

import pytest

from tests.e2e import drive
from tests.e2e.node_state import CLUSTER_STATE, RUNTIME_STATE, done

pytestmark = pytest.mark.e2e
FILES = "find /srv/nfs -type f 2>/dev/null | sort | head -50; true"


def test_the_whole_cluster_is_reset_and_the_data_stays() -> None:
    """A second reset has nothing to do."""
    before = drive.ssh("master", FILES).text
    done("reset", "-y")
    for host in drive.hosts():
        assert drive.ssh(host, CLUSTER_STATE).text.strip() == "", host
        assert drive.ssh(host, RUNTIME_STATE).text.strip() == "active", host
    assert drive.ssh("master", "ls /var/lib/etcd 2>/dev/null; true").text.strip() == ""
    assert set(before.split()) <= set(drive.ssh("master", FILES).text.split())
    again = drive.operator("reset", "-y")
    assert (again.status, again.changes()) == (0, [])
