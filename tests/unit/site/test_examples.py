"""The sites in examples/: each is one that `provisioner plan` would accept, and is what its comment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.site import Site, load_site

EXAMPLES = Path(__file__).parents[3] / "examples"


def site(name: str) -> Site:
    return load_site(EXAMPLES / f"{name}.toml")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_is_a_site_and_is_listed(path: Path) -> None:
    assert load_site(path).hosts
    assert f"[{path.name}]({path.name})" in (EXAMPLES / "README.md").read_text()


def test_the_examples_are_what_they_are_called() -> None:
    solo = site("one-node").hosts
    assert len(solo) == 1
    assert solo[0].is_control_plane
    assert solo[0].is_worker
    assert len(site("three-nodes").hosts) == 3
    available = site("high-availability")
    assert len(available.control_planes) == 3
    assert available.cluster.vip == "192.0.2.100"
    assert available.endpoint == "192.0.2.100:6443"
    assert site("jump-host").ssh.jump
    mirror = site("air-gap").mirror
    assert all((mirror.packages, mirror.images, mirror.manifests, mirror.containerd))
