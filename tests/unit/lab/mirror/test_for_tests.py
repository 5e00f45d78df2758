"""A build for tests has the programs that they start, and nothing else is built for it."""

from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab.mirror import apt, cache, for_tests, parts
from provisioner.lab.mirror.editions import EDITIONS, Edition

NOT_STARTED = {"coredns", "metrics-server", "flanneld", "install-conf", "containerd", "metallb-controller"}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a file of its name in place of every artifact, so that nothing is compiled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    apt.ingredients_path().mkdir(parents=True)
    for edition in EDITIONS:
        wanted = [*for_tests.programs(edition).values(), parts.kubernetes(edition)]
        for part in wanted:
            part.directory.mkdir(parents=True, exist_ok=True)
            (part.directory / part.name).touch()


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("edition", EDITIONS)
def test_the_programs_are_linked_into_one_directory(edition: Edition) -> None:
    with pytest.raises(ProvisionerError, match=f"build --for-tests --kubernetes {edition.minor}"):
        for_tests.directory(edition)
    made = for_tests.build(edition)
    assert for_tests.directory(edition) == made
    names = {path.name for path in made.iterdir()}
    assert {"kubernetes", "etcd", "traefik", "metallb-speaker", "metallb-newest", "metallb-oldest"} <= names
    assert not names & NOT_STARTED
    assert all(path.exists() for path in made.iterdir())
    assert not (cache.root() / "work").exists()
