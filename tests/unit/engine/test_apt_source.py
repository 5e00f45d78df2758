"""A repository that another file already has: adopted, or refused before apt cannot read any source."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from provisioner.engine import apt_source
from provisioner.engine.apt_source import AptSource
from provisioner.ssh import FactQuery, Host
from tests.unit.steps.doubles import RecordingHost, blank, present, site_at

URL = "https://download.docker.com/linux/debian"
DOCKER = AptSource("docker", URL, f"{URL}/gpg", "bookworm stable", ("A" * 40,), "containerd_key")
KEY, OURS = AptSource.paths("docker")
FOLDER = "/etc/apt/sources.list.d"
# As docs.docker.com says since 2025, as Ansible's deb822_repository writes it, and the one line of before.
DEB822 = f"Types: deb\nURIs: {URL}\nSuites: bookworm\nComponents: stable\nSigned-By: /etc/apt/keyrings/docker.gpg\n"
INLINE = f"Types: deb\nURIs: {URL}/\nSuites: bookworm bookworm-x\nComponents: edge\n stable\nSigned-By:\n -----BEGIN\n"
LINE = f"# Docker\ndeb [arch=amd64 signed-by=/etc/apt/keyrings/docker.gpg] {URL} bookworm stable\n"


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    site = site_at(tmp_path)
    return RecordingHost(site.first, site, blank(site.first, FactQuery(files=AptSource.query("docker"))))


@pytest.mark.parametrize(
    ("path", "text", "adopted"),
    [
        (f"{FOLDER}/docker.sources", DEB822, True),
        (f"{FOLDER}/ansible.sources", INLINE, True),
        (f"{FOLDER}/download_docker_com_linux_debian.list", LINE, True),
        ("/etc/apt/sources.list", LINE, True),
        (f"{FOLDER}/docker.sources", f"Enabled: no\n{DEB822}", False),
        (f"{FOLDER}/docker.sources", DEB822.replace("bookworm", "trixie"), False),
        (f"{FOLDER}/docker.sources", DEB822.replace("deb\n", "deb-src\n"), False),
        (f"{FOLDER}/x.list", f"#deb {URL} bookworm stable\n", False),
        (f"{FOLDER}/x.list", f"deb {URL} bookworm edge # stable\n", False),
    ],
)
def test_a_repository_of_the_operators_is_adopted(host: RecordingHost, path: str, text: str, adopted: bool) -> None:
    host.know(files={path: present(text)})
    changes = [change.summary for change in apt_source.add_repository(cast(Host, host), DOCKER)]
    assert (changes == []) is adopted, changes
    assert apt_source.conflict(host.facts, DOCKER) == "", "ours is not there"


@pytest.mark.parametrize(("key", "refused"), [("docker.gpg", True), ("docker.asc", False)])
def test_a_repository_that_is_there_twice(host: RecordingHost, key: str, refused: bool) -> None:
    other = LINE.replace("docker.gpg", key)
    host.know(files={f"{FOLDER}/mine.list": present(other), OURS: present(DOCKER.line())})
    said = apt_source.conflict(host.facts, DOCKER)
    expected = (
        f"has the repository {URL} in {OURS} and, with another key, in {FOLDER}/mine.list, so that apt reads no "
        f"source at all: sudo rm {OURS}"
    )
    assert said == (expected if refused else "")
