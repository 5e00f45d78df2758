"""What a MAC alone tells: a virtual router, a hypervisor and what guards its ports, a load balancer, the vendor."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from provisioner.l2.probe import scapy_light


@dataclass(frozen=True)
class Product:
    """A hypervisor by its machines' MACs. guard: its setting that drops addresses which it did not assign."""

    name: str
    guard: str


_HYPERVISORS = {
    "bc:24:11": Product("Proxmox", "Proxmox's firewall option ipfilter, or the IP set ipfilter-net* of the NIC"),
    "00:50:56": Product("VMware", "VMware's NSX SpoofGuard, or Forged transmits set to Reject"),
    "00:0c:29": Product("VMware", "VMware's NSX SpoofGuard, or Forged transmits set to Reject"),
    "00:05:69": Product("VMware", "VMware's NSX SpoofGuard, or Forged transmits set to Reject"),
    "00:15:5d": Product("Hyper-V", "Hyper-V's port ACLs, or MAC address spoofing turned off"),
    "fa:16:3e": Product("OpenStack", "OpenStack's port security, whose allowed address pairs lack the address"),
    "00:16:3e": Product("Xen", "Xen's VIF locking, whose ipv4-allowed lacks the address"),
    "52:54:00": Product("QEMU or KVM", "libvirt's network filter clean-traffic"),
    "08:00:27": Product("VirtualBox", "the host's firewall; VirtualBox has no such guard"),
    "00:1c:42": Product("Parallels", "the host's firewall"),
    "50:6b:8d": Product("Nutanix AHV", "Nutanix Flow's IP spoofing protection"),
    "42:01:0a": Product("Google Cloud", "Google Cloud's anti-spoofing: set canIpForward, or use an alias IP range"),
}


def _last(mac: str) -> int:
    return int(mac[-2:], 16)


def _last_three(mac: str) -> int:
    return int(mac.replace(":", "")[-3:], 16)


# RFC 9568, 7.3; CARP uses VRRP's. Cisco: HSRP's version 1 and 2, and GLBP's. Microsoft: NLB's unicast and multicast.
_VIRTUAL: tuple[tuple[str, Callable[[str], str]], ...] = (
    (r"00:00:5e:00:01:..", lambda mac: f"VRRP or CARP, virtual router {_last(mac)}"),
    (r"00:00:5e:00:02:..", lambda mac: f"VRRP for IPv6, virtual router {_last(mac)}"),
    (r"00:00:0c:07:ac:..", lambda mac: f"HSRP, group {_last(mac)}"),
    (r"00:00:0c:9f:f.:..", lambda mac: f"HSRP version 2, group {_last_three(mac)}"),
    (r"00:05:73:a0:0.:..", lambda mac: f"HSRP for IPv6, group {_last_three(mac)}"),
    (r"00:07:b4:00:..:..", lambda mac: f"GLBP, group {int(mac[12:14], 16)}"),
    (r"0[23]:bf:..:..:..:..", lambda _: "Microsoft Network Load Balancing"),
    (r"01:00:5e:7f:..:..", lambda _: "Microsoft Network Load Balancing, with IGMP"),
    (r"02:42:..:..:..:..", lambda _: "Docker container"),
)


def virtual_router(mac: str) -> str:
    """Return the protocol and group of a virtual router's MAC, "" for any other.

    >>> virtual_router("00:00:5e:00:01:33")
    'VRRP or CARP, virtual router 51'
    """
    found = described(mac)
    return found if found.startswith(("VRRP", "HSRP", "GLBP")) else ""


def described(mac: str) -> str:
    """Return whose kind of MAC it is if its value is assigned to a protocol or a product's virtual NICs, "" if not."""
    return next((name(mac) for pattern, name in _VIRTUAL if re.fullmatch(pattern, mac.lower())), "")


def hypervisor(mac: str) -> Product | None:
    """Return the hypervisor whose machines have such MACs, None for any other."""
    return _HYPERVISORS.get(mac.lower()[:8])


def vendor(mac: str) -> str:
    """Return the vendor of a NIC by its MAC, "" if unknown or if software made the MAC up."""
    if special := described(mac):
        return special
    if product := hypervisor(mac):
        return f"{product.name} virtual machine"
    if int(mac[:2], 16) & 0x02:
        return ""  # locally administered (IEEE 802): no vendor behind it
    name = scapy_light.manufacturer(mac)
    return "" if name.lower() == mac else name
