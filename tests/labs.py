"""Names for the labs of a test run, and what a killed run has left behind.

A run that is killed leaves machines that nobody else would ever end, and a name that a later run would be refused.
So a name carries the process that made the lab; pytest's folders may be gone long before the machines are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from provisioner.lab import lifecycle
from provisioner.lab.spec import LabSpec

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
# A lab's name has no more than 12 characters: a letter for the purpose, the process id in base 36.
_OURS = re.compile(r"pytest[a-z]([0-9a-z]{5})")


def named(purpose: str, process: int | None = None) -> str:
    """Name a lab of this run, so that two runs may go on at once; `purpose` is one letter."""
    number, digits = process or os.getpid(), ""
    for _ in range(5):
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return f"pytest{purpose}{digits}"


def left_by_killed_runs() -> Iterator[LabSpec]:
    """Find the labs whose name is one of ours and whose process is no more."""
    for claimed in [*Path("/run/provisioner").glob("pytest*/directory")]:
        ours = _OURS.fullmatch(claimed.parent.name)
        if ours and not Path("/proc", str(int(ours[1], 36))).exists():
            directory = Path(claimed.read_text().strip())
            yield lifecycle.find_remains(directory) or LabSpec(directory, claimed.parent.name)


def clear() -> None:
    """Destroy what killed runs have left."""
    for remains in left_by_killed_runs():
        print(f"destroying the lab {remains.name}, left by a killed run of tests", flush=True)
        lifecycle.destroy(remains)
