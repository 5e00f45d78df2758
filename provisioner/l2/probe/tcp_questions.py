"""Questions that are harmless on a TCP port whose protocol is known, and large enough to fill a segment."""

from __future__ import annotations

import contextlib
import ssl
from ipaddress import IPv4Address, IPv6Address

from provisioner.l2.probe.conversation import Asked

_HTTP = frozenset({80, 81, 591, 3000, 5000, 8000, 8008, 8080, 8081, 8088, 8888, 9000, 9090})
_TLS = frozenset({443, 465, 636, 853, 993, 995, 6443, 8443, 9443, 10443})
_SPEAKS_FIRST = frozenset({21, 22, 25, 110, 143, 587, 2222, 3306, 5900})
_HTTP_NAMES, _TLS_NAMES = frozenset({"http", "web"}), frozenset({"https", "tls", "http2s"})


def protocol_of(port: int, *names: str) -> Asked | None:
    """Return how to ask a TCP port, "" to let it speak first; None if that is unknown, so it is not asked.

    names: the port's name and appProtocol in the Service.

    >>> protocol_of(80), protocol_of(30443, "https"), protocol_of(22), protocol_of(6379)
    ('HTTP', 'TLS', '', None)
    """
    words = {part for name in names for part in name.lower().replace("/", "-").split("-")}
    if words & _TLS_NAMES or port in _TLS:
        return "TLS"
    if words & _HTTP_NAMES or port in _HTTP:
        return "HTTP"
    return "" if port in _SPEAKS_FIRST else None


def build(asked: Asked, ip: IPv4Address | IPv6Address, size: int, *, large: bool) -> bytes:
    """Return a question of at most `size` bytes; large: of exactly that many if the protocol allows it."""
    if asked == "HTTP":
        return _http(ip, size if large else 0)
    return _client_hello() if asked == "TLS" else b""


def _http(ip: IPv4Address | IPv6Address, size: int) -> bytes:
    host = f"[{ip}]" if ip.version == 6 else str(ip)
    head = f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: provisioner\r\nConnection: close\r\n"
    padding = size - len(head) - len("X-Padding: \r\n\r\n")
    return (head + (f"X-Padding: {'x' * padding}\r\n" if padding > 0 else "") + "\r\n").encode()


def _client_hello() -> bytes:
    """Return a TLS ClientHello, whose answer holds the server's certificates."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()
