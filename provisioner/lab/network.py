"""The lab's network: two network namespaces and a bridge, without an uplink.

`NAME` has the bridge, the VMs' ports and the mirror; `NAME-op` is the operator's machine on the same segment. No frame
on the segment can leave this machine.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from provisioner.errors import ProvisionerError
from provisioner.lab.spec import MIRROR, OPERATOR, PREFIX, PREFIX6, SEGMENT6, LabSpec

BRIDGE = "br0"
_UPLINK_OF_OPERATOR = "op"
_CLONE_NEWNET = 0x40000000
# linux/if_tun.h; with VNET_HDR the kernel leaves checksums and segmentation to the guest.
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000

T = TypeVar("T")


def ensure(spec: LabSpec) -> None:
    """Create the namespaces, the bridge and the operator's link, unless they exist."""
    for namespace in (spec.namespace, spec.operator):
        if not exists(namespace):
            ip("netns", "add", namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
    links = _links(spec.namespace)
    if BRIDGE not in links:
        ip(
            "-n",
            spec.namespace,
            "link",
            "add",
            BRIDGE,
            "type",
            "bridge",
            "forward_delay",
            "0",
            "stp_state",
            "0",
        )
    if _UPLINK_OF_OPERATOR not in links:
        ip("-n", spec.namespace, "link", "add", _UPLINK_OF_OPERATOR, "type", "veth",
            "peer", "name", "eth1", "netns", spec.operator)  # fmt: skip
    ip("-n", spec.namespace, "link", "set", _UPLINK_OF_OPERATOR, "master", BRIDGE, "up")
    ip("-n", spec.namespace, "link", "set", BRIDGE, "up")
    ip("-n", spec.namespace, "address", "replace", f"{MIRROR}/{PREFIX}", "dev", BRIDGE)
    ip("-n", spec.operator, "link", "set", "eth1", "up")
    ip("-n", spec.operator, "address", "replace", f"{OPERATOR}/{PREFIX}", "dev", "eth1")
    if spec.has("dual-stack"):
        for namespace, device, number in ((spec.namespace, BRIDGE, 2), (spec.operator, "eth1", 1)):
            # nodad: usable at once; nobody else can have it.
            ip("-n", namespace, "address", "replace", f"{SEGMENT6}:{number}/{PREFIX6}", "dev", device, "nodad")


def add_address(spec: LabSpec, address: str) -> None:
    """Give the bridge, on which the lab's own services are, another address of the segment."""
    ip("-n", spec.namespace, "address", "replace", f"{address}/{PREFIX}", "dev", BRIDGE)


def listens(namespace: str, address: str, port: int) -> bool:
    """Return whether a TCP connection to the port can be made from within the namespace."""

    def connect() -> None:
        socket.create_connection((address, port), timeout=5).close()

    try:
        within(namespace, connect)
    except OSError:
        return False
    return True


def remove(spec: LabSpec) -> None:
    """Delete both namespaces, if they exist, and everything in them."""
    for namespace in (spec.operator, spec.namespace):
        if exists(namespace):
            ip("netns", "delete", namespace)


def exists(namespace: str) -> bool:
    """Return whether a network namespace exists."""
    return Path("/run/netns", namespace).exists()


def processes(namespace: str) -> tuple[int, ...]:
    """List the PIDs in a network namespace."""
    if not exists(namespace):
        return ()
    listing = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    return tuple(int(word) for word in listing.stdout.split())


def inside(namespace: str, argv: Sequence[str]) -> list[str]:
    """Return `argv` as a command that runs in a network namespace."""
    return ["ip", "netns", "exec", namespace, *argv]


def open_tap(spec: LabSpec, tap: str) -> int:
    """Add a tap device to the lab's bridge and return its file descriptor; closing that removes it."""
    fd = within(spec.namespace, lambda: _tap(tap))
    try:
        ip("-n", spec.namespace, "link", "set", tap, "master", BRIDGE, "up")
    except ProvisionerError:
        os.close(fd)
        raise
    return fd


def unplug(namespace: str, ports: Mapping[str, tuple[str, str]]) -> None:
    """Delete a node's ports on the bridge, by NIC, if they exist, and with them its NICs.

    A namespace would take them with it, but not at once: the kernel resends what sockets of killed programs have sent
    for nearly two minutes, and meanwhile answers for the node's addresses and refuses connections to them.
    """
    for port, _ in ports.values():
        subprocess.run(["ip", "-n", namespace, "link", "delete", port], capture_output=True, check=False)


def within(namespace: str, call: Callable[[], T]) -> T:
    """Call a function in a thread that has entered `namespace`; sockets that it opens stay there."""
    results: list[T] = []
    failures: list[Exception] = []

    def enter() -> None:
        try:
            fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(fd, _CLONE_NEWNET) != 0:
                    code = ctypes.get_errno()
                    raise OSError(code, f"setns {namespace}: {os.strerror(code)}")
            finally:
                os.close(fd)
            results.append(call())
        except Exception as error:  # raised in the caller's thread below
            failures.append(error)

    thread = threading.Thread(target=enter, name=f"within {namespace}")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _tap(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(fd, _TUNSETIFF, request)
    except OSError:
        os.close(fd)
        raise
    return fd


def _links(namespace: str) -> frozenset[str]:
    return frozenset(link["ifname"] for link in json.loads(ip("-n", namespace, "-json", "link", "show")))


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProvisionerError(
            f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}",
            "start over: provisioner lab destroy, then provisioner lab up",
        )
    return done.stdout
