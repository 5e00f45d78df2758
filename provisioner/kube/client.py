"""The kubernetes client: authenticated requests, and commands in pods over a WebSocket.

Nothing else imports it and its dependencies; api.py loads this module at its first connection.
"""

from __future__ import annotations

import base64
import copy
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from kubernetes.config.kube_config import KubeConfigLoader
from kubernetes.stream.ws_client import WSClient, get_websocket_url
from urllib3 import disable_warnings
from urllib3.exceptions import HTTPError, InsecureRequestWarning
from websocket import WebSocketException

from provisioner.errors import ClusterError


class Client:
    """Send requests to an API server with credentials that stay in memory.

    configure: fills in the configuration; it may use `in_memory`.
    """

    def __init__(self, configure: Callable[[Client, Configuration], None]) -> None:
        self._descriptors: list[int] = []
        configuration = Configuration()
        configuration.connection_pool_maxsize = 8
        configuration.retries = False
        try:
            configure(self, configuration)
        except BaseException:
            self.close()
            raise
        self._configuration = configuration
        self._client = ApiClient(configuration)

    @classmethod
    def of_admin(cls, url: str, kubeconfig: Mapping[str, Any]) -> Client:
        """Return a client for the API server at a URL, with kubeadm's admin.conf."""

        def configure(client: Client, configuration: Configuration) -> None:
            user, cluster = kubeconfig["users"][0]["user"], kubeconfig["clusters"][0]["cluster"]
            configuration.host = url
            configuration.tls_server_name = (
                "kubernetes"  # every API server certificate has it, so that it also verifies through the tunnel
            )
            configuration.ssl_ca_cert = client.in_memory(cluster["certificate-authority-data"])
            configuration.cert_file = client.in_memory(user["client-certificate-data"])
            configuration.key_file = client.in_memory(user["client-key-data"])
            configuration.no_proxy = "*"

        return cls(configure)

    @classmethod
    def of_kubeconfig(cls, kubeconfig: Mapping[str, Any]) -> Client:
        """Return a client for the only context of a kubeconfig, with whatever credentials it has.

        They may come from a program (exec), which runs as it would for kubectl. Raises ClusterError.
        """

        def configure(client: Client, configuration: Configuration) -> None:
            own = copy.deepcopy(dict(kubeconfig))
            cluster, user = own["clusters"][0]["cluster"], own["users"][0]["user"]
            for entry, name in (
                (cluster, "certificate-authority"),
                (user, "client-certificate"),
                (user, "client-key"),
            ):
                if data := entry.pop(f"{name}-data", ""):
                    entry[name] = client.in_memory(_checked(data, f"{name}-data"))
            _load(own, configuration)
            if not configuration.verify_ssl:
                disable_warnings(InsecureRequestWarning)  # the kubeconfig says so, and kubectl does not warn either

        return cls(configure)

    def request(self, method: str, path: str, body: Any, content_type: str, timeout: float) -> tuple[int, bytes]:
        """Send a request and return status and body; raise OSError with the reason if there is no response.

        timeout: seconds.
        """
        url = f"{self._configuration.host}{path}"
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        settings: Mapping[str, Any] = self._configuration.auth_settings()
        for setting in settings.values():
            headers[setting["key"]] = setting["value"]
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

    def in_memory(self, data: str) -> str:
        """Return a path in /proc to base64 data in anonymous memory, for libraries that require a file."""
        descriptor = os.memfd_create("provisioner")
        os.write(descriptor, base64.b64decode(data))
        self._descriptors.append(descriptor)
        return f"/proc/self/fd/{descriptor}"


def _checked(data: Any, key: str) -> str:
    """Return the base64 data of a kubeconfig's key. Raises ClusterError for anything else."""
    try:
        base64.b64decode(data, validate=True)
    except (TypeError, ValueError) as error:
        raise ClusterError(f"the kubeconfig's {key} is not base64", "write it again, or use another file") from error
    return str(data)


def _load(kubeconfig: Mapping[str, Any], configuration: Configuration) -> None:
    """Fill in the configuration from a kubeconfig of one context."""
    said = _Said()
    root = logging.getLogger()
    root.addHandler(said)
    try:
        KubeConfigLoader(kubeconfig, config_base_path="").load_and_set(configuration)
    except (ConfigException, OSError, ValueError, TypeError, KeyError) as error:
        raise ClusterError(f"the kubeconfig's credentials cannot be used: {error}", _CREDENTIALS) from error
    finally:
        root.removeHandler(said)
    # The loader logs why a program (exec) gave no credentials, and goes on without.
    if said.lines:
        raise ClusterError(f"the kubeconfig's credentials cannot be used: {said.lines[0]}", _CREDENTIALS)


_CREDENTIALS = "check them with: kubectl auth can-i --list"


class _Said(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(" ".join(record.getMessage().split()))


def _reason(error: BaseException) -> str:
    """Return the message of the innermost error, which urllib3 wraps."""
    inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    if isinstance(inner, BaseException):
        return _reason(inner)
    return str(error).rsplit("): ", 1)[-1]
