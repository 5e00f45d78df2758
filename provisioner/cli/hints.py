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

_WITHOUT_SITE = ("init", "lab")
_WITH_SITE = ("apply", "exec", "kubeconfig", "l2", "node", "plan", "reset", "ssh", "status", "unlock", "verify")
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
        if command in _WITHOUT_SITE:
            return f"{lab or program} "
        prefix = f"{lab} lab exec -- " if lab else ""
        return f"{prefix}{program}{own_site or site} "

    return _OURS.sub(rewrite, text)


def invocation() -> str:
    """Return how to run this program: its name if it is on $PATH, else its path relative to the current folder."""
    this = Path(sys.argv[0])
    if this.parts[-2:] == ("provisioner", "__main__.py"):
        return f"{_relative(Path(sys.executable))} -m provisioner"
    if this.name != "provisioner":  # another program imported us: fab, pytest
        return "provisioner"
    found = shutil.which("provisioner")
    return "provisioner" if found and Path(found).absolute() == this.absolute() else str(_relative(this))


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
