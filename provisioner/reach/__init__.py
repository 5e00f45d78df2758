"""Which ports hosts need of each other, whether packets for them get through, and which packet filter stops them."""

from __future__ import annotations

from provisioner.reach.findings import Obstacle, obstacles
from provisioner.reach.ports import Needs
from provisioner.reach.probe import Overlay, Probed, probe

__all__ = ["Needs", "Obstacle", "Overlay", "Probed", "obstacles", "probe"]
