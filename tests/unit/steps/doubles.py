"""What a step is given in these tests: real Facts, a real Site, a Host that records, and a FakeCluster.

The real Host and the real Cluster are exercised by the integration and end-to-end tests. Here only two things matter:
which changes a step yields for given facts, and what they would do. Recording is enough for that, and covers states
that no lab can be brought into. Reading a fact that the step's query does not name fails: on a real host it would be
missing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar, cast

from provisioner.engine import Change, Step
from provisioner.kube import Cluster
from provisioner.report import Report
from provisioner.site import HostSpec, Site
from provisioner.ssh import FactQuery, Host, HostFacts, HostNic
from provisioner.ssh.channel import Output
from provisioner.ssh.command import CommandResult
from provisioner.ssh.facts import File, Unit
from provisioner.ssh.shell import PROLOGUE
from tests import hosts_toml
from tests.unit.fake_cluster import FakeCluster

V = TypeVar("V")

HOSTS = hosts_toml.hosts("master", "worker1", "worker2", network="192.168.56")
POOL = hosts_toml.pool("lab", "192.168.56.200-192.168.56.203")


def site_at(directory: Path, cluster: str = "", rest: str = "", hosts: str = f"{HOSTS}{POOL}") -> Site:
    """Return a site with further lines under [cluster], other hosts and pools, and further tables."""
    return hosts_toml.load(directory, f'[cluster]\nname = "lab"\n{cluster}\n{hosts}\n{rest}')


class Asked(dict[str, V]):
    """Facts by name; reading one that the query does not name fails."""

    def __init__(self, values: Mapping[str, V], asked: Iterable[str], what: str) -> None:
        super().__init__(values)
        self.asked = tuple(asked)
        self.what = what

    def learn(self, values: Mapping[str, V]) -> None:
        """Add facts that the query names."""
        for name in values:
            self._check(name)
        self.update(values)

    def _check(self, name: object) -> None:
        known = any(fnmatchcase(str(name), pattern) for pattern in self.asked)
        assert known, f"{self.what} {name} is not in the step's query"

    def __contains__(self, name: object) -> bool:
        self._check(name)
        return super().__contains__(name)

    def __getitem__(self, name: str) -> V:
        self._check(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._check(name)
        return super().get(name, default)


def blank(spec: HostSpec, query: FactQuery, number: int = 0) -> HostFacts:
    """Return the facts of a fresh Debian 12; `number` makes them unique."""
    address = f"{spec.address}/24"
    paths = [path for path in (*query.files, *query.exists) if "*" not in path]
    return HostFacts(
        os_id="debian",
        os_version="12",
        codename="bookworm",
        arch="amd64",
        kernel="6.1.0-30-amd64",
        hostname=spec.name,
        machine_id=f"{number:032x}",
        product_uuid=f"00000000-0000-0000-0000-{number:012x}",
        boot_id="b",
        cpus=2,
        memory_mib=2000,
        swap=(),
        cgroup=2,
        clock=1_800_000_000.0,
        clock_skew=0.0,
        nics=(
            HostNic("lo", "00:00:00:00:00:00", True, ("127.0.0.1/8",)),
            HostNic("eth0", f"52:54:00:00:00:{number:02x}", True, ("10.0.2.15/24",)),
            HostNic("eth1", f"52:54:00:00:01:{number:02x}", True, (address, f"fe80::{number + 1}/64")),
        ),
        default_nic="eth0",
        default_gateway="10.0.2.2",
        listening=frozenset({22}),
        disk_free_mib=dict.fromkeys(("/", "/var/lib", *query.disks), 20000),
        dpkg_interrupted=False,
        files=Asked(dict.fromkeys(paths, File(exists=False)), (*query.files, *query.exists), "file"),
        packages=Asked({}, query.packages, "package"),
        units=Asked(dict.fromkeys(query.units, Unit(False, False, False)), query.units, "unit"),
        sysctls=Asked({}, query.sysctls, "sysctl"),
        modules=frozenset(),
        mounts={},
        processes=frozenset(),
    )


@dataclass
class RecordingHost:
    """Record what a step does to a host; `says` maps a part of a command to its output.

    A command that contains a string of `fails` exits with status 1.
    """

    spec: HostSpec
    site: Site
    facts: HostFacts
    fleet: dict[str, RecordingHost] = field(default_factory=dict)
    says: dict[str, str] = field(default_factory=dict)
    fails: tuple[str, ...] = ()
    files: dict[str, tuple[str, int]] = field(default_factory=dict)  # path -> (content, mode)
    commands: list[str] = field(default_factory=list)
    running_job: str = ""
    closed: threading.Event = field(default_factory=threading.Event)
    works: dict[str, str] = field(default_factory=dict)  # job name -> command
    timeouts: dict[str, float] = field(default_factory=dict)
    silent: bool = False  # does not answer
    secret: set[str] = field(default_factory=set)  # paths and commands marked as secret

    report: Report = field(default_factory=Report)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return self.spec.name

    def reachable_facts(self) -> dict[str, HostFacts]:
        return {name: host.facts for name, host in self.fleet.items() if not host.silent}

    def run(
        self,
        command: str,
        *,
        stdin: str | None = None,
        timeout: float = 60,
        check: bool = True,
        secret: bool = False,
        root: bool = True,
    ) -> CommandResult:
        assert stdin is None
        assert root
        assert timeout > 0
        self.commands.append(command)
        if secret:
            self.secret.add(command)
        output = "".join(text for part, text in self.says.items() if part in command)
        status = int(any(part in command for part in self.fails))
        assert status == 0 or not check
        return CommandResult(output, "", status, 0.0)

    def read(self, script: str) -> str:
        return self.run(script).stdout

    def put(
        self, path: str, content: str, *, mode: int = 0o644, owner: str = "root:root", secret: bool = False
    ) -> None:
        assert owner == "root:root"
        self.files[path] = (content, mode)
        if secret:
            self.secret.add(path)

    def follow(self, name: str, script: str, seconds: float, on_output: Callable[[bytes], None]) -> Output:
        """Record a job's command and timeout, by jobs.py's script, and report success."""
        del seconds, on_output
        job = name.removeprefix("job ")
        mark = re.search(r"cat >script <<'(END-\w+)'\n", script)
        assert mark, script
        self.works[job] = script[mark.end() :].split(f"\n{mark[1]}\n", maxsplit=1)[0].removeprefix(PROLOGUE)
        limit = re.search(r"timeout -k 30 (\d+) ", script)
        assert limit, script
        self.timeouts[job] = float(limit[1]) / self.site.timeout(1)
        return Output(b"", b"exit 0", 0, 0.0)

    # --- states ------------------------------------------------------------------------------------------------

    def know(self, **facts: Any) -> RecordingHost:
        """Change facts; `files`, `packages`, `units` and `sysctls` are merged."""
        for name, values in facts.items():
            if name in ("files", "packages", "units", "sysctls"):
                getattr(self.facts, name).learn(values)
            else:
                self.facts = replace(self.facts, **{name: values})
        return self

    def keep(self, *, mtime: float = 100.0) -> RecordingHost:
        """Add the files that were put to the facts, as if they were read again."""
        found = {
            path: File(exists=True, mode=mode, owner="root:root", content=content, mtime=mtime)
            for path, (content, mode) in self.files.items()
        }
        return self.know(files=found)


def present(content: str | None = None, mode: int = 0o644, mtime: float = 100.0) -> File:
    """Return a file that exists."""
    return File(exists=True, mode=mode, owner="root:root", content=content, mtime=mtime)


def running(since: float = 200.0) -> Unit:
    """Return a unit that is enabled and active since then."""
    return Unit(active=True, enabled=True, state="active/running", file="enabled", since=since)


def fleet_for(step: Step, site: Site) -> dict[str, RecordingHost]:
    """Return the site's hosts as blank machines, with the facts that the step queries."""
    query = step.query(site)
    hosts: dict[str, RecordingHost] = {}
    for number, spec in enumerate(site.hosts, start=1):
        hosts[spec.name] = RecordingHost(spec, site, blank(spec, query, number), hosts)
    return hosts


def drain(step: Step, host: RecordingHost, cluster: FakeCluster | None = None) -> list[Change]:
    """Return the changes of a plan."""
    return [*_changes(step, host, cluster)]


def carry_out(step: Step, host: RecordingHost, cluster: FakeCluster | None = None) -> list[str]:
    """Do each change as it is yielded, as an apply does; return the summaries."""
    done = []
    for change in _changes(step, host, cluster):
        change.do()
        done.append(change.summary)
    return done


def summaries(step: Step, host: RecordingHost, cluster: FakeCluster | None = None) -> list[str]:
    """Return the summaries of a plan's changes."""
    return [change.summary for change in drain(step, host, cluster)]


def _changes(step: Step, host: RecordingHost, cluster: FakeCluster | None) -> Iterator[Change]:
    return step.changes(cast(Host, host), cast(Cluster, cluster or FakeCluster()), host.site)
