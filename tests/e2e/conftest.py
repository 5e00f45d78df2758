"""The suite is one story in the order of STORY and stops at the first failure: each test stands on the one before."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e import drive

STORY = ("test_road", "test_kills")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in the order of the story; a file that it does not name is a mistake."""
    names = {id(item): item.path.stem for item in items}
    items.sort(key=lambda item: STORY.index(names[id(item)]) if names[id(item)] in STORY else -1)


@pytest.fixture(scope="session", autouse=True)
def lab() -> Iterator[None]:
    """Give blank machines; leave them up for looking at when something failed, else nothing.

    REUSE_LAB=1 takes the lab as it stands and leaves it up, for working on one file of the story.
    """
    if os.geteuid() != 0:
        pytest.exit("the lab makes network namespaces, which only root may: sudo make e2e", returncode=1)
    if os.environ.get("REUSE_LAB"):
        yield
        return
    drive.lab("destroy")
    up = drive.lab("up")
    assert up.status == 0, up.text
    drive.say(f"lab up after {up.seconds:.0f} s")
    yield
    if os.environ.get("KEEP_LAB"):
        return
    gone = drive.lab("destroy")
    assert gone.status == 0, gone.text


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep the lab for looking at when a test fails, outside automatic runs."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and not os.environ.get("CI"):
        os.environ["KEEP_LAB"] = "1"
        drive.say("the lab is kept: provisioner lab status; provisioner lab destroy ends it")
