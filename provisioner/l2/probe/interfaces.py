"""Find where this machine meets an address's segment: interface, MAC and source address.

A question sent from the wrong interface is not answered, which would look like a fault of the cluster. Anything not
clearly on a local segment therefore raises Inconclusive.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface
from typing import Any

from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2.probe import scapy_light
from provisioner.l2.probe.capture import Address, Vantage
from provisioner.text import printable

# A random delay of up to a second, then one solicitation and a second's wait for its answer (RFC 4862, section 5.4);
# sites that send several have longer to wait than anybody wants.
DETECTION_SECONDS = 4.0


@dataclass(frozen=True)
class Interface:
    """A network interface of this machine. addresses: each with its on-link subnet; mtu: bytes of a packet."""

    name: str
    mac: str
    up: bool
    ethernet: bool
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    mtu: int = 1500

    @property
    def subnets(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Return the on-link subnets."""
        return tuple(own.network for own in self.addresses)

    def source_for(self, target: Address) -> Address | None:
        """Return the source address for a question, None where the interface has none.

        IPv4: the address in the target's subnet, else the first; IPv6: the link-local address.
        """
        own = [one for one in self.addresses if one.version == target.version]
        if target.version == 6:
            return next((one.ip for one in own if one.ip.is_link_local), None)
        near = [one for one in own if target in one.network]
        near.sort(key=lambda one: one.network.prefixlen, reverse=True)
        return next((one.ip for one in [*near, *own]), None)

    def client_address(self, target: Address) -> Address | None:
        """Return the source address for a connection: as `source_for`, but a routable one for IPv6.

        A link-local address does not leave the segment, so it serves link-local targets only.
        """
        if target.version == 4 or target.is_link_local:
            return self.source_for(target)
        own = [one for one in self.addresses if one.version == 6 and not one.ip.is_link_local]
        own.sort(key=lambda one: target in one.network, reverse=True)
        return own[0].ip if own else None

    def reaches(self, target: Address) -> bool:
        """Return whether the target lies in one of the interface's subnets."""
        return any(own.version == target.version and target in own.network for own in self.addresses)


def read() -> tuple[Interface, ...]:
    """Return this machine's interfaces, from `ip -json address`, once duplicate address detection has ended on them.

    A link that has just come up has a link-local address that cannot be a source yet, and would look like one without.
    """
    scapy_light.preload()  # whoever reads the interfaces is about to send from one; ip(8) is waited for anyway
    deadline = time.monotonic() + DETECTION_SECONDS
    while True:
        (text,) = _ip(("address", "show"))
        if not detecting(text) or time.monotonic() > deadline:
            return parse(text)
        time.sleep(0.1)


def detecting(text: str) -> bool:
    """Return whether duplicate address detection is under way, by the output of `ip -json address`.

    Without a carrier it does not begin, and after `dadfailed` it has ended.
    """
    entries: list[dict[str, Any]] = json.loads(text or "[]")
    return any(
        own.get("tentative") and not own.get("dadfailed")
        for entry in entries
        if "UP" in entry.get("flags", ()) and "NO-CARRIER" not in entry.get("flags", ())
        for own in entry.get("addr_info", ())
    )


def vantage(interface: Interface) -> Vantage:
    """Return this machine's MACs, addresses, neighbor cache and routers as they are now."""
    device = ("show", "dev", interface.name)
    links, neighbours, *routes = _ip(
        ("address", "show"), ("neighbour", *device), ("-4", "route", *device), ("-6", "route", *device)
    )
    here = parse(links)
    return Vantage(
        interface=interface.name,
        mac=interface.mac,
        addresses=interface.addresses,
        own_macs=frozenset(one.mac for one in here if one.ethernet and one.mac),
        own_addresses=own_addresses(here),
        neighbours=_neighbours(neighbours),
        gateways=tuple(dict.fromkeys(gateway for text in routes for gateway in _gateways(text))),
    )


def own_addresses(interfaces: Iterable[Interface]) -> frozenset[Address]:
    """Return the addresses of a machine with these interfaces."""
    return frozenset(own.ip for one in interfaces for own in one.addresses)


def _neighbours(text: str) -> dict[Address, str]:
    entries: list[dict[str, Any]] = json.loads(text or "[]")
    return {ip_address(entry["dst"]): entry["lladdr"].lower() for entry in entries if "lladdr" in entry}


def _gateways(text: str) -> list[Address]:
    """Return the routers in the output of `ip -json route`, including those of multipath routes."""
    routes: list[dict[str, Any]] = json.loads(text or "[]")
    hops = [hop for route in routes for hop in (route, *route.get("nexthops", ()))]
    return [ip_address(hop["gateway"]) for hop in hops if "gateway" in hop]


def _ip(*queries: tuple[str, ...]) -> list[str]:
    """Return the output of `ip -json` for each query; the processes run in parallel."""
    try:
        running = [
            subprocess.Popen(["ip", "-json", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for words in queries
        ]
    except FileNotFoundError as error:
        raise ProvisionerError("ip: command not found", "apt install iproute2") from error
    answers = []
    for words, process in zip(queries, running, strict=True):
        answer, errors = process.communicate()
        if process.returncode:
            why = errors.strip() or f"status {process.returncode}"
            raise Inconclusive(f"ip {' '.join(words)}: {why}", "check that the interface still exists: ip link")
        answers.append(answer)
    return answers


def parse(text: str) -> tuple[Interface, ...]:
    """Return the interfaces in the output of `ip -json address`."""
    entries: list[dict[str, Any]] = [entry for entry in json.loads(text or "[]") if entry.get("ifname")]
    return tuple(
        Interface(
            name=entry["ifname"],
            mac=entry.get("address", "").lower(),
            # UP is the administrative state, NO-CARRIER the link's; NOARP interfaces (tunnels, dummies) have no ARP.
            up="UP" in entry.get("flags", ()) and "NO-CARRIER" not in entry.get("flags", ()),
            ethernet=entry.get("link_type") == "ether" and "NOARP" not in entry.get("flags", ()),
            addresses=tuple(
                ip_interface(f"{own['local']}/{own['prefixlen']}")
                for own in entry.get("addr_info", ())
                # A tentative address, or one that failed duplicate address detection, cannot be a source.
                if own.get("family") in ("inet", "inet6") and "local" in own
                if not (own.get("tentative") or own.get("dadfailed"))
            ),
            mtu=int(entry.get("mtu") or 1500),
        )
        for entry in entries
    )


def choose(interfaces: Sequence[Interface], targets: Sequence[Address], name: str = "") -> Interface:
    """Return the interface to send from: `name`, else the one whose subnet holds the targets.

    With `name`, targets may lie outside its subnet: a pool outside of it may still be answered there. Raises
    Inconclusive if no interface or several match, or if the targets are on different ones.
    """
    if name:
        return _named(interfaces, name)
    usable = [interface for interface in interfaces if interface.up and interface.ethernet]
    prefixes: dict[str, int] = {}
    for interface in usable:
        if all(interface.reaches(target) for target in targets):
            prefixes[interface.name] = max(
                own.network.prefixlen
                for own in interface.addresses
                if own.version == targets[0].version and targets[0] in own.network
            )
    best = [name for name, prefix in prefixes.items() if prefix == max(prefixes.values())]
    if len(best) == 1:
        return next(interface for interface in usable if interface.name == best[0])
    shown = str(targets[0]) if len(targets) == 1 else f"{targets[0]} … {targets[-1]}"
    if best:
        raise Inconclusive(f"{' and '.join(best)} are both on the segment of {shown}", "choose one with --interface")
    here = [
        f"{own.network} on {interface.name}"
        for interface in usable
        for own in interface.addresses
        if own.version == targets[0].version
    ]
    raise Inconclusive(
        f"this machine is not on the segment of {shown} (its segments: {', '.join(here) or 'none'})",
        "run this on a machine on that segment that is not a node, or name the interface with --interface",
    )


def _named(interfaces: Sequence[Interface], name: str) -> Interface:
    found = next((interface for interface in interfaces if interface.name == name), None)
    if found is None:
        known = ", ".join(interface.name for interface in interfaces if interface.ethernet)
        raise Inconclusive(f"no interface {printable(name)} on this machine", f"choose one of: {known}")
    if not found.ethernet:
        raise Inconclusive(f"{name} does not use ARP", "choose an Ethernet interface")
    if not found.up:
        raise Inconclusive(f"{name} is down", f"sudo ip link set {name} up; if it stays down, check its cable")
    return found
