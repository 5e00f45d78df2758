"""The commands in what we say, made such that they can be typed as they stand where this program runs.

Steps, checks and verdicts name a next command as `provisioner apply`. The program may have been called by a path
that no shell looks in, for another hosts.toml than the one of the folder, or within a lab, whose machines nobody
reaches from outside of it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

# Set by `lab exec` to the words that call it.
INSIDE = "PROVISIONER_LAB"

_WITHOUT_SITE = ("init", "lab")
_WITH_SITE = ("apply", "exec", "kubeconfig", "l2", "node", "plan", "reset", "ssh", "status", "unlock", "verify")
COMMANDS = (*_WITHOUT_SITE, *_WITH_SITE)
# Not what was made already: .venv/bin/provisioner, python -m provisioner, lab exec -- provisioner.
_OURS = re.compile(rf"(?<![\w./-])(?<!-m )(?<!-- )provisioner((?: -f \S+)?) (?=({'|'.join(COMMANDS)})\b)")


def runnable(text: str, site: str = "") -> str:
    """Return a text in which each command of ours works here.

    site: the words that name the site (" -f lab.toml"), for a command that does not name one itself.
    """
    program = invocation()
    lab = os.environ.get(INSIDE)

    def put(match: re.Match[str]) -> str:
        named, command = match.groups()
        if command in _WITHOUT_SITE:
            return f"{lab or program} "
        through = f"{lab} lab exec -- " if lab else ""
        return f"{through}{program}{named or site} "

    return _OURS.sub(put, text)


def invocation() -> str:
    """Return how this program was called: by its name where a shell finds that, else by a path from here."""
    this = Path(sys.argv[0])
    if this.parts[-2:] == ("provisioner", "__main__.py"):
        return f"{_from_here(Path(sys.executable))} -m provisioner"
    if this.name != "provisioner":  # a program that imports us: fab, pytest
        return "provisioner"
    found = shutil.which("provisioner")
    return "provisioner" if found and Path(found).absolute() == this.absolute() else str(_from_here(this))


def _from_here(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
