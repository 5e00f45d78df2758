"""Nodes: what the API says of them, and their network cards, read over SSH."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from provisioner.errors import HostError
from provisioner.kube import Object
from provisioner.l2.collect.speakers import Components, speaker_state
from provisioner.l2.facts import Nic, Node
from provisioner.l2.facts_values import address, address_with_prefix, mac
from provisioner.site import Site
from provisioner.ssh import Host, HostNic

# The near ends of pods' cables: there is one a pod, and none carries an address that is anybody else's concern.
_POD_CABLE = re.compile(r"veth|cali|lxc|tap[0-9a-f]{8}")
_NO_MAC = "00:00:00:00:00:00"


def inventory(hosts: Mapping[str, Host], note: Callable[[str], None]) -> dict[str, tuple[Nic, ...] | None]:
    """Read every host's network cards at once; None for a host that cannot be asked."""

    def look(host: Host) -> tuple[Nic, ...] | None:
        try:
            return tuple(map(_nic, filter(_matters, host.facts.nics)))
        except HostError as error:
            note(f"the network cards of {host.name} are unknown: {error}")
            return None

    with ThreadPoolExecutor(max(1, min(16, len(hosts)))) as pool:
        return dict(zip(hosts, pool.map(look, hosts.values()), strict=True))


def nodes(
    found: Mapping[str, Object],
    cards: Mapping[str, tuple[Nic, ...] | None],
    hosts: Mapping[str, Host],
    programs: Components,
    note: Callable[[str], None],
) -> tuple[Node, ...]:
    """Return the API's nodes, each with the network cards of its host."""
    made = []
    for name, item in sorted(found.items()):
        status, ips = item.get("status") or {}, _internal_ips(item)
        host = host_of(name, ips, hosts)
        if host is None:
            note(f"node {name} is not in hosts.toml, so its network cards are unknown")
        made.append(
            Node(
                name=name,
                internal_ips=ips,
                ready=_condition(status, "Ready"),
                # MetalLB reads a condition that is not there as available (internal/k8s/nodes).
                network_unavailable=_condition(status, "NetworkUnavailable") or False,
                labels=item["metadata"].get("labels") or {},
                speaker=speaker_state(programs, name),
                nics=None if host is None else cards.get(host),
                unschedulable=bool(item["spec"].get("unschedulable")),
            )
        )
    return tuple(made)


def without_api(
    cards: Mapping[str, tuple[Nic, ...] | None], site: Site | None, programs: Components
) -> tuple[Node, ...]:
    """Return the nodes as hosts.toml names them, where the API does not tell; of their state nothing is known."""
    addresses = {host.name: host.address for host in site.hosts} if site else {}
    return tuple(
        Node(
            name=name,
            internal_ips=(addresses[name],) if name in addresses else (),
            speaker=speaker_state(programs, name),
            nics=nics,
        )
        for name, nics in sorted(cards.items())
    )


def _internal_ips(item: Object) -> tuple[str, ...]:
    given = (item.get("status") or {}).get("addresses") or ()
    return tuple(dict.fromkeys(address(each["address"]) for each in given if each["type"] == "InternalIP"))


def host_of(name: str, ips: Iterable[str], hosts: Mapping[str, Host]) -> str | None:
    """Return the host that a node is: of its name, else of one of its addresses."""
    if name in hosts:
        return name
    return next((own for own, host in hosts.items() if host.spec.address in ips), None)


def _condition(status: Mapping[str, object], name: str) -> bool | None:
    conditions: Iterable[Mapping[str, str]] = status.get("conditions") or ()  # type: ignore[assignment]
    return next((each["status"] == "True" for each in conditions if each["type"] == name), None)


def _matters(nic: HostNic) -> bool:
    """Tell whether a card belongs into the inventory: a wire, a bridge, or one that carries an address for others."""
    others = [own for own in nic.addresses if not own.startswith(("127.", "::1/", "fe80:"))]
    return bool(others) or (nic.mac not in ("", _NO_MAC) and not _POD_CABLE.match(nic.name))


def _nic(nic: HostNic) -> Nic:
    try:
        ethernet = "" if nic.mac == _NO_MAC else mac(nic.mac)
    except ValueError:  # a tunnel's end or InfiniBand: the kernel shows another kind of address there
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
