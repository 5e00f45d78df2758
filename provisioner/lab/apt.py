"""The Debian entries of this machine's apt: the lab downloads from where this machine does.

The lab names no archive host: a company's mirror, a cache on the LAN and the public archive all work, because apt is
configured for them. Entries of other vendors are ignored; they may be unreachable.
"""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

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


def download(names: Sequence[str], suite: str, directory: Path) -> None:
    """Download packages of a suite into an empty directory, without what they depend on; apt verifies them.

    Raises ProvisionerError with apt's words.
    """
    for name in ("state/lists/partial", "cache/archives/partial", "parts"):
        (directory / ".apt" / name).mkdir(parents=True)
    private = directory / ".apt"
    (private / "sources.list").write_text("".join(f"{line}\n" for line in debian_sources(suite)))
    (private / "status").write_text("")
    settings = {
        "Dir::Etc::sourcelist": private / "sources.list",
        "Dir::Etc::sourceparts": private / "parts",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": private / "parts",
        "Dir::State": private / "state",
        "Dir::State::status": private / "status",
        "Dir::Cache": private / "cache",
        "APT::Sandbox::User": "root",  # apt's own user cannot enter a cache in a home directory
        "Acquire::Languages": "none",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    for command in (["update"], ["download", *names]):
        done = subprocess.run(
            ["apt-get", *options, "-q", *command], cwd=directory, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ProvisionerError(f"apt-get {command[0]} failed: {done.stderr.strip()}", "apt-get update")
