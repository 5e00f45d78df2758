"""Responses of an API server: which to retry, and the result of a command in a pod."""

from __future__ import annotations

import pytest

from provisioner.kube.api import exec_status, retryable


@pytest.mark.parametrize(
    ("status", "body", "retried"),
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
def test_a_busy_api_server_is_retried(status: int, body: bytes, retried: bool) -> None:
    assert retryable(status, body) is retried


@pytest.mark.parametrize(
    ("text", "succeeded", "reason"),
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
def test_the_status_of_a_command_in_a_pod(text: str, succeeded: bool, reason: str) -> None:
    assert exec_status(text) == (succeeded, reason)
