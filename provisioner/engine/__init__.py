"""The step engine: what a step and a change are, who runs them over hosts, the lock, the summary."""

from __future__ import annotations

from provisioner.engine.step import Change, Scope, Step

__all__ = ["Change", "Scope", "Step", "apt_source", "changes", "lock", "rollout", "runner", "summary"]
