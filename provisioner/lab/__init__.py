"""The lab: blank machines on this machine, for people without spare hardware and for the end-to-end tests."""

__all__ = [
    "guest",
    "inventory",
    "kinds",
    "lifecycle",
    "links",
    "recipe",
    "requirements",
    "snapshots",
    "spec",
    "unfriendly",
    "upstream",
]
