"""A sweep of addresses: who owns each, as a table, a map for the terminal and an SVG map."""

__all__ = ["picture", "picture_svg", "survey", "sweep", "table"]
