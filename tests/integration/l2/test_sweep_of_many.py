"""The sweep that `make bench` measures, repeated: 200 owned addresses, ten of them with two owners."""

from __future__ import annotations

import os

import pytest

from tests.bench.segment import segment

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("options", [(), ("--pps", "500"), ("--no-zero",)])
def test_every_owner_and_every_duplicate_is_found(options: tuple[str, ...]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    with segment() as made:
        assert len(made.owners) == 200
        assert sum(len(macs) == 2 for macs in made.owners.values()) == 10
        for _ in range(3):
            assert made.scan(*options) == made.owners
