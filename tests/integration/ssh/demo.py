"""The command line with four small steps, so that tests can watch, kill and repeat runs.

`preflight` fails if /etc/demo.bad exists, `files` writes one file per host, `slow` is a job that waits for /run/go and
counts its starts in /etc/demo.count, `last` depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from provisioner import steps
from provisioner.cli.main import main
from provisioner.engine import Change, Scope, Step, lock
from provisioner.errors import HostError
from provisioner.ssh import FactQuery, jobs

if TYPE_CHECKING:
    from provisioner.kube import Cluster
    from provisioner.site import Site
    from provisioner.ssh import Host

SLOW = """echo started
echo run >>/etc/demo.count
while [ ! -e /run/go ]; do sleep 0.05; done
echo ended >/etc/demo.slow
"""


def _preflight(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    del cluster, site
    if host.facts.files["/etc/demo.bad"].exists:
        raise HostError(host.name, "is bad", "rm /etc/demo.bad on it")
    yield from ()


def _files(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    del cluster
    wanted = f"{site.cluster.name}\n"
    if host.facts.files["/etc/demo.conf"].content != wanted:
        yield Change("write /etc/demo.conf", lambda: host.put("/etc/demo.conf", wanted), f"+ {wanted}")


def _slow(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    del cluster, site
    if not host.facts.files["/etc/demo.slow"].exists:
        yield Change("take a long time", lambda: _run_slow(host))


def _run_slow(host: Host) -> None:
    jobs.run(host, "slow", SLOW, timeout=60)


def _last(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    del cluster, site
    if "demo" not in (host.facts.files["/etc/demo.last"].content or ""):
        yield Change("write /etc/demo.last", lambda: host.put("/etc/demo.last", "demo\n"))


def _query(*files: str) -> FactQuery:
    return FactQuery(files=files)


lock.TTL = 20.0  # the next run after a killed one waits for it

steps.STEPS = (
    Step("preflight", "check", Scope.ALL, _preflight, lambda site: _query("/etc/demo.bad"), reads_only=True),
    Step("files", "one file", Scope.ALL, _files, lambda site: _query("/etc/demo.conf")),
    Step("slow", "a long job", Scope.FIRST, _slow, lambda site: _query("/etc/demo.slow")),
    Step("last", "what depends on it", Scope.ALL, _last, lambda site: _query("/etc/demo.last"), after=("slow",)),
)

if __name__ == "__main__":
    main()
