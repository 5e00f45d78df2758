"""What a guard reports: one event, one line."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["fault", "notice", "resolved"]


@dataclass(frozen=True)
class Event:
    """Something that changed. time: Unix time; code: a verdict, or one of guard's own words (docs/l2.md).

    subject: the address, or "VRRP virtual router 51"; owners: the MACs concerned. service: whose address it is.
    """

    time: float
    code: str
    severity: Severity
    subject: str
    text: str
    owners: tuple[str, ...] = ()
    service: str = ""

    def document(self) -> dict[str, Any]:
        """Return the event as l2event/v1."""
        return {"schema": "l2event/v1", **asdict(self), "time": round(self.time, 3), "owners": list(self.owners)}

    def json(self) -> str:
        """Return the event as one line of JSON."""
        return json.dumps(self.document())

    def line(self) -> str:
        """Return the event as a line for people."""
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.time))
        return f"{clock}  {self.severity:8}  {self.code}  {self.text}"
