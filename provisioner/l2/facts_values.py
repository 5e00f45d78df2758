"""The values allowed in facts: addresses, MACs, networks, pool ranges, label selectors.

A facts file is often written or cut by hand; a slip must be reported at once, not read as "no such address" later.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

from provisioner.addresses import Range, network_range
from provisioner.text import printable

_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def address(text: str) -> str:
    """Return an IPv4 or IPv6 address in its shortest form, as Kubernetes and MetalLB write it."""
    try:
        if "%" in text:
            raise ValueError
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address") from None


def address_with_prefix(text: str) -> str:
    """Return an interface's address with its prefix length, as "192.0.2.11/24"."""
    try:
        if "/" not in text or "%" in text:
            raise ValueError
        return str(ipaddress.ip_interface(text.strip()))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an address with its prefix length, such as 192.0.2.11/24") from None


def network(text: str) -> str:
    """Return a network in CIDR form; host bits are dropped, as by Go's net.ParseCIDR."""
    try:
        if "/" not in text or "%" in text:
            raise ValueError
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not a network in CIDR form, such as 192.0.2.0/24") from None


def mac(text: str) -> str:
    """Return a MAC in lower case with colons, or "" (unknown)."""
    lower = text.strip().lower()
    if lower and not _MAC.fullmatch(lower):
        raise ValueError(f"{quoted(text)} is not a MAC address, such as 52:54:00:00:00:11")
    return lower.replace("-", ":")


def pool_range(text: str) -> Range:
    """Parse a pool's entry as MetalLB does (internal/config, ParseCIDR): a CIDR or "first-last", spaces allowed.

    >>> pool_range("192.0.2.200 - 192.0.2.210").size
    11
    """
    form = "is neither a network nor a range, such as 192.0.2.0/28 or 192.0.2.200-192.0.2.210"
    try:
        if "%" in text:
            raise ValueError
        first_text, dash, last_text = text.partition("-")
        if not dash:
            if "/" not in text:
                raise ValueError
            return network_range(ipaddress.ip_network(text.strip(), strict=False))
        first, last = ipaddress.ip_address(first_text.strip()), ipaddress.ip_address(last_text.strip())
        if first.version != last.version:
            raise ValueError
    except ValueError:
        raise ValueError(f"{quoted(text)} {form}") from None
    if int(first) > int(last):
        raise ValueError(f"{quoted(text)} ends before it begins")
    return Range(first, last)


def _range(text: str) -> str:
    pool_range(text)
    return text.strip()


def version(text: str) -> str:
    """Return a release's number without the "v", as "0.13.12"."""
    number = text.strip().removeprefix("v")
    if not re.fullmatch(r"\d{1,5}(\.\d{1,5}){1,2}", number, re.ASCII):
        raise ValueError(f"{quoted(text)} is not a version, such as 0.16.1")
    return number


def selector(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Validate a label selector: matchLabels (string to string), matchExpressions (key, operator, values)."""
    for name in value:
        if name not in ("matchLabels", "matchExpressions"):
            raise ValueError(f"a label selector has matchLabels and matchExpressions, not {quoted(name)}")
    labels = value.get("matchLabels") or {}
    if not isinstance(labels, Mapping) or not all(isinstance(text, str) for text in labels.values()):
        raise ValueError('matchLabels is not an object of strings, such as {"zone": "a"}')
    expressions = value.get("matchExpressions") or ()
    if not isinstance(expressions, list | tuple):
        raise ValueError("matchExpressions is not a list")
    for expression in expressions:
        _expression(expression)
    return value


def _expression(expression: Any) -> None:
    form = 'write {"key": …, "operator": "In", "values": […]}'
    if not isinstance(expression, Mapping) or not isinstance(expression.get("key"), str):
        raise ValueError(f"a match expression has no key; {form}")
    operator, values = expression.get("operator"), expression.get("values") or []
    if operator not in _OPERATORS:
        raise ValueError(f"{quoted(operator)} is not an operator; use {', '.join(_OPERATORS)}")
    if not isinstance(values, list | tuple) or not all(isinstance(text, str) for text in values):
        raise ValueError(f"the values of a match expression are not a list of strings; {form}")
    if (operator in ("In", "NotIn")) != bool(values):
        raise ValueError(f"Kubernetes refuses {operator} with {'values' if values else 'no values'}")


def on_one_line(value: Any) -> Any:
    """Return a value in which each string, also in lists and objects, is printable and on one line.

    The API admits nothing else in names; annotations, messages and interface names may hold anything.
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list | tuple):
        return type(value)(on_one_line(one) for one in value)
    if isinstance(value, Mapping):
        return {on_one_line(key): on_one_line(one) for key, one in value.items()}
    return value


@lru_cache(maxsize=65536)
def interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """Parse an interface's address, with or without its prefix length; once, since a check looks at each a lot."""
    return ipaddress.ip_interface(text)


def quoted(value: object) -> str:
    """Return a value as an error shows it: quoted, truncated if long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


AddressText = Annotated[
    str,
    AfterValidator(address),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}], "examples": ["192.0.2.200"]}),
]
PrefixedAddressText = Annotated[
    str,
    AfterValidator(address_with_prefix),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9a-fA-F.:]+/\d{1,3}$", "examples": ["192.0.2.11/24"]}),
]
NetworkText = Annotated[
    str,
    AfterValidator(network),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9a-fA-F.:]+/\d{1,3}$", "examples": ["192.0.2.0/24"]}),
]
RangeText = Annotated[
    str,
    AfterValidator(_range),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\s*[0-9a-fA-F.:]+\s*(/\d{1,3}|-\s*[0-9a-fA-F.:]+)\s*$",
            "examples": ["192.0.2.200-192.0.2.210", "192.0.2.0/28"],
        }
    ),
]
MacText = Annotated[
    str,
    AfterValidator(mac),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^([0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5})?$",
            "examples": ["52:54:00:00:00:11"],
        }
    ),
]
VersionText = Annotated[
    str,
    AfterValidator(version),
    WithJsonSchema({"type": "string", "pattern": r"^v?\d{1,5}(\.\d{1,5}){1,2}$", "examples": ["0.16.1"]}),
]
Selector = Annotated[Mapping[str, Any], AfterValidator(selector)]
PortNumber = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]
