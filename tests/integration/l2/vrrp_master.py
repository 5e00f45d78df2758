"""A stand-in for keepalived: advertises virtual router 51 (VRRPv2, RFC 3768) each second.

Arguments of the program: interface, source address, virtual address, priority.
"""

from __future__ import annotations

PROGRAM = """
import socket, struct, sys, time
name, source, vip, priority = sys.argv[1:]
mac = bytes.fromhex(open(f"/sys/class/net/{name}/address").read().strip().replace(":", ""))
body = struct.pack("!BBBBBBH4s8s", 0x21, 51, int(priority), 1, 0, 1, 0, socket.inet_aton(vip), bytes(8))
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0xC0, 20 + len(body), 1, 0, 255, 112, 0,
                   socket.inet_aton(source), socket.inet_aton("224.0.0.18"))
total = sum(struct.unpack("!10H", head))  # a bridge drops IP headers without a checksum
total = (total & 0xFFFF) + (total >> 16)
head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((name, 0))
while True:
    out.send(bytes.fromhex("01005e000012") + mac + b"\\x08\\x00" + head + body)
    time.sleep(1)
"""
