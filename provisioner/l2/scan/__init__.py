"""A sweep of addresses: who owns each, as a table, a map and a picture."""

__all__ = ["picture", "picture_svg", "survey", "sweep", "table"]
