"""The Debian archive entries of this machine's own apt: the lab downloads from where the machine does.

No archive host is named anywhere in the lab: a company's mirror, a cache on the LAN and the public archive
all work, because apt already knows them. Entries of other vendors are left out; they may be out of reach.
"""

import subprocess
from collections.abc import Iterable

from provisioner.errors import ProvisionerError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FORMAT = "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)|$(CREATED_BY)"


def debian_sources(suite: str) -> tuple[str, ...]:
    """Read the Debian entries of this machine's apt, as one-line sources of the release `suite`.

    Raises ProvisionerError where apt knows no Debian archive (another distribution, or lists never fetched).
    """
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", _FORMAT], capture_output=True, text=True, check=False
    )
    sources = select_debian(listing.stdout.splitlines(), suite)
    if not sources:
        raise ProvisionerError(
            "apt knows no Debian archive on this machine, and the lab's image is made from one",
            "add a Debian entry to /etc/apt/sources.list.d, then: apt-get update",
        )
    return sources


def select_debian(targets: Iterable[str], suite: str) -> tuple[str, ...]:
    """Turn apt's index targets into one-line sources of `suite`, main only, without repetitions.

    A host of another release is mapped by the ending of its codename: `-security`, `-updates` or none.
    Proposed and backports entries are dropped, so that every image of a suite is made from the same set.
    """
    found: dict[str, None] = {}
    for target in targets:
        origin, label, uri, codename, component, kind = (target.split("|") + [""] * 6)[:6]
        if origin != "Debian" or component != "main" or kind != "Packages":
            continue
        ending = codename.partition("-")[2]
        if label == "Debian-Security":
            ending = "security"
        if ending not in ("", "security", "updates"):
            continue
        name = f"{suite}-{ending}" if ending else suite
        found[f"deb [signed-by={KEYRING}] {uri} {name} main"] = None
    return tuple(found)
