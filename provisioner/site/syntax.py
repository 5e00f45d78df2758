"""The syntax of the values in hosts.toml: each check returns its value, normalised, or says what is wrong with it.

A refused value raises ValueError with a predicate that reads on from the value and, after a semicolon, a remedy:
"is not a network; write one such as …". No check echoes its value: site_errors.py does, and knows which must stay
unseen.
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

Check = Callable[[str], str]


class Taint(NamedTuple):
    """A node taint; value may be empty. As text it is what `parse_taint` reads."""

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
# What a machine needs for itself: an export there would hand it out, and the NFS step would change its owner.
_SYSTEM = re.compile(
    r"/(?:bin|home|lib|lib32|lib64|libx32|opt|root|sbin|srv|tmp|usr|var|var/lib)?"
    r"|/(?:boot|dev|etc|proc|run|sys)(?:/.*)?"
)


def matching(pattern: str | re.Pattern[str], complaint: str) -> Check:
    """Return a check for a regular expression that the whole value must match."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(complaint)
        return text

    return check


def optional(check: Check) -> Check:
    """Return the check with "" let through."""
    return lambda text: check(text) if text else text


def printable(text: str) -> str:
    """Refuse what would break a line of a file or of the terminal."""
    if not text.isprintable():
        raise ValueError("holds a line break or an invisible character; write it on one line, in plain characters")
    if text != text.strip():
        raise ValueError("begins or ends with a space; remove the space")
    return text


name = matching(
    r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?",
    'is not a DNS label; use at most 63 lower-case letters, digits and inner hyphens, as in "worker1"',
)
user = matching(_USER, 'is not a user name; write one such as "vagrant"')
interface = matching(r"[^\s/:]{1,15}", 'is not the name of a network interface; write one such as "eth1"')
release = matching(
    r"(?:0|[1-9][0-9]{0,4})(?:\.(?:0|[1-9][0-9]{0,4})){2}", 'is not a version; write one such as "0.16.1"'
)
size = matching(
    r"[1-9][0-9]{0,9}(?:[KMGTP]i|[kMGTP])",
    'is not a size; write a whole number with a unit of Ki, Mi, Gi or Ti, as in "1Gi"',
)
duration = matching(
    r"(?=[0-9])(?:[0-9]{1,4}h)?(?:[0-9]{1,4}m)?(?:[0-9]{1,5}s)?(?<![^0-9]0.)(?<!^0.)",
    'is not a duration above zero; write one such as "4m"',
)
label_key = matching(_LABEL_KEY, 'is not a label key; write one such as "disk" or "example.org/disk"')
label_value = matching(
    _LABEL_VALUE, 'is not a label value; use at most 63 letters, digits, hyphens, underscores and dots, as in "ssd"'
)
flag = matching(
    r"[a-z0-9][-a-z0-9.]*", 'is not the name of a flag; write it without dashes in front, as in leader-elect = "false"'
)
workload = matching(r"[a-z0-9][-a-z0-9_]*", 'is not the name of a workload; write one such as "nodeport"')


def address(text: str) -> str:
    """Accept an IP address that other hosts can reach; return its canonical form."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError('is not an IP address; write one such as "192.168.56.10", without a prefix') from None
    if "%" in text or not _reachable(parsed):
        raise ValueError("is no address that other hosts can reach; write the host's own on the cluster's segment")
    return str(parsed)


def node_address(text: str) -> str:
    """Accept an address that can tell one node from another."""
    parsed = address(text)
    if parsed == "10.0.2.15":
        raise ValueError(
            "is the NAT address that every VirtualBox and QEMU machine shares; "
            "write the host's address on the cluster's segment, as `ip address` shows it there"
        )
    return parsed


def ssh_address(text: str) -> str:
    """Accept a host name or an IP address."""
    if _HOST.fullmatch(text):
        return text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError('is neither a host name nor an IP address; write one such as "node1.example.org"') from None


def cidr(text: str) -> str:
    """Accept a network in CIDR form; return its canonical form."""
    return str(addresses.parse_network(text))


def pool_range(text: str) -> str:
    """Accept what MetalLB does: a network, or a range of addresses."""
    parsed = addresses.parse_range(text)
    if not (_reachable(parsed.first) and _reachable(parsed.last)):
        raise ValueError("holds addresses that clients cannot reach; write addresses of the cluster's segment")
    return text


def client(text: str) -> str:
    """Accept an address or a network of NFS clients, but not the world."""
    if "/" not in text:
        return address(text)
    network = addresses.parse_network(text)
    if network.prefixlen == 0:
        raise ValueError("is the whole world; name the addresses or networks of the clients")
    return str(network)


def endpoint(text: str) -> str:
    """Accept "host", "host:port", "IPv6" or "[IPv6]:port"."""
    form = 'write host and port only, as in "api.example.org:6443"'
    if "://" in text:
        raise ValueError(f"is a URL; {form}")
    _host_port(text, form)
    return text


def jump(text: str) -> str:
    """Accept an endpoint with an optional user before it."""
    form = 'write it as "user@host" or "user@host:port"'
    login, at, place = text.rpartition("@")
    if at and _USER.fullmatch(login) is None:
        raise ValueError(f"is not of the form user@host:port; {form}")
    _host_port(place, form)
    return text


def sudo_password(text: str) -> str:
    """Accept where the password comes from; the complaint helps whoever wrote the password itself."""
    source, _, place = text.partition(":")
    if text in ("none", "prompt") or (source == "file" and place.strip()):
        return text
    if source == "env" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", place):
        return text
    raise ValueError(
        "says where the sudo password comes from, it never is the password itself; "
        'write "none", "prompt", "env:NAME" or "file:PATH", and change a password that stood here'
    )


def parse_taint(text: str) -> Taint:
    """Read "key=value:Effect" or "key:Effect"."""
    left, _, effect = text.rpartition(":")
    key, _, value = left.partition("=")
    if effect not in _EFFECTS or not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
        effects = ", ".join(_EFFECTS)
        raise ValueError(f'is not a taint; write "key=value:Effect" or "key:Effect" with one of {effects}')
    return Taint(key, value, effect)


def taint(text: str) -> str:
    """Accept what `parse_taint` reads."""
    parse_taint(text)
    return text


def export(text: str) -> str:
    """Accept an absolute path that is the export's own; return it without empty parts."""
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError('is not an absolute path; write one such as "/srv/nfs"')
    path = "/" + "/".join(part for part in text.split("/") if part not in ("", "."))
    if _SYSTEM.fullmatch(path):
        raise ValueError('belongs to the system; give the export a folder of its own, as in "/srv/nfs"')
    if not re.fullmatch(r"[-A-Za-z0-9_./+@]+", path):
        raise ValueError("holds characters that an exports file cannot; use letters, digits and any of - _ . + @")
    return path


def url(text: str) -> str:
    """Accept the http(s) address of a mirror, without credentials; return it without a slash at the end."""
    form = 'write one such as "http://192.168.56.2/mirror"'
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or re.search(r"[\s\"'<>\\]", text):
        raise ValueError(f"is not the address of a mirror; {form}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"holds a user, a password or a query, which a mirror's address cannot; {form}")
    return text.rstrip("/")


def kubernetes(text: str) -> str:
    """Accept a version that can be installed."""
    kubernetes_version(text)
    return text


def plain(value: Any) -> Any:
    """Refuse what TOML can say and a Kubernetes object cannot: dates, infinities; and nesting beyond reason."""
    return _plain(value, 0)


def _plain(value: Any, depth: int) -> Any:
    if depth > 20:
        raise ValueError("is nested too deeply; no kubelet setting is")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _plain(inner, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that is not finite; write a finite number")
    elif isinstance(value, datetime | date | time):
        raise ValueError("holds a date or time; write it as a string, in quotes")
    return value


def _reachable(parsed: addresses.IPAddress) -> bool:
    # 240.0.0.0/4 is "reserved": some sites do use it, so only what can never be a unicast peer is refused.
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
        raise ValueError(f"names no host; {form}")
