"""What all tests share: an automatic run may not skip what it is there to run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Fail a skipped integration or end-to-end test where CI is set: what it needs is part of the set-up."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]
    marked = item.get_closest_marker("integration") or item.get_closest_marker("e2e")
    if os.environ.get("CI") and marked and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in an automatic run: {report.longrepr}"
