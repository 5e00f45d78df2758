"""A suite runs its files in order, on a lab of its own, and stops at the first failure: each needs the one before it.

SUITE=cluster, the default, takes the machines that `lab up` takes: blank machines become a cluster although apply is
killed in every step, all lose power, and the cluster is reset. SUITE=faults: a node is lost before that.
SUITE=machines is what only virtual machines prove: their kernel with its modules and its NFS, a boot, and a power cut
during writes. SUITE=unfriendly takes machines as people have them (`lab up --unfriendly`). SUITE=recording makes
README's recording.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests import labs
from tests.e2e import drive

SUITES = {
    "cluster": ("test_mistakes", "test_killed_apply", "test_proofs", "test_power_cut", "test_reset", "test_end"),
    "faults": ("test_apply", "test_node_gone", "test_power_cut", "test_reset", "test_end"),
    "machines": ("test_apply", "test_power_cut", "test_end"),
    "unfriendly": ("test_unfriendly",),
    "recording": ("test_recording",),
}
SUITE = os.environ.get("SUITE") or "cluster"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files of the selected suite and deselect the others."""
    if SUITE not in SUITES:
        pytest.exit(f"unknown suite {SUITE}; the suites are {', '.join(SUITES)}", returncode=1)
    files = SUITES[SUITE]
    here = {item.path.stem for item in items if item.path.parent.name == "e2e"}
    if unknown := here - {name for names in SUITES.values() for name in names}:
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
    if os.environ.get("CI"):
        # Nobody cleans up after a killed automatic run, or debugs what it leaves.
        labs.clear()
    drive.lab("destroy")
    up = drive.lab("up", *_options())
    assert up.status == 0, up.text
    drive.say(f"lab up after {up.seconds:.0f} s")
    yield
    if os.environ.get("KEEP_LAB"):
        return
    destroyed = drive.lab("destroy")
    assert destroyed.status == 0, destroyed.text


def _options() -> list[str]:
    """Return the options of `lab up` for this suite."""
    options = []
    if SUITE == "machines":
        options += ["--nodes", "vms", "--workers", "1", "--small"]
    elif nodes := os.environ.get("NODES"):
        options += ["--nodes", nodes]
    if SUITE == "unfriendly":
        options += ["--unfriendly"]
    if count := os.environ.get("CONTROL_PLANES"):
        options += ["--control-planes", count]
    if os.environ.get("SMALL"):
        options += ["--small"]
    if version := os.environ.get("KUBERNETES"):
        options += ["--kubernetes", version]
    if os.environ.get("CI") or SUITE == "machines":
        options += ["--name", labs.named({"machines": "m", "unfriendly": "u"}.get(SUITE, "e"))]
    return options


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep the lab for debugging when a test fails, except in an automatic run."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and not os.environ.get("CI"):
        os.environ["KEEP_LAB"] = "1"
        drive.say("the lab is kept; see: provisioner lab status; remove it: provisioner lab destroy")
