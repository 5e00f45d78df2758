"""The table of `provisioner status`, from the rows of kube/node_rows.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from provisioner.kube.node_rows import COLUMNS, WIDE


def table(rows: Sequence[Mapping[str, str]], wide: bool = False) -> Iterator[str]:
    """Yield the rows as aligned columns with a heading."""
    columns = COLUMNS + (WIDE if wide else ())
    lines = [{column: column.upper() for column in columns}, *rows]
    widths = {column: max(len(line[column]) for line in lines) for column in columns}
    for line in lines:
        yield "  ".join(line[column].ljust(widths[column]) for column in columns).rstrip()
