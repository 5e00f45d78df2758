"""What all tests share: an automatic run skips nothing that it is there to run; several cores; busy machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadscope import LoadScopeScheduling

# Folders whose tests share something costly (a control plane, machines with sshd): one process runs them. They come
# first, since the longest of them decides when a run ends. All other tests go by file.
SHARING = ("integration/kube", "integration/ssh", "integration/lab", "integration/l2/collect")

# A busy machine takes long for any example, which says nothing about the example.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


class BySharing(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hand out tests (`pytest -n N`) by the folder that shares, else by file, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySharing:
    """Choose the scheduler for `pytest -n N`."""
    config.option.loadscopereorder = False
    return BySharing(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the costly groups first for `pytest -n N`; change nothing for a single process."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _rank(_group(item.nodeid)))


def _group(nodeid: str) -> str:
    path = nodeid.partition("::")[0].removeprefix("tests/")
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
