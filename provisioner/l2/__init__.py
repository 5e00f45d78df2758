"""Layer-2 diagnosis: who answers for an address on the segment, probed with frames from outside the cluster."""

__all__ = [
    "check",
    "collect",
    "diagnosis",
    "election",
    "facts",
    "facts_file",
    "facts_values",
    "gratuitous",
    "owners",
    "phrases",
    "pools",
    "probe",
    "report",
    "result",
    "scan",
    "selectors",
    "targets",
    "terminal",
    "verdicts",
    "watch",
]
