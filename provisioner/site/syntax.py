"""The syntax of the values in hosts.toml: each check returns the normalized value or raises ValueError.

The error is a predicate that follows the value and, after a semicolon, a remedy: "is not a network; use one such as
…". No check repeats its value: messages.py does, and knows which values are secret.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from provisioner import addresses
from provisioner.catalogue import kubernetes_version
from provisioner.text import join_words

Check = Callable[[str], str]


class Taint(NamedTuple):
    """A node taint; value may be empty. str() is the inverse of `parse_taint`."""

    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        """Return "key=value:Effect" or "key:Effect"."""
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


# kubernetes.io, "Labels and Selectors": syntax and character set
_LABEL = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_SUBDOMAIN = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
_LABEL_KEY = re.compile(rf"(?:(?=[^/]{{1,253}}/){_SUBDOMAIN}/)?{_LABEL}")
_LABEL_VALUE = re.compile(rf"(?:{_LABEL})?")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_USER = re.compile(r"[A-Za-z_][-A-Za-z0-9_.]{0,31}")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# System directories: an export would expose them, and the NFS step would change their owner.
_SYSTEM = re.compile(
    r"/(?:bin|home|lib|lib32|lib64|libx32|opt|root|sbin|srv|tmp|usr|var|var/lib)?"
    r"|/(?:boot|dev|etc|proc|run|sys)(?:/.*)?"
)


def matching(pattern: str | re.Pattern[str], complaint: str) -> Check:
    """Return a check that the whole value matches a regular expression."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(complaint)
        return text

    return check


def optional(check: Check) -> Check:
    """Return a check that also accepts ""."""
    return lambda text: check(text) if text else text


def printable(text: str) -> str:
    """Reject what would break a line of a file or of the terminal."""
    if not text.isprintable():
        raise ValueError("contains a line break or an invisible character; use one line of visible characters")
    if text != text.strip():
        raise ValueError("begins or ends with a space; remove the space")
    return text


name = matching(
    r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?",
    'is not a DNS label; use at most 63 lowercase letters, digits and inner hyphens, as in "worker1"',
)
user = matching(_USER, 'is not a user name; use one such as "vagrant"')
interface = matching(r"[^\s/:]{1,15}", 'is not the name of a network interface; use one such as "eth1"')
release = matching(
    r"(?:0|[1-9][0-9]{0,4})(?:\.(?:0|[1-9][0-9]{0,4})){2}", 'is not a version; use one such as "0.16.1"'
)
size = matching(
    r"[1-9][0-9]{0,9}(?:[KMGTP]i|[kMGTP])",
    'is not a size; use an integer with a unit of Ki, Mi, Gi or Ti, as in "1Gi"',
)
duration = matching(
    r"(?=[0-9])(?:[0-9]{1,4}h)?(?:[0-9]{1,4}m)?(?:[0-9]{1,5}s)?(?<![^0-9]0.)(?<!^0.)",
    'is not a positive duration; use one such as "4m"',
)
label_key = matching(_LABEL_KEY, 'is not a label key; use one such as "disk" or "example.org/disk"')
label_value = matching(
    _LABEL_VALUE, 'is not a label value; use at most 63 letters, digits, hyphens, underscores and dots, as in "ssd"'
)
flag = matching(
    r"[a-z0-9][-a-z0-9.]*", 'is not the name of a flag; omit the leading dashes, as in leader-elect = "false"'
)
workload = matching(r"[a-z0-9][-a-z0-9_]*", 'is not the name of a workload; use one such as "nodeport"')


def address(text: str) -> str:
    """Accept an IP address that other hosts can reach; return its canonical form."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError('is not an IP address; use one such as "192.168.56.10", without a prefix length') from None
    if "%" in text or not _reachable(parsed):
        raise ValueError("cannot be reached from other hosts; use the host's address on the cluster's segment")
    return str(parsed)


def node_address(text: str) -> str:
    """Accept an address that identifies a node."""
    parsed = address(text)
    if parsed == "10.0.2.15":
        raise ValueError(
            "is the NAT address of every VirtualBox and QEMU machine; "
            "use the host's address on the cluster's segment, as `ip address` shows it"
        )
    return parsed


def ssh_address(text: str) -> str:
    """Accept a host name or an IP address."""
    if _HOST.fullmatch(text):
        return text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError('is neither a host name nor an IP address; use one such as "node1.example.org"') from None


def cidr(text: str) -> str:
    """Accept a network in CIDR notation; return its canonical form."""
    return str(addresses.parse_network(text))


def pool_range(text: str) -> str:
    """Accept what MetalLB accepts: a network or an address range."""
    parsed = addresses.parse_range(text)
    if not (_reachable(parsed.first) and _reachable(parsed.last)):
        raise ValueError("contains addresses that clients cannot reach; use addresses of the cluster's segment")
    return text


def client(text: str) -> str:
    """Accept an address or a network of NFS clients, but not every address."""
    if "/" not in text:
        return address(text)
    network = addresses.parse_network(text)
    if network.prefixlen == 0:
        raise ValueError("is every address; list the addresses or networks of the clients")
    return str(network)


def endpoint(text: str) -> str:
    """Accept "host", "host:port", "IPv6" or "[IPv6]:port"."""
    form = 'use host and port only, as in "api.example.org:6443"'
    if "://" in text:
        raise ValueError(f"is a URL; {form}")
    _host_port(text, form)
    return text


def jump(text: str) -> str:
    """Accept an endpoint with an optional user before it."""
    form = 'use "user@host" or "user@host:port"'
    login, at, place = text.rpartition("@")
    if at and _USER.fullmatch(login) is None:
        raise ValueError(f"is not of the form user@host:port; {form}")
    _host_port(place, form)
    return text


def sudo_password(text: str) -> str:
    """Accept the source of the password; the error helps those who wrote the password itself."""
    source, _, place = text.partition(":")
    if text in ("none", "prompt") or (source == "file" and place.strip()):
        return text
    if source == "env" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", place):
        return text
    raise ValueError(
        "must be the source of the sudo password, never the password itself; "
        'use "none", "prompt", "env:NAME" or "file:PATH", and change a password that was written here'
    )


def parse_taint(text: str) -> Taint:
    """Read "key=value:Effect" or "key:Effect"."""
    left, _, effect = text.rpartition(":")
    key, _, value = left.partition("=")
    if effect not in _EFFECTS or not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
        effects = join_words(_EFFECTS, "or")
        raise ValueError(f'is not a taint; use "key=value:Effect" or "key:Effect", with the effect {effects}')
    return Taint(key, value, effect)


def taint(text: str) -> str:
    """Accept what `parse_taint` reads."""
    parse_taint(text)
    return text


def export(text: str) -> str:
    """Accept an absolute path outside of the system's directories; return it without empty parts."""
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError('is not an absolute path; use one such as "/srv/nfs"')
    path = "/" + "/".join(part for part in text.split("/") if part not in ("", "."))
    if _SYSTEM.fullmatch(path):
        raise ValueError('is a system directory; use a separate one, such as "/srv/nfs"')
    if not re.fullmatch(r"[-A-Za-z0-9_./+@]+", path):
        raise ValueError("contains characters that /etc/exports cannot; use letters, digits and any of - _ . + @")
    return path


def fingerprint(text: str) -> str:
    """Return an OpenPGP fingerprint (as `gpg --show-keys` prints it, with or without spaces) in upper case."""
    compact = text.replace(" ", "").upper()
    if not re.fullmatch(r"[0-9A-F]{40}|[0-9A-F]{64}", compact):
        raise ValueError("is not the fingerprint of an OpenPGP key; gpg --show-keys FILE prints its 40 hex digits")
    return compact


def url(text: str) -> str:
    """Accept the http(s) URL of a mirror, without credentials; return it without a trailing slash."""
    form = 'use one such as "http://192.168.56.2/mirror"'
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or re.search(r"[\s\"'<>\\]", text):
        raise ValueError(f"is not the URL of a mirror; {form}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"contains a user, a password or a query, which the URL of a mirror cannot; {form}")
    return text.rstrip("/")


def proxy(text: str) -> str:
    """Accept the URL of a proxy, without a path; a user and password would be readable on every host."""
    form = 'use one such as "http://192.168.56.2:3128"'
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or not re.fullmatch(r"[\w.:\[\]@%-]+", parts.netloc):
        raise ValueError(f"is not the URL of a proxy; {form}")
    if "@" in parts.netloc or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"contains more than scheme, host and port, which a proxy's URL here cannot; {form}")
    return text.rstrip("/")


def unproxied(text: str) -> str:
    """Accept a name, a domain such as ".example.org", an address or a network."""
    if not re.fullmatch(r"\.?[A-Za-z0-9][A-Za-z0-9.:/_-]*", text):
        raise ValueError('is not a name, address or network; use one such as "192.168.0.0/16" or ".example.org"')
    return text


def kubernetes(text: str) -> str:
    """Accept a version that can be installed."""
    kubernetes_version(text)
    return text


def json_value(value: Any) -> Any:
    """Reject what TOML has and JSON lacks (dates, infinities), and excessive nesting."""
    return _json_value(value, 0)


def _json_value(value: Any, depth: int) -> Any:
    if depth > 20:
        raise ValueError("is nested too deeply; use at most 20 levels")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _json_value(inner, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("contains a number that is not finite; use a finite number")
    elif isinstance(value, datetime | date | time):
        raise ValueError("contains a date or time; write it as a string, in quotes")
    return value


def _reachable(parsed: addresses.IPAddress) -> bool:
    # Only what can never be a unicast peer is refused: some sites do use the reserved 240.0.0.0/4.
    return (
        not (parsed.is_loopback or parsed.is_multicast or parsed.is_unspecified or parsed.is_link_local)
        and str(parsed) != "255.255.255.255"
    )


def _host_port(text: str, form: str) -> None:
    try:
        host, _ = addresses.split_host_port(text, 0)
    except ValueError as error:
        raise ValueError(f"{error}; {form}") from None
    if ":" not in host and _HOST.fullmatch(host) is None:
        raise ValueError(f"has no host; {form}")
