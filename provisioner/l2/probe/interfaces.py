"""Find where this machine meets an address's segment: interface, MAC and source address.

A question asked from the wrong interface gets no answer, and that would look like a fault of the cluster; so what
is not clearly on a segment here ends as Inconclusive.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import Any

from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2.probe import scapy_light
from provisioner.l2.probe.capture import Address, Vantage


@dataclass(frozen=True)
class Interface:
    """A network interface of this machine. addresses: its own, each with its on-link subnet."""

    name: str
    mac: str
    up: bool
    ethernet: bool
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()

    def source_for(self, target: Address) -> Address | None:
        """Return the address to ask from: IPv4: the one in the target's subnet, else the first; IPv6: the link-local.

        None where the interface has no such address.
        """
        own = [one for one in self.addresses if one.version == target.version]
        if target.version == 6:
            return next((one.ip for one in own if one.ip.is_link_local), None)
        near = [one for one in own if target in one.network]
        near.sort(key=lambda one: one.network.prefixlen, reverse=True)
        return next((one.ip for one in [*near, *own]), None)

    def client_address(self, target: Address) -> Address | None:
        """Return the address to open a connection from: as `source_for`, but for IPv6 one that is routed.

        A link-local address reaches no further than the segment, so it is for link-local targets only.
        """
        if target.version == 4 or target.is_link_local:
            return self.source_for(target)
        own = [one for one in self.addresses if one.version == 6 and not one.ip.is_link_local]
        own.sort(key=lambda one: target in one.network, reverse=True)
        return own[0].ip if own else None

    def reaches(self, target: Address) -> bool:
        """Tell whether the target lies in one of the interface's subnets."""
        return any(own.version == target.version and target in own.network for own in self.addresses)


def read() -> tuple[Interface, ...]:
    """Return this machine's interfaces, as `ip -json address` tells them."""
    scapy_light.preload()  # whoever reads them is about to ask from one; this waits for a process anyway
    return parse(*_ip(("address", "show")))


def vantage(interface: Interface) -> Vantage:
    """Return where is asked from: this machine's MACs, addresses, neighbour cache and routers, as they are now."""
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
        own_addresses=frozenset(own.ip for one in here for own in one.addresses),
        neighbours=_neighbours(neighbours),
        gateways=tuple(dict.fromkeys(gateway for text in routes for gateway in _gateways(text))),
    )


def _neighbours(text: str) -> dict[Address, str]:
    entries: list[dict[str, Any]] = json.loads(text or "[]")
    return {ip_address(entry["dst"]): entry["lladdr"].lower() for entry in entries if "lladdr" in entry}


def _gateways(text: str) -> list[Address]:
    """Return the routers in the output of `ip -json route`, those of routes with several among them."""
    routes: list[dict[str, Any]] = json.loads(text or "[]")
    hops = [hop for route in routes for hop in (route, *route.get("nexthops", ()))]
    return [ip_address(hop["gateway"]) for hop in hops if "gateway" in hop]


def _ip(*queries: tuple[str, ...]) -> list[str]:
    """Return what `ip -json` says to each query; all of them at once, since each is a process of its own."""
    try:
        running = [
            subprocess.Popen(["ip", "-json", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for words in queries
        ]
    except FileNotFoundError as error:
        raise ProvisionerError("the ip command is missing here", "apt install iproute2") from error
    answers = []
    for words, process in zip(queries, running, strict=True):
        answer, errors = process.communicate()
        if process.returncode:
            why = errors.strip() or f"status {process.returncode}"
            raise Inconclusive(f"ip {' '.join(words)}: {why}", "is the interface still there?")
        answers.append(answer)
    return answers


def parse(text: str) -> tuple[Interface, ...]:
    """Return the interfaces in the output of `ip -json address`."""
    entries: list[dict[str, Any]] = [entry for entry in json.loads(text or "[]") if entry.get("ifname")]
    return tuple(
        Interface(
            name=entry["ifname"],
            mac=entry.get("address", "").lower(),
            # UP is the administrator's word, NO-CARRIER the cable's; NOARP ones (tunnels, dummies) have no ARP.
            up="UP" in entry.get("flags", ()) and "NO-CARRIER" not in entry.get("flags", ()),
            ethernet=entry.get("link_type") == "ether" and "NOARP" not in entry.get("flags", ()),
            addresses=tuple(
                ip_interface(f"{own['local']}/{own['prefixlen']}")
                for own in entry.get("addr_info", ())
                # An address that is still being tried, or that turned out to be another's, is nobody's to send from.
                if own.get("family") in ("inet", "inet6") and "local" in own
                if not (own.get("tentative") or own.get("dadfailed"))
            ),
        )
        for entry in entries
    )


def choose(interfaces: Sequence[Interface], targets: Sequence[Address], name: str = "") -> Interface:
    """Return the interface to ask from: the one called `name`, else the one whose subnet holds the targets.

    With `name` the targets need not lie in its subnet: a pool outside of it may still be answered there.
    Raises Inconclusive where there is none, where several would do, and where targets are not all on one.
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
        raise Inconclusive(f"{' and '.join(best)} are both on the segment of {shown}", "choose with --interface")
    here = [
        f"{own.network} on {interface.name}"
        for interface in usable
        for own in interface.addresses
        if own.version == targets[0].version
    ]
    raise Inconclusive(
        f"this machine is not on the segment of {shown} (its segments: {', '.join(here) or 'none'})",
        "run this on a machine that is and that is no node, or name the interface with --interface",
    )


def _named(interfaces: Sequence[Interface], name: str) -> Interface:
    found = next((interface for interface in interfaces if interface.name == name), None)
    if found is None:
        known = ", ".join(interface.name for interface in interfaces if interface.ethernet)
        raise Inconclusive(f"there is no interface {name} here", f"choose one of: {known}")
    if not found.ethernet:
        raise Inconclusive(f"{name} does not speak ARP", "choose an Ethernet interface")
    if not found.up:
        raise Inconclusive(f"{name} is down", f"sudo ip link set {name} up, and look at its cable")
    return found
