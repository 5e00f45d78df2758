"""Fabric and Paramiko, imported at first use: they take longer to import than everything else together."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import fabric
    import paramiko

__all__ = ["fabric", "paramiko"]


def __getattr__(name: str) -> ModuleType:
    """Return `lazy.fabric` or `lazy.paramiko` (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(name)
