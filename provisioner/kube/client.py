"""The kubernetes client: authenticated requests, and commands in pods over a WebSocket.

Nothing else imports it and its dependencies; api.py loads this module at its first connection.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any

from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.stream.ws_client import WSClient, get_websocket_url
from urllib3.exceptions import HTTPError
from websocket import WebSocketException


class Client:
    """Send requests to the API server at a URL with the credentials of a kubeconfig, which stay in memory."""

    def __init__(self, url: str, kubeconfig: Mapping[str, Any]) -> None:
        user, cluster = kubeconfig["users"][0]["user"], kubeconfig["clusters"][0]["cluster"]
        self._descriptors: list[int] = []
        configuration = Configuration()
        configuration.host = url
        configuration.tls_server_name = (
            "kubernetes"  # every API server certificate has it, so that it also verifies through the tunnel
        )
        configuration.ssl_ca_cert = self._in_memory(cluster["certificate-authority-data"])
        configuration.cert_file = self._in_memory(user["client-certificate-data"])
        configuration.key_file = self._in_memory(user["client-key-data"])
        configuration.connection_pool_maxsize = 8
        configuration.retries = False
        configuration.no_proxy = "*"
        self._configuration = configuration
        self._client = ApiClient(configuration)

    def request(self, method: str, path: str, body: Any, content_type: str, timeout: float) -> tuple[int, bytes]:
        """Send a request and return status and body; raise OSError with the reason if there is no response.

        timeout: seconds.
        """
        url, headers = (
            f"{self._configuration.host}{path}",
            {"Content-Type": content_type, "Accept": "application/json"},
        )
        try:
            answer = self._client.call_api(method, url, headers, body, _request_timeout=timeout)
            answer.read()
        except (HTTPError, ApiException, OSError) as error:
            raise ConnectionError(_reason(error)) from error
        return answer.status, answer.data or b""

    def exec(self, path: str, query: Sequence[tuple[str, Any]], timeout: float) -> tuple[str, str, str]:
        """Run a command in a pod and return stdout, stderr and the error channel's Status (remotecommand v4).

        timeout: seconds. Raise TimeoutError if it takes longer, another OSError with the reason if it cannot connect.
        """
        url = get_websocket_url(f"{self._configuration.host}{path}", query)
        try:
            stream = WSClient(self._configuration, url, {}, True)
            stream.run_forever(timeout=timeout)
        except (OSError, ApiException, WebSocketException) as error:
            body = getattr(error, "resp_body", None)  # the API's response to the handshake
            raise ConnectionError(body.decode(errors="replace") if body else str(error)) from error
        if stream.is_open():
            stream.close()
            raise TimeoutError
        return str(stream.read_channel(1)), str(stream.read_channel(2)), str(stream.read_channel(3))

    def close(self) -> None:
        """Close the credential files."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _in_memory(self, data: str) -> str:
        """Return a path in /proc to base64 data in anonymous memory, for libraries that require a file."""
        descriptor = os.memfd_create("provisioner")
        os.write(descriptor, base64.b64decode(data))
        self._descriptors.append(descriptor)
        return f"/proc/self/fd/{descriptor}"


def _reason(error: BaseException) -> str:
    """Return the message of the innermost error, which urllib3 wraps."""
    inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    if isinstance(inner, BaseException):
        return _reason(inner)
    return str(error).rsplit("): ", 1)[-1]
