"""What apt says as one sentence. Real apt with real locks and dead sources: tests/integration/ssh/test_apt.py."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from provisioner.engine import apt
from provisioner.ssh import FactQuery, Host
from tests.unit.steps.doubles import RecordingHost, blank, site_at

DOCKER = "/etc/apt/sources.list.d/docker.list"
SAID = {
    "DNS": (
        "Err:1 http://deb.debian.org/debian bookworm InRelease\n"
        "  Temporary failure resolving 'deb.debian.org'\n"
        "W: Failed to fetch http://deb.debian.org/debian/dists/bookworm/InRelease  Temporary failure resolving "
        "'deb.debian.org'\nE: Unable to locate package conntrack\n",
        "DNS does not resolve deb.debian.org (/etc/apt/sources.list:1)",
        "see which resolver it asks: ",
    ),
    "dead": (
        "E: Failed to fetch http://old.example.org/debian/dists/etch/InRelease  404  Not Found [IP: 192.0.2.1 80]\n"
        "E: Some index files failed to download. They have been ignored, or old ones used instead.\n",
        "the package source old.example.org does not answer as one (/etc/apt/sources.list.d/old.list:3)",
        "correct it, or comment it out",
    ),
    "no release": (
        "E: The repository 'https://old.example.org/debian etch Release' no longer has a Release file.\n",
        "the package source old.example.org does not answer as one (/etc/apt/sources.list.d/old.list:3)",
        "correct it, or comment it out",
    ),
    "key": (
        "W: GPG error: https://old.example.org/debian etch InRelease: The following signatures couldn't be verified "
        "because the public key is not available: NO_PUBKEY 7EA0A9C3F273FCD8\n"
        "E: The repository 'https://old.example.org/debian etch InRelease' is not signed.\n",
        "the signature of a package source cannot be verified (GPG error: https://old.example.org/debian etch "
        "InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY "
        "7EA0A9C3F273FCD8) (/etc/apt/sources.list.d/old.list:3)",
        "renew its key",
    ),
    "twice": (
        "E: Conflicting values set for option Signed-By regarding source https://download.docker.com/linux/debian/ "
        "bookworm: /etc/apt/keyrings/docker.asc != /etc/apt/keyrings/docker.gpg\n"
        "E: The list of sources could not be read.\n",
        "two of its source files have one repository with different options (Conflicting values set for option "
        "Signed-By regarding source https://download.docker.com/linux/debian/ bookworm: /etc/apt/keyrings/docker.asc "
        "!= /etc/apt/keyrings/docker.gpg)",
        "remove one: ",
    ),
    "lock": (
        "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 123 (apt-get)\n"
        "E: Unable to lock directory /var/lib/apt/lists/\n",
        "another apt kept its lock for ten minutes (Could not get lock /var/lib/apt/lists/lock. It is held by process "
        "123 (apt-get))",
        "see what it does: ",
    ),
    "unknown": ("E: Unable to locate package nonsense\n", "", ""),
    "fine": ("Reading package lists...\n", "", ""),
}


@pytest.mark.parametrize(("said", "cause", "remedy"), SAID.values(), ids=SAID)
def test_one_sentence(tmp_path: Path, said: str, cause: str, remedy: str) -> None:
    site = site_at(tmp_path)
    host = RecordingHost(site.first, site, blank(site.first, FactQuery()))
    host.says["deb.debian.org"] = "/etc/apt/sources.list:1:deb http://deb.debian.org/debian bookworm main\n"
    host.says["old.example.org"] = "/etc/apt/sources.list.d/old.list:3:deb http://old.example.org/debian etch main\n"
    found, advice = apt.explain(cast(Host, host), said)
    assert found == cause
    assert advice.startswith(remedy)
