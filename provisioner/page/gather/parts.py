"""What every part of the gathering uses: what it works with, and an error as a reason why a part is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from provisioner.errors import ProvisionerError
from provisioner.kube import Cluster
from provisioner.page.document import Source
from provisioner.report import Report
from provisioner.site import Site
from provisioner.ssh import Host

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """The site, its hosts and its cluster. problem: why the API does not answer, "" if it does."""

    site: Site
    hosts: Mapping[str, Host]
    cluster: Cluster
    report: Report
    parallel: int = 8
    problem: str = ""


def missing(error: ProvisionerError) -> Source:
    """Return the source of a part that an error has kept away."""
    shown = str(error).removesuffix(f"; {error.remedy}") if error.remedy else str(error)
    return Source("missing", why=shown, remedy=error.remedy)


def without_api(context: Context) -> Source:
    """Return the source of a part that the API would have given."""
    return Source("missing", why=context.problem, remedy="provisioner plan shows what is missing or wrong")


def part(make: Callable[[Source], T], began: float) -> T:
    """Return a part that was seen now. began: of time.monotonic()."""
    return make(Source("seen", when=time.time(), seconds=round(time.monotonic() - began, 1)))
