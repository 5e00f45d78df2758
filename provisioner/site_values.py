"""The values that hosts.toml may hold: for each kind what is accepted, and what to write where it is not.

A value that is refused raises `wrong`: a predicate that reads on from the value ("is not a network"), and a remedy.
Nothing here echoes the value itself: site_errors.py does, and knows which values must stay unseen.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from provisioner import addresses, version


def wrong(predicate: str, remedy: str) -> PydanticCustomError:
    """Return the error for a value that is not what its key wants."""
    return PydanticCustomError("wrong_value", "{predicate}; {remedy}", {"predicate": predicate, "remedy": remedy})


class Taint(NamedTuple):
    """A node taint; value may be empty."""

    key: str
    value: str
    effect: str


_LABEL = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_SUBDOMAIN = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
_LABEL_KEY = re.compile(rf"(?:(?=[^/]{{1,253}}/){_SUBDOMAIN}/)?{_LABEL}")
_LABEL_VALUE = re.compile(rf"(?:{_LABEL})?")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_USER = re.compile(r"[A-Za-z_][-A-Za-z0-9_.]{0,31}\$?")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# What a machine needs for itself: an export there would hand it out, and the NFS step would change its owner.
_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr", "/var")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise wrong("holds a line break or an invisible character", "write it on one line, in plain characters")
    if text != text.strip():
        raise wrong("begins or ends with a space", "remove the space")
    return text


def _matching(pattern: str | re.Pattern[str], predicate: str, remedy: str, optional: bool = False) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None and not (optional and text == ""):
            raise wrong(predicate, remedy)
        return text

    return AfterValidator(check)


def _optional(check: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: check(text) if text else text


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise wrong("is not an IP address", 'write one such as "192.168.56.10", without a prefix') from None
    if "%" in text or address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local:
        raise wrong("is no address that other hosts can reach", "write the host's address on the cluster's segment")
    return str(address)


def _node_address(text: str) -> str:
    if (address := _address(text)) == "10.0.2.15":
        raise wrong(
            "is the NAT address that every VirtualBox and QEMU machine has",
            "write the host's address on the cluster's segment, as `ip address` on the host shows it",
        )
    return address


def _ssh_address(text: str) -> str:
    if _HOST.fullmatch(text):
        return text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise wrong("is neither a host name nor an IP address", 'write one such as "node1.example.org"') from None


def _cidr(text: str) -> str:
    try:
        return str(addresses.parse_network(text))
    except ValueError as error:
        raise wrong(str(error).partition(";")[0], _after(error, 'write one such as "10.244.0.0/16"')) from None


def _range(text: str) -> str:
    try:
        parsed = addresses.parse_range(text)
    except ValueError as error:
        remedy = _after(error, 'write one such as "192.168.56.200-192.168.56.230" or "192.168.56.224/27"')
        raise wrong(str(error).partition(";")[0], remedy) from None
    for address in parsed:
        if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local:
            raise wrong("holds addresses that clients cannot reach", "write addresses of the cluster's segment")
    return text


def _client(text: str) -> str:
    try:
        network = addresses.parse_network(text) if "/" in text else ipaddress.ip_network(_address(text))
    except ValueError as error:
        raise wrong(str(error).partition(";")[0], _after(error, 'write an address or a network such as "192.0.2.0/24"')) from None
    if network.prefixlen == 0:
        raise wrong("is the whole world", "name the addresses or networks of the clients")
    return text


def _after(error: ValueError, otherwise: str) -> str:
    return str(error).partition("; ")[2] or otherwise


def _host_port(text: str, predicate: str, example: str) -> str:
    remedy = f"write it as {example}"
    try:
        host, _ = addresses.split_host_port(text, 0)
        if ":" not in host and _HOST.fullmatch(host) is None:
            raise ValueError(predicate)
    except ipaddress.AddressValueError:
        raise wrong(predicate, remedy) from None
    except ValueError as error:
        raise wrong(str(error), remedy) from None
    return text


def _endpoint(text: str) -> str:
    if "://" in text:
        raise wrong("is a URL", 'write host and port only, as in "api.example.org:6443"')
    return _host_port(text, "is not a host with an optional port", '"host" or "host:port", IPv6 as "[address]:port"')


def _jump(text: str) -> str:
    user, at, place = text.rpartition("@")
    if at and _USER.fullmatch(user) is None:
        raise wrong("is not of the form user@host:port", 'write it as "user@host" or "user@host:port"')
    return _host_port(place, "is not of the form user@host:port", '"user@host" or "user@host:port"') and text


def _sudo_password(text: str) -> str:
    source, _, place = text.partition(":")
    if text in ("none", "prompt") or (source == "file" and place.strip()):
        return text
    if source == "env" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", place):
        return text
    raise wrong(
        "says where the sudo password comes from and never is the password itself",
        'write "none", "prompt", "env:NAME" or "file:PATH"; a password that stood here is best changed',
    )


def _label_key(text: str) -> str:
    if _LABEL_KEY.fullmatch(text) is None:
        raise wrong("is not a label key", 'write one such as "disk" or "example.org/disk"')
    return text


def parse_taint(text: str) -> Taint:
    """Read "key=value:Effect" or "key:Effect"; ValueError where it is neither."""
    left, _, effect = text.rpartition(":")
    key, _, value = left.partition("=")
    if effect not in _EFFECTS or not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
        raise ValueError(text)
    return Taint(key, value, effect)


def _taint(text: str) -> str:
    try:
        parse_taint(text)
    except ValueError:
        effects = ", ".join(_EFFECTS)
        raise wrong("is not a taint", f'write "key=value:Effect" or "key:Effect"; effects: {effects}') from None
    return text


def _export(text: str) -> str:
    if not text.startswith("/") or ".." in text.split("/"):
        raise wrong("is not an absolute path", 'write one such as "/srv/nfs"')
    path = "/" + "/".join(part for part in text.split("/") if part not in ("", "."))
    if not re.fullmatch(r"[-A-Za-z0-9_./+@]+", path):
        raise wrong("holds characters that an exports file cannot", "use letters, digits and -_.+@ in its folders")
    if path == "/" or path in _SYSTEM or path.startswith(("/dev/", "/etc/", "/proc/", "/sys/", "/run/", "/boot/")):
        raise wrong("belongs to the system and is not exported", 'give the export a folder of its own, as "/srv/nfs"')
    return path


def _url(text: str) -> str:
    remedy = 'write one such as "http://192.168.56.2/mirror"'
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise wrong("is not an address of a mirror", remedy) from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\"'<>\\]", text):
        raise wrong("is not an address of a mirror", remedy)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise wrong("has a user, a password or a query, which a mirror's address cannot", remedy)
    return text.rstrip("/")


def _flag(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][-a-z0-9.]*", text):
        raise wrong("is not the name of a flag", 'write it without dashes in front, as in "leader-elect" = "false"')
    return text


def _kubernetes(text: str) -> str:
    try:
        version.kubernetes_version(text)
    except ValueError as error:
        predicate, _, possible = str(error).partition("; ")
        raise wrong(predicate, possible) from None
    return text


def _plain(value: Any) -> Any:
    """Refuse what TOML can say and a Kubernetes object cannot: dates, infinities, unprintable text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _printable(key)
            _plain(inner)
    elif isinstance(value, list):
        for inner in value:
            _plain(inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise wrong("holds a number that is not finite", "write a finite number")
    elif isinstance(value, datetime | date | time):
        raise wrong("holds a date or time", "write it as a string, in quotes")
    return value


def _list_to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def unique(items: Iterable[str]) -> None:
    """Raise `wrong` where an item stands twice in a list."""
    seen: set[str] = set()
    for item in items:
        if item in seen:
            raise wrong(f'names "{item}" twice', "remove one of them")
        seen.add(item)


def _unique(items: tuple[str, ...]) -> tuple[str, ...]:
    unique(items)
    return items


AsTuple = BeforeValidator(_list_to_tuple)
Unique = AfterValidator(_unique)
Text = Annotated[str, AfterValidator(_printable)]
Name = Annotated[
    Text,
    _matching(
        r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?",
        "is not a DNS label",
        'use at most 63 lower-case letters, digits and inner hyphens, as in "worker1"',
    ),
]
OptionalName = Annotated[Text, AfterValidator(_optional(lambda text: text))]
User = Annotated[Text, _matching(_USER, "is not a user name", 'write one such as "vagrant"')]
OptionalUser = Annotated[Text, _matching(_USER, "is not a user name", 'write one such as "vagrant"', optional=True)]
Interface = Annotated[
    Text, _matching(r"[^\s/:]{1,15}", "is not the name of a network interface", 'write one such as "eth1"')
]
OptionalInterface = Annotated[
    Text, _matching(r"[^\s/:]{0,15}", "is not the name of a network interface", 'write one such as "eth1"')
]
ReleaseVersion = Annotated[
    Text, _matching(r"[0-9]+\.[0-9]+\.[0-9]+", "is not a version", 'write one such as "0.16.1"', optional=True)
]
Size = Annotated[
    Text,
    _matching(
        r"[1-9][0-9]{0,14}(?:[KMGTP]i|[kMGTP])",
        "is not a size",
        'write a whole number with a unit of Ki, Mi, Gi or Ti, as in "1Gi"',
    ),
]
Duration = Annotated[
    Text,
    _matching(r"(?=[0-9])(?:[0-9]{1,4}h)?(?:[0-9]{1,4}m)?(?:[0-9]{1,5}s)?", "is not a duration", 'write one such as "4m"'),
]
LabelValue = Annotated[
    Text,
    _matching(_LABEL_VALUE, "is not a label value", "use at most 63 letters, digits, '-', '_' and '.', as in \"ssd\""),
]
KubernetesVersion = Annotated[Text, AfterValidator(_kubernetes)]
NodeAddress = Annotated[Text, AfterValidator(_node_address)]
SshAddress = Annotated[Text, AfterValidator(_optional(_ssh_address))]
Cidr = Annotated[Text, AfterValidator(_cidr)]
PoolRange = Annotated[Text, AfterValidator(_range)]
Client = Annotated[Text, AfterValidator(_client)]
Endpoint = Annotated[Text, AfterValidator(_optional(_endpoint))]
Jump = Annotated[Text, AfterValidator(_optional(_jump))]
SudoPassword = Annotated[Text, AfterValidator(_sudo_password)]
LabelKey = Annotated[Text, AfterValidator(_label_key)]
TaintText = Annotated[Text, AfterValidator(_taint)]
Export = Annotated[Text, AfterValidator(_export)]
Url = Annotated[Text, AfterValidator(_optional(_url))]
Flag = Annotated[Text, AfterValidator(_flag)]
Plain = Annotated[dict[str, Any], AfterValidator(_plain)]
Port = Annotated[int, Field(ge=1, le=65535)]
Workload = Annotated[Text, _matching(r"[a-z0-9][-a-z0-9_]*", "is not the name of a workload", 'write one such as "nodeport"')]
