"""What answers of an API server mean: "come again", and how a command in a pod ended."""

from __future__ import annotations

import pytest

from provisioner.kube.api import exec_status, retryable


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
        (422, b'{"message":"spec.clusterIPs: failed to allocate IP: etcdserver: request timed out"}', True),
        (
            422,
            b'{"message":"spec.clusterIPs: failed to allocate IP 10.96.0.9: provided IP is already allocated"}',
            False,
        ),
        (403, b"", False),
        (200, b"leader changed", False),
    ],
)
def test_busy(status: int, body: bytes, again: bool) -> None:
    assert retryable(status, body) is again


@pytest.mark.parametrize(
    ("text", "well", "why"),
    [
        ('{"status":"Success"}', True, ""),
        ('{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code",'
         '"details":{"causes":[{"reason":"ExitCode","message":"1"}]}}', False, ""),
        ('{"status":"Failure","reason":"InternalError","message":"Internal error occurred: error executing command",'
         '"details":{"causes":[{"message":"error executing command in container: OCI runtime exec failed"}]}}',
         False, "Internal error occurred: error executing command"),
        ('{"status":"Failure"}', False, "the API gives no reason"),
        ("", False, "the connection closed before the command finished"),
    ],
)  # fmt: skip
def test_how_a_command_in_a_pod_ended(text: str, well: bool, why: str) -> None:
    assert exec_status(text) == (well, why)
