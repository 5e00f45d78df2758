"""Which answers of an API server mean "come again": a road must not end because a machine is slow."""

from __future__ import annotations

import pytest

from provisioner.api import busy


@pytest.mark.parametrize(
    ("status", "body", "again"),
    [
        (429, b"", True),
        (503, b"", True),
        (504, b'{"message":"Timeout: request did not complete within requested timeout 34s"}', True),
        (500, b'{"message":"etcdserver: request timed out"}', True),
        (500, b'{"message":"Internal error occurred: resource quota evaluation timed out"}', True),
        (500, b'{"message":"failed calling webhook: connection refused"}', False),
        (422, b'{"message":"etcdserver: is an odd name for a field"}', False),
        (403, b"", False),
        (200, b"leader changed", False),
    ],
)
def test_busy(status: int, body: bytes, again: bool) -> None:
    assert busy(status, body) is again
