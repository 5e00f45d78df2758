"""What a command works with: the site, a report with its log, the hosts and the cluster, closed at the end."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.options import InternalError, Options
from provisioner.cli.screen import JsonLines, Plain, Silent, Viewer
from provisioner.engine import Step, lock, runner
from provisioner.errors import ProvisionerError
from provisioner.kube import Cluster
from provisioner.report import Log, Report
from provisioner.site import load_site
from provisioner.ssh import FactQuery, Host, Sudo, host

if TYPE_CHECKING:
    from provisioner.site import Site


@dataclass(frozen=True)
class Session:
    """The site, report, hosts and cluster of one command."""

    options: Options
    site: Site
    report: Report
    hosts: Mapping[str, Host]
    cluster: Cluster

    @property
    def log(self) -> Path | None:
        """Return the path of the log file, or None if nothing has been logged."""
        log = self.report.log
        return log.path if log is not None and log.path.exists() else None

    @property
    def durations(self) -> Path:
        """Return the file that keeps how long steps and checks take on this site."""
        return self.site.state / "durations.json"

    def running_jobs(self) -> list[str]:
        """Return a sentence for each job that keeps running on a host after this process ends."""
        hosts = [each for each in self.hosts.values() if each.running_job]
        return [f"{each.name}: {each.running_job} is still running there" for each in hosts]


@contextmanager
def open_session(
    options: Options, command: str, steps: Sequence[Step] = (), *, silent: bool = False
) -> Iterator[Session]:
    """Provide the session of a command; hosts and cluster connect at first use.

    steps: the steps whose facts are needed. silent: show no progress. An unexpected exception becomes
    an InternalError with its traceback in the log.
    """
    site = load_site(options.file)
    log = Log(options.log) if options.log else Log.for_command(site.state, command)
    viewer = Silent() if silent else _viewer(options)
    report = Report(viewer, log=log)
    sudo = Sudo(site, _prompt_sudo_password if sys.stdin.isatty() else None)
    sudo.prompt_early()
    hosts = host.fleet(site, report, runner.combined_query(steps, site), sudo)
    cluster = Cluster(site, hosts)
    cluster.progress = runner.progress(report)
    session = Session(options, site, report, hosts, cluster)
    try:
        yield session
    except ProvisionerError as error:
        report.detail(f"error   {error}")
        error.remedy = options.runnable(error.remedy)
        raise
    except (BrokenPipeError, click.Abort, click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.EIO, errno.ENOSPC) and error.filename is None:
            raise  # stdout or stderr cannot be written: main.py says so
        text = traceback.format_exc()
        report.detail("internal error", text)
        raise InternalError(error, session.log, text) from error
    finally:
        viewer.close()
        report.close()
        cluster.disconnect()
        host.close(hosts)
        log.close()
        _tell(log)


@contextmanager
def inspecting(options: Options, site: Site, query: FactQuery) -> Iterator[Mapping[str, Host]]:
    """Provide hosts to look at, of a site that no file describes yet: no log, no lock, no cluster."""
    viewer = _viewer(options)
    report = Report(viewer)
    sudo = Sudo(site, _prompt_sudo_password if sys.stdin.isatty() else None)
    sudo.prompt_early()
    hosts = host.fleet(site, report, query, sudo)
    try:
        yield hosts
    finally:
        viewer.close()
        report.close()
        host.close(hosts)


def _tell(log: Log) -> None:
    """Say that the log is missing or not complete."""
    try:
        log.check()
    except ProvisionerError as error:
        with suppress(OSError):
            click.echo(f"note: {error}", err=True)


def hold_lock(session: Session, command: str) -> AbstractContextManager[Callable[[], None]]:
    """Hold the cluster's lock; the context's value raises Locked once the lock is lost."""
    return lock.acquire(session.hosts[session.site.first.name], command)


def _viewer(options: Options) -> Viewer:
    """Return the viewer for -o and -v; progress goes to stderr, JSON to stdout."""
    if options.output == "json":
        return JsonLines(sys.stdout)
    if sys.stderr.isatty() and not options.verbose and os.environ.get("TERM", "dumb") != "dumb":
        from provisioner.cli.terminal import Terminal  # imports Rich, which would double the time of a `--help`

        return Terminal()
    return Plain(sys.stderr, options.verbose)


def _prompt_sudo_password() -> str:
    return str(click.prompt("sudo password for the hosts", hide_input=True, err=True))
