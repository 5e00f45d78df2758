"""The page of `provisioner report`: gathered (gather), kept as plain values (document), and drawn (html)."""

from __future__ import annotations

from provisioner.page.document import Document
from provisioner.page.gather import PARTS, Context, Earlier, Wishes, from_files, gather, read
from provisioner.page.html import render
from provisioner.page.summary import verdict

__all__ = [
    "PARTS",
    "Context",
    "Document",
    "Earlier",
    "Wishes",
    "document",
    "from_files",
    "gather",
    "read",
    "render",
    "verdict",
]
