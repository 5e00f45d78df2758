"""From facts and frames to one verdict per address: pure functions, no I/O."""

from provisioner.l2.diagnosis.handover import answered_times, has_moved, needs_more_probes
from provisioner.l2.diagnosis.judge import (
    diagnose,
    diagnose_all,
    diagnose_isolation,
    diagnose_location,
    diagnose_pending,
)
from provisioner.l2.diagnosis.location import on_node
from provisioner.l2.diagnosis.remedies import REMEDIES

__all__ = [
    "REMEDIES",
    "answered_times",
    "diagnose",
    "diagnose_all",
    "diagnose_isolation",
    "diagnose_location",
    "diagnose_pending",
    "has_moved",
    "needs_more_probes",
    "on_node",
]
