"""Ask over HTTP, HTTPS and TCP as a client outside of the cluster does."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass

from provisioner.addresses import host_port


@dataclass(frozen=True)
class Response:
    """What came back. status: 0 when nothing did, and error then says what happened instead.

    source: this machine's own address on that connection. certificate: what the server presented (DER), with TLS.
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
    """GET a page over a connection of its own, so that each request may reach another pod.

    host: the Host header and TLS server name, when it is not the address. timeout: seconds for each of connecting and
    reading. tls: by HTTPS, whatever certificate the server presents: who asks compares it.
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
        answer = connection.getresponse()
        return Response(
            url, answer.status, answer.read(65536).decode(errors="replace"), source=source, certificate=certificate
        )
    except http.client.HTTPException as error:
        return Response(url, error=f"no HTTP: {error!r}", source=source, certificate=certificate)
    except OSError as error:
        return Response(url, error=_words(error), source=source, certificate=certificate)
    finally:
        connection.close()


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(address: str, port: int, timeout: float = 5) -> str:
    """Open and close a TCP connection; return "" when that worked, else what happened."""
    try:
        with socket.create_connection((address, port), timeout=timeout):
            return ""
    except OSError as error:
        return _words(error)


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    return str(error.strerror or error).lower()
