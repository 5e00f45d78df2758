"""What all tests share: an automatic run may not skip what it is there to run, and how tests run on several cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Folders whose tests share something costly (a control plane, machines with sshd): one process runs them. They come
# first, since the longest of them decides when a run ends. All other tests are grouped by file.
SHARING = ("integration/kube", "integration/ssh", "integration/lab", "integration/l2/collect")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group the tests for `pytest -n N --dist loadgroup` costly groups first; change nothing without -n."""
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: _rank(_group(item)))


def _group(item: pytest.Item) -> str:
    path = item.path.relative_to(HERE).as_posix()
    return next((folder for folder in SHARING if path.startswith(f"{folder}/")), path)


def _rank(group: str) -> int:
    if group in SHARING:
        return SHARING.index(group)
    return len(SHARING) + (not group.startswith("integration/"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Fail a skipped integration or end-to-end test where CI is set: what it needs is part of the set-up."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]
    marked = item.get_closest_marker("integration") or item.get_closest_marker("e2e")
    if os.environ.get("CI") and marked and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in an automatic run: {report.longrepr}"
