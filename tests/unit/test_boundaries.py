"""The boundaries that `make lint` holds: each is broken in a copy of the tree and has to be refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over a copy of the checkout."""
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of everything that the linter reads."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("provisioner", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_tree_as_it_is_is_accepted(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout


WRONG = (
    ("steps/prepare.py", "from provisioner.cli import main", "provisioner.steps is not allowed to import"),
    ("kube/objects.py", "from provisioner.engine import Change", "provisioner.kube is not allowed to import"),
    ("ssh/facts.py", "from provisioner.ssh import host", "No import circle, at any depth BROKEN"),
    ("report.py", "import tests.conftest", "provisioner is not allowed to import tests"),
    ("engine/runner.py", "import paramiko", "provisioner.engine.runner ->"),
    ("cli/status.py", "import fabric", "provisioner.cli.status ->"),
    ("checks/pods.py", "from kubernetes import client", "provisioner.checks.pods ->"),
    ("l2/owners.py", "from scapy.all import ARP", "provisioner.l2.owners ->"),
    ("ssh/sudo.py", "import click", "provisioner.ssh.sudo ->"),
    ("page/gather/parts.py", "import jinja2", "provisioner.page.gather.parts ->"),
    (
        "page/html.py",
        "from provisioner.page.gather import earlier",
        "provisioner.page.html -> provisioner.page.gather",
    ),
    ("checks/pods.py", "from provisioner import page", "provisioner.checks is not allowed to import provisioner.page"),
    (
        "cli/node.py",
        "from provisioner.site.partial import conflicts",
        "partial.conflicts, which provisioner.site does not",
    ),
    ("cli/init.py", "from provisioner.kube.objects import _masked", "_masked, which provisioner.kube does not"),
)


def test_lines_in_the_wrong_place_are_refused(tree: Path) -> None:
    """All at once: each is a finding of its own."""
    start = "from __future__ import annotations\n"
    for module, line, _ in WRONG:
        path = tree / "provisioner" / module
        path.write_text(path.read_text().replace(start, f"{start}\n{line}\n", 1))
        assert line in path.read_text()
    done = lint(tree)
    assert done.returncode == 1
    printed = " ".join(done.stdout.split())
    assert [said for _, _, said in WRONG if said not in printed] == [], done.stdout
