"""Versions of Kubernetes and of what runs on it: parsed and ordered."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATTERN = re.compile(r"v?(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})(?:\.(0|[1-9][0-9]{0,4}))?", re.ASCII)


@dataclass(frozen=True, order=True)
class Version:
    """A release: three numbers, ordered numerically, so that 1.9.0 < 1.20.2."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """Parse "1.20.2" or "v1.20.2", as kubelets report it; a missing patch is 0. Raise ValueError otherwise."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a version such as 1.20.2")
        major, minor, patch = match.groups(default="0")
        return cls(int(major), int(minor), int(patch))

    def at_least(self, major: int, minor: int) -> bool:
        """Return whether this is a release of major.minor or later; the patch does not count."""
        return (self.major, self.minor) >= (major, minor)

    @property
    def minor_text(self) -> str:
        """Return "1.20" for 1.20.2, as in the name of a package repository."""
        return f"{self.major}.{self.minor}"

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"
