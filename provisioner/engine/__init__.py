"""The step engine: steps and changes, the runner, the lock, rollouts, summaries."""

from __future__ import annotations

from provisioner.engine.step import Change, Scope, Step

__all__ = [
    "Change",
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
