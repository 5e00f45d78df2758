"""Send HTTP, HTTPS and TCP requests as a client outside the cluster, for every check that tests a Service."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass

from provisioner.addresses import host_port


@dataclass(frozen=True)
class Response:
    """An HTTP response. status: 0 without one; error then says why.

    source: this machine's address on the connection. certificate: what the server presented (DER), with TLS.
    """

    url: str
    status: int = 0
    body: str = ""
    error: str = ""
    source: str = ""
    certificate: bytes = b""

    def __str__(self) -> str:
        if not self.status:
            return f"{self.url}: {self.error}"
        first = self.body.strip().splitlines()[:1]
        return f"{self.url}: {self.status}{f' {first[0][:100]}' if first else ''}"


def get(
    address: str, port: int, path: str = "/", *, host: str = "", timeout: float = 5, tls: bool = False
) -> Response:
    """GET a path over a new connection, so that each request may reach another pod.

    host: the Host header and TLS server name, when it is not the address. timeout: seconds for each of connecting and
    reading. tls: use HTTPS and accept any certificate; the caller compares it.
    """
    url = f"{'https' if tls else 'http'}://{host_port(address, port)}{path}" + (f" (Host: {host})" if host else "")
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    source, certificate = "", b""
    try:
        connection.connect()
        source = str(connection.sock.getsockname()[0])
        if tls:
            secured = _any_certificate().wrap_socket(connection.sock, server_hostname=host or address)
            connection.sock = secured
            certificate = secured.getpeercert(binary_form=True) or b""
        connection.request("GET", path, headers={"Connection": "close", **({"Host": host} if host else {})})
        reply = connection.getresponse()
        body = reply.read(65536).decode(errors="replace")
        return Response(url, reply.status, body, source=source, certificate=certificate)
    except http.client.HTTPException as error:
        return Response(url, error=f"not HTTP: {error!r}", source=source, certificate=certificate)
    except OSError as error:
        return Response(url, error=_reason(error), source=source, certificate=certificate)
    finally:
        connection.close()


def connect(address: str, port: int, timeout: float = 5) -> str:
    """Open and close a TCP connection; return "" on success, else the error."""
    try:
        with socket.create_connection((address, port), timeout=timeout):
            return ""
    except OSError as error:
        return _reason(error)


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: OSError) -> str:
    return "timed out" if isinstance(error, TimeoutError) else str(error.strerror or error).lower()
