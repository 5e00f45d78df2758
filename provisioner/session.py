"""A command's surroundings: the site, a report with its log, the hosts and the cluster, closed at the end."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.errors import ProvisionerError
from provisioner.typed import typed

if TYPE_CHECKING:
    from provisioner.host import Host
    from provisioner.kube import Cluster
    from provisioner.report import Report
    from provisioner.site import Site
    from provisioner.step import Step


@dataclass(frozen=True)
class Options:
    """The global options of the command line."""

    file: Path = Path("hosts.toml")
    verbose: int = 0
    parallel: int = 8
    log: Path | None = None
    output: str = "text"

    def again(self) -> str:
        """Return the options that a command to retype needs."""
        return "" if self.file == Path("hosts.toml") else f" -f {self.file}"

    def typed(self, text: str) -> str:
        """Return a text with its commands as they can be typed here, for the same site."""
        return typed(text, self.again())


@dataclass(frozen=True)
class Session:
    """What a command works with."""

    options: Options
    site: Site
    report: Report
    hosts: Mapping[str, Host]
    cluster: Cluster

    @property
    def log(self) -> Path | None:
        """Return the log file, None while nothing was written to it."""
        log = self.report.log
        return log.path if log is not None and log.path.exists() else None

    def under_way(self) -> list[str]:
        """Return, as sentences, what goes on on hosts although this process ends."""
        return [f"{host.name}: {host.working} goes on there" for host in self.hosts.values() if host.working]


class Defect(Exception):
    """Carry an unexpected exception to the command line, which names the log that holds its traceback."""

    def __init__(self, error: Exception, log: Path | None, text: str) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.log = log
        self.text = text


@contextmanager
def opened(options: Options, command: str, steps: Sequence[Step] = ()) -> Iterator[Session]:
    """Give a session for a command; nothing is connected before it is used.

    steps: those whose facts are wanted. An unexpected exception becomes a Defect, its traceback in the log.
    """
    from provisioner import host, kube, runner, screen
    from provisioner import site as site_module
    from provisioner.report import Log, Report
    from provisioner.sudo import Sudo

    site = site_module.load(options.file)
    log = Log(options.log) if options.log else Log.for_command(site.state, command)
    view = screen.viewer(options.output, options.verbose)
    report = Report(view, log=log)
    sudo = Sudo(site)
    sudo.prompt()  # before any live line is drawn over the question
    hosts = host.fleet(site, report, runner.union(steps, site), sudo)
    cluster = kube.connect(site, hosts)
    cluster.progress = runner.progress(report)
    session = Session(options, site, report, hosts, cluster)
    try:
        yield session
    except ProvisionerError as error:
        report.detail(f"error   {error}")
        error.remedy = options.typed(error.remedy)
        raise
    except BrokenPipeError:
        raise
    except Exception as error:
        if type(error).__module__.startswith("click"):
            raise
        text = traceback.format_exc()
        report.detail("defect", text)
        raise Defect(error, session.log, text) from error
    finally:
        if isinstance(view, screen.Terminal):
            view.stop()
        report.close()
        cluster.close()
        host.close(hosts)
        log.close()


@contextmanager
def locked(session: Session, command: str) -> Iterator[Callable[[], None]]:
    """Hold the cluster's lock meanwhile; give the guard that raises once it is lost."""
    from provisioner import lock

    with lock.acquired(session.hosts[session.site.first.name], command) as guard:
        yield guard
