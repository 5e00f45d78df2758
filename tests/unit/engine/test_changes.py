"""The change builders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from provisioner.engine import Change, apt, changes
from provisioner.errors import ClusterError
from provisioner.kube import Cluster, Object
from provisioner.ssh import FactQuery, Host
from provisioner.ssh.facts import Package, Unit
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import RecordingHost, blank, present, running, site_at

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
def test_a_missing_or_different_file_is_written(recorded: RecordingHost, now: object, summary: str) -> None:
    if now is not None:
        recorded.know(files={PATH: now})
    change = one([*changes.file(host_of(recorded), PATH, "new\n", then="reload", why="so")])
    assert change.summary == summary
    assert recorded.files == {}, "a plan changes nothing"
    change.do()
    assert recorded.files == {PATH: ("new\n", 0o644)}
    assert recorded.commands == ["reload"]


def test_an_unchanged_file_yields_no_change(recorded: RecordingHost) -> None:
    recorded.know(files={PATH: present("new\n", 0o600)})
    assert [*changes.file(host_of(recorded), PATH, "new\n", mode=0o600)] == []


def test_missing_packages_are_installed(recorded: RecordingHost) -> None:
    recorded.know(packages={"one": Package("1")})
    assert [*changes.packages(host_of(recorded), ("one",))] == []
    change = one([*changes.packages(host_of(recorded), ("one", "two"), why="so")])
    assert (change.summary, change.diff) == ("install two (so)", "+ package two\n")
    change.do()
    update, install = (line for line in recorded.works["apt-install"].splitlines() if "apt-get -q" in line)
    assert " update " in update
    assert "install --no-remove --no-install-recommends two ||" in install
    for line in (update, install):
        assert line.startswith("apt env DEBIAN_FRONTEND=noninteractive apt-get "), "waits for the lock of the lists"
        assert "DPkg::Lock::Timeout=" in line, "wait for another dpkg"
        assert "--force-confold" in line, "keep an operator's configuration files"


def test_an_interrupted_dpkg_run_is_finished_first(recorded: RecordingHost) -> None:
    recorded.know(dpkg_interrupted=True)
    first, second = changes.packages(host_of(recorded), ("one",))
    first.do()
    assert recorded.works == {"dpkg-configure": "DEBIAN_FRONTEND=noninteractive dpkg --configure -a"}
    assert second.summary == "install one"


def test_package_names_are_quoted(recorded: RecordingHost) -> None:
    apt.install(host_of(recorded), ["a=1.*", "b; rm -rf /"])
    assert " 'a=1.*' 'b; rm -rf /' ||" in recorded.works["apt-install"]


@pytest.mark.parametrize(
    ("now", "restart", "expected"),
    [
        (running(), False, False),
        (running(), True, True),
        (Unit(active=False, enabled=True), False, True),
        (Unit(active=True, enabled=False), False, True),
    ],
)
def test_a_unit_is_started_if_inactive_disabled_or_to_be_restarted(
    recorded: RecordingHost, now: Unit, restart: bool, expected: bool
) -> None:
    recorded.know(units={"thing.service": now})
    assert bool([*changes.unit(host_of(recorded), "thing.service", restart=restart)]) is expected


def test_objects_keep_their_order_and_unchanged_ones_are_skipped() -> None:
    cluster = FakeCluster()
    manifests = [{"apiVersion": "v1", "kind": "A", "metadata": {"name": name}} for name in "xyz"]
    cluster.hold(manifests[1])
    found = [*changes.objects(cluster, manifests)]  # type: ignore[arg-type]
    assert [change.summary for change in found] == ["apply A x", "apply A z"]
    for change in found:
        change.do()
    assert [item["metadata"]["name"] for item in cluster.applied] == ["x", "z"]


TAKEN = 'Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated'
WEB = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "course", "name": "web"}, "spec": {}}


class Refusing(FakeCluster):
    """Reject objects like the API: a new one when applied, an existing one already in the dry run."""

    reason = ""

    def diffs(self, manifests: Iterable[Mapping[str, Any]]) -> list[str]:
        wanted = [*manifests]
        if any(self.get(item["kind"], item["metadata"]["name"], item["metadata"]["namespace"]) for item in wanted):
            self._refuse()
        return ["+"] * len(wanted)

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        self._refuse()
        return manifest

    def _refuse(self) -> None:
        raise ClusterError(f"the API refused to apply Service web: {self.reason} (422)", "unchanged")


@pytest.mark.parametrize("live", [False, True], ids=["new", "edited"])
@pytest.mark.parametrize(
    ("reason", "spec", "message"),
    [
        (TAKEN, {"ports": [{"nodePort": 30080}]}, "(422): Service default/other has port 30080; change the nodePort"),
        (TAKEN, {"healthCheckNodePort": 30080}, "(422): Service default/other has port 30080; change the nodePort"),
        (TAKEN, {"ports": [{"nodePort": 30081}]}, "already allocated (422); unchanged"),
        ("it has no name", {"ports": [{"nodePort": 30080}]}, "it has no name (422); unchanged"),
    ],
)
def test_a_node_port_conflict_names_the_other_service(live: bool, reason: str, spec: Object, message: str) -> None:
    """In the apply of a new Service and in the plan of an existing one, whose dry run is rejected."""
    cluster = Refusing()
    cluster.reason = reason
    cluster.hold({"kind": "Service", "metadata": {"namespace": "default", "name": "other"}, "spec": spec})
    if live:
        cluster.hold(WEB)
    found = changes.objects(cast(Cluster, cluster), [WEB])
    rejected = (lambda: next(found)) if live else one([*found]).do
    with pytest.raises(ClusterError) as raised:
        rejected()
    assert message in str(raised.value)
