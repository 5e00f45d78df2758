"""Names for the labs of a test run, and the cleanup of labs that killed runs have left.

A killed run leaves machines running and its lab's name taken. So the name contains the PID of the run that created the
lab; pytest's folders may be gone long before the machines are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import lifecycle
from provisioner.lab.spec import LabSpec

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
# Of at most 12 characters: "pytest", a letter for the purpose, the PID in base 36.
_NAME = re.compile(r"pytest[a-z]([0-9a-z]{5})")


def named(purpose: str, process: int | None = None) -> str:
    """Return a name for a lab of this run, so that runs do not conflict; `purpose` is one letter."""
    number, digits = process or os.getpid(), ""
    for _ in range(5):
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return f"pytest{purpose}{digits}"


def of_killed_runs() -> Iterator[LabSpec]:
    """Yield the labs of test runs that are not running any more."""
    for claim in [*Path("/run/provisioner").glob("pytest*/directory")]:
        match = _NAME.fullmatch(claim.parent.name)
        if match and not Path("/proc", str(int(match[1], 36))).exists():
            directory = Path(claim.read_text().strip())
            yield lifecycle.find_remains(directory) or LabSpec(directory, claim.parent.name)


def clear() -> None:
    """Destroy the labs that killed runs have left."""
    for remains in of_killed_runs():
        print(f"destroying the lab {remains.name} of a killed test run", flush=True)
        try:
            lifecycle.destroy(remains)
        except ProvisionerError as error:  # another run is destroying it, or has
            print(f"{remains.name}: {error}", flush=True)
