"""A command's surroundings: the site, a report with its log, the hosts and the cluster, closed at the end."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provisioner.cli import screen
from provisioner.cli.options import InternalError, Options
from provisioner.engine import Step, lock, runner
from provisioner.errors import ProvisionerError
from provisioner.kube import Cluster
from provisioner.kube import cluster as kube
from provisioner.report import Log, Report
from provisioner.site import Site, load_site
from provisioner.ssh import Host, Sudo, host


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
        return [f"{host.name}: {host.running_job} goes on there" for host in self.hosts.values() if host.running_job]


@contextmanager
def open_session(options: Options, command: str, steps: Sequence[Step] = ()) -> Iterator[Session]:
    """Give a session for a command; nothing is connected before it is used.

    steps: those whose facts are wanted. An unexpected exception becomes a Defect, its traceback in the log.
    """
    site = load_site(options.file)
    log = Log(options.log) if options.log else Log.for_command(site.state, command)
    view = screen.viewer(options.output, options.verbose)
    report = Report(view, log=log)
    sudo = Sudo(site)
    sudo.prompt()  # before any live line is drawn over the question
    hosts = host.fleet(site, report, runner.combined_query(steps, site), sudo)
    cluster = kube.connect(site, hosts)
    cluster.progress = runner.progress(report)
    session = Session(options, site, report, hosts, cluster)
    try:
        yield session
    except ProvisionerError as error:
        report.detail(f"error   {error}")
        error.remedy = options.runnable(error.remedy)
        raise
    except BrokenPipeError:
        raise
    except Exception as error:
        if type(error).__module__.startswith("click"):
            raise
        text = traceback.format_exc()
        report.detail("defect", text)
        raise InternalError(error, session.log, text) from error
    finally:
        if isinstance(view, screen.Terminal):
            view.stop()
        report.close()
        cluster.close()
        host.close(hosts)
        log.close()


@contextmanager
def hold_lock(session: Session, command: str) -> Iterator[Callable[[], None]]:
    """Hold the cluster's lock meanwhile; give the guard that raises once it is lost."""
    with lock.acquired(session.hosts[session.site.first.name], command) as guard:
        yield guard
