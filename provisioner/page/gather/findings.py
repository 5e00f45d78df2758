"""The findings of `verify`: of the checks that only read, run now, and of all checks from its JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

from provisioner import checks
from provisioner.errors import ProvisionerError
from provisioner.page.document import Checked, Checks, Source
from provisioner.page.gather.earlier import Saved, finding_lines
from provisioner.page.gather.parts import Context, missing, part

SKIPPED = ("NOT_ENABLED", "NOT_TRIED")


def run(context: Context, earlier: Sequence[Saved] = ()) -> Checks:
    """Run the checks that change nothing, without waiting for what is not as it should be.

    earlier: the checks of these files are not run again.
    """
    began = time.monotonic()
    known = from_files(earlier)
    covered = {one.check for one in known}
    wanted = [check for check in checks.CHECKS if check.reads_only and check.name not in covered]
    working = checks.Context(context.site, context.cluster, context.hosts, patient=False)
    found = []
    try:
        with closing(checks.run(working, wanted)) as running:
            for check, finding in running if wanted else ():
                found.append(_checked(check.name, finding))
    except ProvisionerError as error:
        if not known:
            return Checks(missing(error), tuple(found), left_out(covered))
    ordered = _in_order([*found, *known])
    files = tuple(saved.file for saved in earlier)
    return part(lambda source: Checks(source, ordered, left_out(covered), files), began)


def from_files(saved: Sequence[Saved]) -> list[Checked]:
    """Return the findings of earlier runs; of a check in several files those of the last one."""
    by_check: dict[str, list[Checked]] = {}
    for one in saved:
        fresh: dict[str, list[Checked]] = {}
        for line in finding_lines(one):
            evidence = line.get("evidence") or ()
            checked = Checked(
                line["check"],
                line["ok"],
                line["code"],
                line["subject"],
                line["detail"],
                str(line.get("remedy") or ""),
                tuple(map(str, evidence)) if isinstance(evidence, list) else (),
                line["ok"] and line["code"] in SKIPPED,
            )
            fresh.setdefault(checked.check, []).append(checked)
        by_check |= fresh
    return [one for found in by_check.values() for one in found]


def only_earlier(saved: Sequence[Saved]) -> Checks:
    """Return the findings of the files alone."""
    found = from_files(saved)
    newest = max(saved, key=lambda one: one.when)
    source = Source("earlier", when=newest.when, file=newest.file)
    names = {one.check for one in found}
    return Checks(source, _in_order(found), left_out(names), tuple(one.file for one in saved))


def left_out(covered: set[str]) -> tuple[str, ...]:
    """Return the checks that change something for a while, and that no file covers."""
    return tuple(check.name for check in checks.CHECKS if not check.reads_only and check.name not in covered)


def _in_order(found: Sequence[Checked]) -> tuple[Checked, ...]:
    names = [check.name for check in checks.CHECKS]
    return tuple(sorted(found, key=lambda one: names.index(one.check) if one.check in names else len(names)))


def _checked(check: str, finding: checks.Finding) -> Checked:
    skipped = finding.ok and finding.code in SKIPPED
    return Checked(
        check,
        finding.ok,
        finding.code,
        finding.subject,
        finding.detail,
        finding.remedy,
        finding.evidence,
        skipped,
    )
