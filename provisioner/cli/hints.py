"""Rewrite the commands in our messages so that they can be run as they stand.

Steps, checks and verdicts suggest commands as `provisioner apply`. But the program may have been started by a path
outside $PATH, with -f for another hosts.toml, or inside a lab whose machines are not reachable from outside.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

# Set by `lab exec` to the command line that runs this program outside the lab.
INSIDE = "PROVISIONER_LAB"

PLUGIN = "kubectl-l2"
_WITHOUT_SITE = ("completion", "init", "lab")
_WITH_SITE = (
    "apply",
    "drift",
    "exec",
    "kubeconfig",
    "l2",
    "node",
    "plan",
    "report",
    "reset",
    "ssh",
    "status",
    "unlock",
    "verify",
)
COMMANDS = (*_WITHOUT_SITE, *_WITH_SITE)
# Skip what is runnable already: .venv/bin/provisioner, python -m provisioner, lab exec -- provisioner.
_OURS = re.compile(rf"(?<![\w./-])(?<!-m )(?<!-- )provisioner((?: -f \S+)?) (?=({'|'.join(COMMANDS)})\b)")


def runnable(text: str, site: str = "") -> str:
    """Return a text in which each of our commands works here.

    site: the option that selects the site (" -f lab.toml"), added to commands without one.
    """
    program = invocation()
    lab = os.environ.get(INSIDE)

    def rewrite(match: re.Match[str]) -> str:
        own_site, command = match.groups()
        if command == "l2" and this_is_the_plugin():
            return "kubectl "
        if command in _WITHOUT_SITE:
            return f"{lab or program} "
        prefix = f"{lab} lab exec -- " if lab else ""
        return f"{prefix}{program}{own_site or site} "

    return _OURS.sub(rewrite, text)


# What needs hosts.toml, and what does the same without: node names are those of the cluster.
_WITHOUT_SITE_INSTEAD = (
    (re.compile(r"\bprovisioner exec --limit (\S+) -- "), r"ssh \1 sudo "),
    (re.compile(r"\bprovisioner ssh (\S+) -- "), r"ssh \1 "),
    (re.compile(r"\bprovisioner status\b"), "kubectl get nodes"),
)
_KUBECTL = re.compile(r"\bkubectl (?!l2\b|--)")


def without_site(text: str, options: str = "") -> str:
    """Return a text whose commands need no hosts.toml. options: with which kubectl finds the cluster."""
    for ours, instead in _WITHOUT_SITE_INSTEAD:
        text = ours.sub(instead, text)
    return _KUBECTL.sub(lambda found: f"kubectl{options} ", text) if options else text


def invocation() -> str:
    """Return how to run this program: its name if it is on $PATH, else its path relative to the current folder."""
    this = Path(sys.argv[0])
    if this.parts[-2:] == ("provisioner", "__main__.py"):
        return f"{_relative(Path(sys.executable))} -m provisioner"
    if this.name != "provisioner":  # another program imported us: fab, pytest
        return "provisioner"
    found = shutil.which("provisioner")
    return "provisioner" if found and Path(found).absolute() == this.absolute() else str(_relative(this))


def this_is_the_plugin() -> bool:
    """Return whether this program was started as `kubectl l2`."""
    return Path(sys.argv[0]).name == PLUGIN


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
