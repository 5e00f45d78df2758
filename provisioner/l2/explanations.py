"""The page of each verdict and warning, docs/l2/CODE.md: found, listed, and looked up by what a person types.

A page has a fixed form, which tests hold: the code as its title, the sentence that a check prints, what the code
means, how it looks in tcpdump, why it happens, how to fix it.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.l2 import phrases

SECTIONS = ("In tcpdump", "Why it happens", "How to fix it")

# A wheel has the pages inside the package; a checkout has them in docs, where they are read on the web.
_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "verdict_pages"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "docs" / "l2"


def codes() -> tuple[str, ...]:
    """Return every code that has a page: the verdicts, then the warnings that are no verdict too."""
    return tuple(dict.fromkeys([*phrases.VERDICTS, *phrases.WARNINGS]))


def summary(code: str) -> str:
    """Return a code's meaning as one sentence.

    >>> summary("ICMP_SILENT")
    'No reply to ping, which is normal with MetalLB.'
    """
    if code in phrases.VERDICTS:
        return phrases.VERDICTS[code]
    warning = phrases.WARNINGS[code]
    return f"{warning[:1].upper()}{warning[1:]}."


def find(word: str) -> str:
    """Return the code that a word means: any case, spaces or hyphens. Raise ProvisionerError with what is close."""
    wanted = "_".join(word.upper().replace("-", " ").replace("_", " ").split())
    known = codes()
    if wanted in known:
        return wanted
    close = difflib.get_close_matches(wanted, known, 3)
    close += [code for code in known if wanted and wanted in code and code not in close][: 3 - len(close)]
    remedy = f"did you mean {' or '.join(close)}?" if close else "list them: provisioner l2 explain"
    raise ProvisionerError(f"no verdict or warning is called {word!r}", remedy)


def page(code: str) -> str:
    """Return a code's page, as Markdown. Raise ProvisionerError if the installation lacks it."""
    try:
        return (FOLDER / f"{code}.md").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ProvisionerError(f"{error.filename}: no such page", "install provisioner again") from error
