"""The step engine: steps and changes, the runner, the lock, rollouts, summaries."""

from __future__ import annotations

from provisioner.engine.durations import Durations
from provisioner.engine.pace import Forecast, Pace
from provisioner.engine.step import Change, Scope, Step

__all__ = [
    "Change",
    "Durations",
    "Forecast",
    "Pace",
    "Scope",
    "Step",
    "apt",
    "apt_source",
    "changes",
    "differences",
    "lock",
    "rollout",
    "runner",
    "summary",
]
