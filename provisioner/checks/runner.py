"""Run checks for `verify`: choose them by name, run them in order or in parallel, turn errors into findings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from queue import SimpleQueue

from provisioner.checks.check import Check, Context, Finding, failed, passed
from provisioner.errors import ClusterError, HostError, Inconclusive, ProvisionerError
from provisioner.text import did_you_mean


def choose(checks: Sequence[Check], names: Sequence[str]) -> tuple[Check, ...]:
    """Return the checks with these names, in the order of `checks`; no names select all.

    Raises ProvisionerError for an unknown name.
    """
    known = {check.name: check for check in checks}
    for name in names:
        if name not in known:
            raise ProvisionerError(
                f"unknown check {name!r}", did_you_mean(name, known) or f"the checks are {', '.join(known)}"
            )
    return tuple(check for check in checks if not names or check.name in names)


def run(
    context: Context,
    checks: Sequence[Check],
    *,
    named: bool = False,
    begin: Callable[[Check | None], object] = lambda check: None,
) -> Generator[tuple[Check, Finding], None, None]:
    """Yield each finding with its check, in the order of the checks.

    Adjacent parallel-safe checks run at the same time, except on a slow site, where that takes longer than one after
    the other. An error that ends a check becomes a finding, and the next check runs. Without the API, only checks that
    do not need it run. named: a check that the site disables then fails instead of being skipped. Closing the
    generator waits until every check has restored what it changed. begin: called with each check before its findings
    are waited for, and with None after the last.
    """
    if not context.cluster.reachable():
        why = context.cluster.api_error or "there is no control plane yet"
        yield (
            checks[0],
            failed("API_UNREACHABLE", "the Kubernetes API", f"does not answer: {why}", "provisioner status"),
        )
        checks = [check for check in checks if check.without_api]
    for parallel, group in groupby(checks, lambda check: check.parallel_safe):
        if parallel:
            adjacent = tuple(group)
            for batch in [(check,) for check in adjacent] if context.site.slow else [adjacent]:
                yield from _run_parallel(context, batch, named, begin)
            continue
        for check in group:
            begin(check)
            with closing(_findings(context, check, named)) as findings:
                for finding in findings:
                    yield check, finding
    begin(None)


def _run_parallel(
    context: Context, checks: Sequence[Check], named: bool, begin: Callable[[Check | None], object]
) -> Iterator[tuple[Check, Finding]]:
    """Run each check in a thread; yield findings in the order of the checks, the first check's as they arrive."""
    queues: dict[str, SimpleQueue[Finding | BaseException | None]] = {check.name: SimpleQueue() for check in checks}

    def collect(check: Check) -> None:
        try:
            for finding in _findings(context, check, named):
                queues[check.name].put(finding)
            queues[check.name].put(None)
        except BaseException as error:
            queues[check.name].put(error)

    threads = [threading.Thread(target=collect, args=(check,), daemon=True) for check in checks]
    for thread in threads:
        thread.start()
    try:
        for check in checks:
            begin(check)
            while (finding := queues[check.name].get()) is not None:
                if isinstance(finding, BaseException):
                    raise finding
                yield check, finding
    except BaseException:
        context.stop.set()
        context.cluster.progress("restoring what the checks changed")
        raise
    finally:
        for thread in threads:
            thread.join()


def _findings(context: Context, check: Check, named: bool) -> Generator[Finding, None, None]:
    reason = check.skip_reason(context.site)
    if reason:
        make = failed if named else passed
        yield make("NOT_ENABLED", check.name, f"was not checked: {reason}", "enable it in hosts.toml")
        return
    try:
        yield from check.run(context)
    except ProvisionerError as error:
        if _closing(error):  # nobody reads further findings, so what was not restored has to be an error
            raise
        yield _error_finding(check, error)


def _closing(error: BaseException | None) -> bool:
    """Tell whether the error was raised while the check was being closed (Ctrl-C, or a closed pipe)."""
    while error is not None and not isinstance(error, GeneratorExit):
        error = error.__context__
    return error is not None


def _error_finding(check: Check, error: ProvisionerError) -> Finding:
    codes = {Inconclusive: "INCONCLUSIVE", ClusterError: "API_ERROR", HostError: "HOST_ERROR"}
    code = next((code for kind, code in codes.items() if isinstance(error, kind)), "ERROR")
    subject = error.host if isinstance(error, HostError) else f"check {check.name}"
    return failed(code, subject, f"stopped early: {error.message}", error.remedy, getattr(error, "tail", ""))
