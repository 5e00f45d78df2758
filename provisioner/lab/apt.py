"""The Debian entries of this machine's apt: the lab downloads from where this machine does.

The lab names no archive host: a company's mirror, a cache on the LAN and the public archive all work, because apt is
configured for them. Entries of other vendors are ignored; they may be unreachable.
"""

import subprocess
from collections.abc import Iterable

from provisioner.errors import ProvisionerError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FORMAT = "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)|$(CREATED_BY)"


def debian_sources(suite: str) -> tuple[str, ...]:
    """Return the Debian entries of this machine's apt as one-line sources of `suite`.

    Raises ProvisionerError if apt has none (another distribution, or package lists never fetched).
    """
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", _FORMAT], capture_output=True, text=True, check=False
    )
    sources = select_debian(listing.stdout.splitlines(), suite)
    if not sources:
        raise ProvisionerError(
            "apt on this machine has no Debian archive, from which the lab's image is built",
            "add a Debian entry to /etc/apt/sources.list.d, then: apt-get update",
        )
    return sources


def select_debian(targets: Iterable[str], suite: str) -> tuple[str, ...]:
    """Convert apt's index targets into one-line sources of `suite`, main only, without duplicates.

    A host of another release is mapped by the suffix of its codename: `-security`, `-updates` or none. Proposed and
    backports entries are dropped, so that every image of a suite is built from the same set.
    """
    found: dict[str, None] = {}
    for target in targets:
        origin, label, uri, codename, component, kind = (target.split("|") + [""] * 6)[:6]
        if origin != "Debian" or component != "main" or kind != "Packages":
            continue
        suffix = codename.partition("-")[2]
        if label == "Debian-Security":
            suffix = "security"
        if suffix not in ("", "security", "updates"):
            continue
        name = f"{suite}-{suffix}" if suffix else suite
        found[f"deb [signed-by={KEYRING}] {uri} {name} main"] = None
    return tuple(found)
