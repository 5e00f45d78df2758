"""A command's surroundings: the site, a report with its log, the hosts and the cluster, closed at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.report import Log, Report
from provisioner.step import Step

if TYPE_CHECKING:
    from provisioner.host import Host
    from provisioner.kube import Cluster
    from provisioner.site import Site


@dataclass(frozen=True)
class Options:
    """The global options of the command line."""

    file: Path = Path("hosts.toml")
    verbose: int = 0
    parallel: int = 8
    log: Path | None = None
    output: str = "text"


@dataclass(frozen=True)
class Session:
    """What a command works with."""

    options: Options
    site: Site
    report: Report
    hosts: Mapping[str, Host]
    cluster: Cluster


@contextmanager
def opened(options: Options, command: str, steps: Sequence[Step] = ()) -> Iterator[Session]:
    """Give a session for a command; nothing is connected before it is used."""
    from provisioner import host, kube, runner, screen
    from provisioner import site as site_module

    site = site_module.load(options.file)
    log = Log(options.log) if options.log else Log.for_command(site.state, command)
    viewer = screen.json_lines() if options.output == "json" else screen.plain(verbose=options.verbose)
    report = Report(viewer, log=log)
    hosts = host.fleet(site, report, runner.union(steps, site))
    cluster = kube.connect(site, hosts)
    try:
        yield Session(options, site, report, hosts, cluster)
    finally:
        cluster.close()
        host.close(hosts)
        log.close()
