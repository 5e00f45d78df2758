"""A suite is one story in the order of STORIES and stops at the first failure: each test stands on the one before.

The first has few workloads and all of the kills. SUITE=full has every workload, takes the road in one go and the
kills apart from it, which is more than fits into an hour on two cores. KUBERNETES=1.37 asks for that version.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests import labs
from tests.e2e import drive

STORIES = {
    "first": ("test_mistakes", "test_killed_road", "test_proofs", "test_end"),
    "full": ("test_mistakes", "test_quiet_road", "test_proofs", "test_kills", "test_end"),
}


SUITE = os.environ.get("SUITE") or "first"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of the chosen story in its order and leave the others out."""
    if SUITE not in STORIES:
        pytest.exit(f"there is no suite {SUITE}: {', '.join(STORIES)}", returncode=1)
    story = STORIES[SUITE]
    unknown = {item.path.stem for item in items} - {name for names in STORIES.values() for name in names}
    if unknown:
        pytest.exit(f"no story tells {', '.join(sorted(unknown))}", returncode=1)
    items[:] = sorted(
        (item for item in items if item.path.stem in story), key=lambda item: story.index(item.path.stem)
    )


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
    asked = ["--small" if SUITE == "first" else "--whole"]
    if version := os.environ.get("KUBERNETES"):
        asked += ["--kubernetes", version]
    if os.environ.get("CI"):
        # Nobody looks after what a killed automatic run leaves, and nobody wants to look at it.
        labs.clear()
        asked += ["--name", labs.named("e")]
    up = drive.lab("up", *asked)
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
