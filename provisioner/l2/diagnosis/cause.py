"""A cause that the evidence supports, before it becomes a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provisioner.l2.result import Confidence


@dataclass(frozen=True)
class Cause:
    """One cause. evidence: sentences, the decisive one first; alternatives: codes that it allows as well.

    fields: names for the remedy and its command, beyond those of the case; remedy, commands: in place of the table's.
    """

    code: str
    confidence: Confidence
    evidence: tuple[str, ...]
    alternatives: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    remedy: str = ""
    commands: tuple[str, ...] = ()
