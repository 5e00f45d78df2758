"""Send gratuitous frames as MetalLB's speaker does; run inside a host's namespace.

Usage: python -m tests.integration.l2.announcer IP MAC [COUNT]. ARP: a request and a reply with a broadcast target MAC,
padded to 60 bytes; NDP: one unsolicited advertisement to all nodes. Every 1.1 s (MetalLB, internal/layer2).
"""

from __future__ import annotations

import socket
import sys
import time
from ipaddress import IPv4Address, IPv6Address, ip_address


def arp(ip: IPv4Address, mac: bytes, operation: int) -> bytes:
    """Return a gratuitous ARP frame."""
    head = b"\xff" * 6 + mac + b"\x08\x06" + bytes.fromhex("0001080006040000")[:6] + operation.to_bytes(2, "big")
    return (head + mac + ip.packed + b"\xff" * 6 + ip.packed).ljust(60, b"\0")


def advertisement(ip: IPv6Address, mac: bytes) -> bytes:
    """Return an unsolicited neighbor advertisement to all nodes, with the override flag."""
    all_nodes = IPv6Address("ff02::1")
    message = bytes([136, 0, 0, 0, 0x20, 0, 0, 0]) + ip.packed + bytes([2, 1]) + mac
    pseudo = ip.packed + all_nodes.packed + len(message).to_bytes(4, "big") + bytes([0, 0, 0, 58])
    total = sum(int.from_bytes((pseudo + message)[at : at + 2], "big") for at in range(0, len(pseudo + message), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    message = message[:2] + (~total & 0xFFFF).to_bytes(2, "big") + message[4:]
    head = bytes([0x60, 0, 0, 0]) + len(message).to_bytes(2, "big") + bytes([58, 255]) + ip.packed + all_nodes.packed
    return bytes.fromhex("333300000001") + mac + b"\x86\xdd" + head + message


def main() -> None:
    """Announce an address several times."""
    ip, mac = ip_address(sys.argv[1]), bytes.fromhex(sys.argv[2].replace(":", ""))
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth1", 0))
        for number in range(count):
            if number:
                time.sleep(1.1)
            frames = [arp(ip, mac, 1), arp(ip, mac, 2)] if isinstance(ip, IPv4Address) else [advertisement(ip, mac)]
            for frame in frames:
                raw.send(frame)


if __name__ == "__main__":
    main()
