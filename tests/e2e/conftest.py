"""A suite runs the files of SUITES in order and stops at the first failure: each test needs the one before it.

The first suite has few workloads and all kills. SUITE=full has all workloads, applies them without a kill, and runs
the kills separately, which takes more than an hour on two cores. KUBERNETES=1.37 selects that version.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests import labs
from tests.e2e import drive

SUITES = {
    "first": ("test_mistakes", "test_killed_apply", "test_proofs", "test_end"),
    "full": ("test_mistakes", "test_apply", "test_proofs", "test_kills", "test_end"),
}


SUITE = os.environ.get("SUITE") or "first"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files of the selected suite and deselect the others."""
    if SUITE not in SUITES:
        pytest.exit(f"unknown suite {SUITE}; the suites are {', '.join(SUITES)}", returncode=1)
    files = SUITES[SUITE]
    unknown = {item.path.stem for item in items} - {name for names in SUITES.values() for name in names}
    if unknown:
        pytest.exit(f"no suite has {', '.join(sorted(unknown))}", returncode=1)
    items[:] = sorted(
        (item for item in items if item.path.stem in files), key=lambda item: files.index(item.path.stem)
    )


@pytest.fixture(scope="session", autouse=True)
def lab() -> Iterator[None]:
    """Provide blank machines; keep them for debugging after a failure, else destroy them.

    REUSE_LAB=1 uses and keeps an existing lab, for working on one file of a suite.
    """
    if os.geteuid() != 0:
        pytest.exit("the lab needs root for network namespaces: sudo make e2e", returncode=1)
    if os.environ.get("REUSE_LAB"):
        yield
        return
    drive.lab("destroy")
    options = ["--small" if SUITE == "first" else "--whole"]
    if version := os.environ.get("KUBERNETES"):
        options += ["--kubernetes", version]
    if os.environ.get("CI"):
        # Nobody cleans up after a killed CI run, or debugs what it leaves.
        labs.clear()
        options += ["--name", labs.named("e")]
    up = drive.lab("up", *options)
    assert up.status == 0, up.text
    drive.say(f"lab up after {up.seconds:.0f} s")
    yield
    if os.environ.get("KEEP_LAB"):
        return
    destroyed = drive.lab("destroy")
    assert destroyed.status == 0, destroyed.text


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep the lab for debugging when a test fails, except in CI."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and not os.environ.get("CI"):
        os.environ["KEEP_LAB"] = "1"
        drive.say("the lab is kept; see: provisioner lab status; remove it: provisioner lab destroy")
