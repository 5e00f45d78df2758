"""A stand-in for MetalLB's speaker, with the faults of a segment: answers ARP and NDP for addresses from a namespace.

Usage: python -m tests.integration.l2.speaker INTERFACE IP[,IP…] [OPTION=VALUE…]

every=N: answer each Nth request only. join=0: join no multicast group. unicast6=1: answer unicast solicitations.
garp=SECONDS: announce the addresses in that interval. ARP replies are padded to 60 bytes, as the speaker pads them.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
import time
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from provisioner.l2.probe.ndp import checksum, group
from tests.integration.l2.announcer import advertisement, arp

TO_OTHERS, OUTGOING = 3, 4  # packet types (linux/if_packet.h)


def arp_reply(request: bytes, mac: bytes) -> bytes:
    """Return the reply to an ARP request."""
    head = request[6:12] + mac + b"\x08\x06" + bytes.fromhex("000108000604") + b"\0\2"
    return (head + mac + request[38:42] + request[22:28] + request[28:32]).ljust(60, b"\0")


def ndp_reply(request: bytes, mac: bytes) -> bytes:
    """Return the solicited advertisement that answers a neighbor solicitation."""
    target, asker = request[62:78], request[22:38]
    message = struct.pack("!BBHI", 136, 0, 0, 0x40000000) + target + b"\2\1" + mac
    message = message[:2] + checksum(target + asker, message).to_bytes(2) + message[4:]
    head = struct.pack("!IHBB", 6 << 28, len(message), 58, 255)
    return request[6:12] + mac + b"\x86\xdd" + head + target + asker + message


def main() -> None:
    """Answer until killed."""
    interface, ips = sys.argv[1], [ip_address(text) for text in sys.argv[2].split(",")]
    options = dict(one.split("=", 1) for one in sys.argv[3:])
    mac = bytes.fromhex(Path(f"/sys/class/net/{interface}/address").read_text().strip().replace(":", ""))
    every, heard = int(options.get("every", 1)), 0
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        raw.bind((interface, 0))
        if options.get("join", "1") == "1":
            for ip in ips:
                if isinstance(ip, IPv6Address):
                    member = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
                    index = struct.pack("@I", socket.if_nametoindex(interface))
                    member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group(ip).packed + index)

        def announce() -> None:
            while True:
                for ip in ips:
                    frames = (
                        [advertisement(ip, mac)] if isinstance(ip, IPv6Address) else [arp(ip, mac, 1), arp(ip, mac, 2)]
                    )
                    for frame in frames:
                        raw.send(frame)
                time.sleep(float(options["garp"]))

        if "garp" in options:
            threading.Thread(target=announce, daemon=True).start()
        print("ready", flush=True)
        while True:
            frame, (_, _, kind, _, _) = raw.recvfrom(2048)
            if kind in (TO_OTHERS, OUTGOING):
                continue
            if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[28:32] != frame[38:42]:
                asked, reply = ip_address(frame[38:42]), arp_reply
            elif frame[12:14] == b"\x86\xdd" and frame[20] == 58 and len(frame) >= 78 and frame[54] == 135:
                if frame[38] != 0xFF and options.get("unicast6") != "1":
                    continue
                asked, reply = ip_address(frame[62:78]), ndp_reply
            else:
                continue
            if asked in ips:
                heard += 1
                if heard % every == 0:
                    raw.send(reply(frame, mac))


if __name__ == "__main__":
    main()
