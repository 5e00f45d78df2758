"""The builders that steps are made of."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from provisioner import changes
from provisioner.facts import Package, Unit
from provisioner.host import Host
from provisioner.step import Change, FactQuery

from .doubles import RecordingCluster, RecordingHost, blank, present, running, site_at

PATH = "/etc/thing.conf"


@pytest.fixture
def recorded(tmp_path: Path) -> RecordingHost:
    site = site_at(tmp_path)
    query = FactQuery(files=(PATH,), packages=("one", "two"), units=("thing.service",))
    return RecordingHost(site.first, site, blank(site.first, query))


def host_of(recorded: RecordingHost) -> Host:
    return cast(Host, recorded)


def one(found: list[Change]) -> Change:
    (change,) = found
    return change


@pytest.mark.parametrize(
    ("now", "summary"),
    [
        (None, f"write {PATH} (so)"),
        (present("old\n"), f"change {PATH} (so)"),
        (present(None), f"write {PATH} (so)"),
        (present("new\n", 0o600), f"chmod 0644 {PATH} (so)"),
    ],
    ids=["missing", "different", "not text", "mode"],
)
def test_file(recorded: RecordingHost, now: object, summary: str) -> None:
    if now is not None:
        recorded.know(files={PATH: now})
    change = one([*changes.file(host_of(recorded), PATH, "new\n", then="reload", why="so")])
    assert change.summary == summary
    assert recorded.files == {}, "a plan does nothing"
    change.do()
    assert recorded.files == {PATH: ("new\n", 0o644)}
    assert recorded.commands == ["reload"]


def test_a_file_as_it_should_be(recorded: RecordingHost) -> None:
    recorded.know(files={PATH: present("new\n", 0o600)})
    assert [*changes.file(host_of(recorded), PATH, "new\n", mode=0o600)] == []


def test_packages(recorded: RecordingHost) -> None:
    recorded.know(packages={"one": Package("1")})
    assert [*changes.packages(host_of(recorded), ("one",))] == []
    change = one([*changes.packages(host_of(recorded), ("one", "two"), why="so")])
    assert (change.summary, change.diff) == ("install two (so)", "+ package two\n")
    change.do()
    update, install = recorded.works["apt-install"].splitlines()
    assert update.endswith(" update")
    assert install.endswith("install --no-remove --no-install-recommends two")
    for line in (update, install):
        assert line.startswith("DEBIAN_FRONTEND=noninteractive apt-get ")
        assert "DPkg::Lock::Timeout=" in line, "another apt is waited for"
        assert "--force-confold" in line, "an operator's configuration files stay"


def test_an_interrupted_dpkg_is_mended_before_anything_is_installed(recorded: RecordingHost) -> None:
    recorded.know(dpkg_interrupted=True)
    first, second = changes.packages(host_of(recorded), ("one",))
    first.do()
    assert recorded.works == {"dpkg-configure": "DEBIAN_FRONTEND=noninteractive dpkg --configure -a"}
    assert second.summary == "install one"


def test_names_are_quoted(recorded: RecordingHost) -> None:
    changes.apt_install(host_of(recorded), ["a=1.*", "b; rm -rf /"])
    assert recorded.works["apt-install"].endswith(" 'a=1.*' 'b; rm -rf /'")


@pytest.mark.parametrize(
    ("now", "restart", "expected"),
    [
        (running(), False, False),
        (running(), True, True),
        (Unit(active=False, enabled=True), False, True),
        (Unit(active=True, enabled=False), False, True),
    ],
)
def test_unit(recorded: RecordingHost, now: Unit, restart: bool, expected: bool) -> None:
    recorded.know(units={"thing.service": now})
    assert bool([*changes.unit(host_of(recorded), "thing.service", restart=restart)]) is expected


def test_objects_keep_their_order_and_leave_out_what_is_there() -> None:
    cluster = RecordingCluster()
    manifests = [{"kind": "A", "metadata": {"name": name}} for name in "xyz"]
    cluster.hold(manifests[1])
    found = [*changes.objects(cluster, manifests)]  # type: ignore[arg-type]
    assert [change.summary for change in found] == ["apply A x", "apply A z"]
    for change in found:
        change.do()
    assert [item["metadata"]["name"] for item in cluster.applied] == ["x", "z"]
