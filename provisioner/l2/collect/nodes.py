"""Nodes: their state from the API, and their NICs, read over SSH."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from provisioner.errors import HostError
from provisioner.kube import Object
from provisioner.l2.collect.speakers import Components, speaker_state
from provisioner.l2.facts import Nic, Node
from provisioner.l2.facts_values import address, address_with_prefix, mac
from provisioner.ssh import Host, HostNic

if TYPE_CHECKING:
    from provisioner.site import Site


# The host ends of pods' veth pairs: one for each pod, without an address that matters here.
_POD_NIC = re.compile(r"veth|cali|lxc|tap[0-9a-f]{8}")
_NO_MAC = "00:00:00:00:00:00"


def inventory(hosts: Mapping[str, Host] | None, note: Callable[[str], None]) -> dict[str, tuple[Nic, ...] | None]:
    """Read all hosts' NICs concurrently; None for a host that cannot be read. hosts: None without SSH."""
    if hosts is None:
        note("the nodes' interfaces are unknown without SSH; their MACs are learned from their own answers")
        return {}

    def read(host: Host) -> tuple[Nic, ...] | None:
        try:
            return tuple(map(_nic, filter(_is_relevant, host.facts.nics)))
        except HostError as error:
            note(f"the NICs of {host.name} are unknown: {error}")
            return None

    with ThreadPoolExecutor(max(1, min(16, len(hosts)))) as pool:
        return dict(zip(hosts, pool.map(read, hosts.values()), strict=True))


def nodes(
    found: Mapping[str, Object],
    nics: Mapping[str, tuple[Nic, ...] | None],
    hosts: Mapping[str, Host] | None,
    components: Components,
    note: Callable[[str], None],
) -> tuple[Node, ...]:
    """Return the API's nodes, each with the NICs of its host."""
    made = []
    for name, item in sorted(found.items()):
        status, ips = item.get("status") or {}, _ips(item, "InternalIP")
        host = host_of(name, ips, hosts or {})
        if host is None and hosts is not None:
            note(f"node {name} is not in hosts.toml, so its NICs are unknown")
        made.append(
            Node(
                name=name,
                internal_ips=ips,
                ready=_condition(status, "Ready"),
                # MetalLB treats a missing condition as available (internal/k8s/nodes).
                network_unavailable=_condition(status, "NetworkUnavailable") or False,
                labels=item["metadata"].get("labels") or {},
                speaker=speaker_state(components, name),
                nics=None if host is None else nics.get(host),
                unschedulable=bool(item["spec"].get("unschedulable")),
                external_ips=_ips(item, "ExternalIP"),
            )
        )
    return tuple(made)


def without_api(
    nics: Mapping[str, tuple[Nic, ...] | None], site: Site | None, components: Components
) -> tuple[Node, ...]:
    """Return the nodes as hosts.toml names them, for when the API does not answer; their state is unknown."""
    addresses = {host.name: host.address for host in site.hosts} if site else {}
    return tuple(
        Node(
            name=name,
            internal_ips=(addresses[name],) if name in addresses else (),
            speaker=speaker_state(components, name),
            nics=own,
        )
        for name, own in sorted(nics.items())
    )


def _ips(item: Object, kind: str) -> tuple[str, ...]:
    given = (item.get("status") or {}).get("addresses") or ()
    return tuple(dict.fromkeys(address(each["address"]) for each in given if each["type"] == kind))


def host_of(name: str, ips: Iterable[str], hosts: Mapping[str, Host]) -> str | None:
    """Return the name of a node's host: the one of that name, else the one with one of its addresses."""
    if name in hosts:
        return name
    return next((own for own, host in hosts.items() if host.spec.address in ips), None)


def _condition(status: Mapping[str, object], name: str) -> bool | None:
    conditions: Iterable[Mapping[str, str]] = status.get("conditions") or ()  # type: ignore[assignment]
    return next((each["status"] == "True" for each in conditions if each["type"] == name), None)


def _is_relevant(nic: HostNic) -> bool:
    """Return whether a NIC belongs in the inventory: a link, a bridge, or one with an address to announce."""
    others = [own for own in nic.addresses if not own.startswith(("127.", "::1/", "fe80:"))]
    return bool(others) or (nic.mac not in ("", _NO_MAC) and not _POD_NIC.match(nic.name))


def _nic(nic: HostNic) -> Nic:
    try:
        ethernet = "" if nic.mac == _NO_MAC else mac(nic.mac)
    except ValueError:  # a tunnel or InfiniBand, whose link-layer address is of another kind
        ethernet = ""
    return Nic(
        name=nic.name,
        mac=ethernet,
        addresses=tuple(map(address_with_prefix, nic.addresses)),
        up=nic.up,
        master=nic.master or None,
        proxy_arp=nic.proxy_arp,
        dad_failed=tuple(map(address_with_prefix, nic.dad_failed)),
    )
