"""A cause that the evidence supports, before it becomes a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provisioner.l2.result import Confidence


@dataclass(frozen=True)
class Cause:
    """One cause. evidence: sentences, the decisive one first; alternatives: other codes that it allows.

    fields: placeholders of the remedy and its commands, in addition to the case's; remedy, commands: replace the
    table's. explains: codes whose evidence is a consequence of this one, which are then no alternatives.
    """

    code: str
    confidence: Confidence
    evidence: tuple[str, ...]
    alternatives: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    remedy: str = ""
    commands: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()
