"""The lab: blank machines on this machine, for people without a rack and for the end-to-end tests."""

__all__ = ["guest", "inventory", "lifecycle", "requirements", "snapshots", "spec", "upstream"]
