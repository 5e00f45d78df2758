"""The parts that the hosts give: certificates, and what differs from hosts.toml."""

from __future__ import annotations

import time

from provisioner.checks import certificates as checked
from provisioner.engine import differences, runner
from provisioner.engine.runner import Outcome, Run, Selection
from provisioner.errors import HostError, ProvisionerError
from provisioner.page.document import Certificate, Certificates, Difference, Drift, Source, Unseen
from provisioner.page.gather.earlier import Saved
from provisioner.page.gather.parts import Context, missing, part
from provisioner.ssh import Host
from provisioner.steps import STEPS


def certificates(context: Context) -> Certificates:
    """Return the certificates of every node, read over SSH, also while the API is down."""
    began = time.monotonic()

    def read(host: Host) -> tuple[list[Certificate], Unseen | None]:
        try:
            output = host.run(checked.script(host.spec.is_control_plane)).stdout
        except HostError as error:
            return [], Unseen(host.name, error.message)
        return [
            Certificate(host.name, name, *_period(validity)) for name, validity in checked.parse(output).items()
        ], None

    answers = runner.parallel(list(context.hosts.values()), read, context.parallel)
    found = tuple(one for certificates, _ in answers for one in certificates)
    unseen = tuple(one for _, one in answers if one is not None)
    if unseen and not found:
        source = Source("missing", why="no host answers", remedy="provisioner exec -- true says why")
        return Certificates(source, unseen=unseen)
    return part(lambda source: Certificates(source, found, unseen), began)


def _period(validity: checked.Validity | None) -> tuple[float | None, float | None]:
    if validity is None:
        return None, None
    return validity.not_before.timestamp(), validity.not_after.timestamp()


def drift(context: Context) -> Drift:
    """Return what `drift` shows, also where hosts are down: the others are looked at all the same."""
    began = time.monotonic()
    run = Run(context.site, context.hosts, context.cluster, context.report, STEPS, parallel=context.parallel)
    try:
        for step in runner.select(STEPS, context.site, run.selection):
            step.validate(context.site)
        outcome = _outcome(run)
    except ProvisionerError as error:
        return Drift(missing(error))
    unseen = [
        Unseen(f"{failure.step} on {failure.host}", _why(failure.error, failure.host)) for failure in outcome.failures
    ]
    unseen += [Unseen(step, f"to be known after {', '.join(names)}") for step, names in outcome.waiting.items()]
    found = tuple(Difference(**one.document()) for one in differences.differences(outcome))
    return part(lambda source: Drift(source, found, tuple(unseen)), began)


def _outcome(run: Run) -> Outcome:
    connected = runner.connect(run, lambda host: host.facts)
    lost = {failure.host for failure in connected.failures}
    if not lost:
        return runner.plan(run)
    reached = tuple(name for name in run.hosts if name not in lost)
    if not reached:
        return connected
    run.selection = Selection(limit=reached)
    outcome = runner.plan(run)
    outcome.failures[:0] = connected.failures
    return outcome


def _why(error: Exception, host: str) -> str:
    return str(error).removeprefix(f"{host}: ")


def earlier_drift(saved: Saved) -> Drift:
    """Return the differences of a drift/v1. Raises ValueError, KeyError or TypeError for a malformed one."""
    body = saved.body
    unseen = [Unseen(f"{one['step']} on {one['host']}", str(one["error"])) for one in body["failures"]]
    unseen += [Unseen(step, f"to be known after {', '.join(names)}") for step, names in body["unseen"].items()]
    known = Difference.__dataclass_fields__
    found = tuple(
        Difference(**{key: str(value) for key, value in one.items() if key in known}) for one in body["differences"]
    )
    return Drift(Source("earlier", when=saved.when, file=saved.file), found, tuple(unseen))
