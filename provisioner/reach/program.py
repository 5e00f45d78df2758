"""The program that every host runs for a probe: it listens, connects to its peers, and prints what got through.

It needs nothing but Python 3.8 as Debian and Ubuntu have it. It ends when all it waits for has come, at the latest
after `seconds`; whatever it listens on ends with it. It answers only datagrams with the probe's token.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import selectors
import socket
import struct
import sys
import time
from typing import Any, Tuple  # noqa: UP035  # for Python 3.8

Port = Tuple[str, str]  # noqa: UP006  # a peer's name and "tcp/6443"
RETRY = 0.3  # seconds until a refused connection is tried again: the peer may not have started yet
SYN_WAIT = 2.5  # seconds: the kernel's first repetition of a SYN comes after one
PINGS, PING_EVERY, FULL_PINGS = 40, 0.02, 3
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE = 10, 23, 3  # linux/in.h, linux/in6.h: set DF, ignore known MTUs
_ECHO, _ECHO_REPLY, _ECHO6, _ECHO6_REPLY = 8, 0, 128, 129  # RFC 792, RFC 4443
_WAIT_FOR_PINGS = 2.0  # seconds after the last one was sent


class Probe:
    """One host's part of a probe; `config` is what probe.py sends."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.selector = selectors.DefaultSelector()
        self.token = config["token"].encode()
        self.family = socket.AF_INET6 if ":" in config["source"] else socket.AF_INET
        self.start = time.monotonic()
        self.deadline = self.start + config["seconds"]
        self.listening: list[str] = []
        self.taken: list[str] = []
        self.results: dict[Port, str] = {(peer["name"], key): "" for peer in config["peers"] for key in peer["ports"]}
        self.addresses = {peer["name"]: peer["address"] for peer in config["peers"]}
        self.attempts: dict[socket.socket, tuple[Port, float]] = {}  # and when each is given up
        self.due = {key: 0.0 for key in self.results}
        self.expected: set[tuple[str, str]] = set()  # ports of ours and addresses of peers
        self.active = self.start  # when a peer was last here

    def listen(self) -> None:
        """Listen on every port that is free; on the others a real program listens."""
        for key in self.config["listen"]:
            protocol, number = key.split("/")
            kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
            server = socket.socket(self.family, kind)
            server.setblocking(False)
            if protocol == "tcp":
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind((self.config["source"], int(number)))
                if protocol == "tcp":
                    server.listen(512)
            except OSError as error:
                server.close()
                if error.errno != errno.EADDRINUSE:
                    raise
                self.taken.append(key)
                continue
            self.listening.append(key)
            answer = self.accept if protocol == "tcp" else self.echo
            self.selector.register(server, selectors.EVENT_READ, (answer, key))
        self.expected = {(key, peer["address"]) for peer in self.config["peers"] for key in peer["from"]}
        self.expected = {each for each in self.expected if each[0] in self.listening}

    def accept(self, server: socket.socket, key: str) -> None:
        """Take a connection and close it: that it came is all there is to know."""
        with contextlib.suppress(OSError):
            connection, address = server.accept()
            connection.close()
            self.came(key, address[0])

    def echo(self, server: socket.socket, key: str) -> None:
        """Return a datagram of this probe to its sender."""
        with contextlib.suppress(OSError):
            data, address = server.recvfrom(2048)
            if data == self.token:
                server.sendto(data, address)
                self.came(key, address[0])

    def came(self, key: str, address: str) -> None:
        """Note that a peer got through; its answer may be lost, so that it tries again."""
        self.active = time.monotonic()
        self.expected.discard((key, address))

    def ask(self, now: float) -> None:
        """Start every attempt that is due, give up those that take too long."""
        for attempt, (name, until) in list(self.attempts.items()):
            if now >= until:
                self.forget(attempt)
                self.results[name] = self.results[name] or "silent"
                self.due[name] = now
        for name, due in self.due.items():
            if now >= due and self.results[name] != "open":
                self.begin(name, now)

    def begin(self, name: Port, now: float) -> None:
        """Connect to a port, or send a datagram to it."""
        protocol, number = name[1].split("/")
        attempt = socket.socket(self.family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        attempt.setblocking(False)
        self.due[name] = now + 3600
        try:
            attempt.bind((self.config["source"], 0))
            status = attempt.connect_ex((self.addresses[name[0]], int(number)))
            if status not in (0, errno.EINPROGRESS):
                raise OSError(status, os.strerror(status))
            if protocol == "udp":
                attempt.send(self.token)
        except OSError as error:
            attempt.close()
            self.failed(name, error.errno or 0, now)
            return
        event = selectors.EVENT_WRITE if protocol == "tcp" else selectors.EVENT_READ
        self.attempts[attempt] = (name, now + (SYN_WAIT if protocol == "tcp" else 2 * RETRY))
        self.selector.register(attempt, event, (self.answered, name))

    def answered(self, attempt: socket.socket, name: Port) -> None:
        """Note how an attempt ended."""
        now = time.monotonic()
        status = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status == 0 and name[1].startswith("udp"):
            try:
                if attempt.recv(2048) != self.token:
                    return
            except OSError as error:
                status = error.errno or errno.EIO
        self.forget(attempt)
        if status:
            self.failed(name, status, now)
        else:
            self.results[name] = "open"

    def failed(self, name: Port, status: int, now: float) -> None:
        """Note an error and when to try again."""
        self.results[name] = "refused" if status == errno.ECONNREFUSED else errno.errorcode.get(status, str(status))
        self.due[name] = now + RETRY

    def forget(self, attempt: socket.socket) -> None:
        """Close an attempt."""
        self.selector.unregister(attempt)
        self.attempts.pop(attempt)
        attempt.close()

    def run(self) -> dict[str, Any]:
        """Probe, and return what to print."""
        self.listen()
        echoes = Echoes(self.config, self.selector)
        while True:
            now = time.monotonic()
            self.ask(now)
            echoes.send(now)
            done = all(state == "open" for state in self.results.values()) and not self.expected and echoes.done(now)
            at_least = self.config["at_least"]
            if now >= self.deadline or (done and now >= max(self.start, self.active) + at_least):
                break
            for key, _ in self.selector.select(0.01):
                call, argument = key.data
                call(key.fileobj, argument)
        states = [[peer, port, state or "silent"] for (peer, port), state in self.results.items()]
        return {"listening": self.listening, "taken": self.taken, "ports": states, "pings": echoes.results()}


class Echoes:
    """ICMP echo requests to every peer, small ones to count losses, and some of the full size with DF."""

    def __init__(self, config: dict[str, Any], selector: selectors.DefaultSelector) -> None:
        self.targets = [dict(target, small=set(), full=False) for target in config["pings"]]
        self.six = ":" in config["source"]
        self.identity = int.from_bytes(os.urandom(2), "big")
        self.sent = 0
        self.next = self.last = time.monotonic()
        self.socket: socket.socket | None = None
        if not self.targets:
            return
        family = socket.AF_INET6 if self.six else socket.AF_INET
        try:
            self.socket = socket.socket(family, socket.SOCK_RAW, socket.getprotobyname("ipv6-icmp") if self.six else 1)
        except OSError:  # a container without CAP_NET_RAW
            return
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        if self.six:
            self.socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        selector.register(self.socket, selectors.EVENT_READ, (self.receive, None))

    def send(self, now: float) -> None:
        """Send the next request to each target when it is due."""
        if self.socket is None or now < self.next or self.sent >= PINGS + FULL_PINGS:
            return
        headers = 48 if self.six else 28  # of IP and ICMP
        for index, target in enumerate(self.targets):
            full = self.sent >= PINGS
            size = target["size"] - headers if full else 56
            body = struct.pack("!HH", index, self.sent) + bytes(max(0, size - 4))
            head = struct.pack("!BBHHH", _ECHO6 if self.six else _ECHO, 0, 0, self.identity, self.sent)
            if not self.six:
                head = struct.pack("!BBHHH", _ECHO, 0, checksum(head + body), self.identity, self.sent)
            with contextlib.suppress(OSError):  # as good as lost: no route, or larger than the NIC's MTU
                self.socket.sendto(head + body, (target["address"], 0))
        self.sent += 1
        self.last = now
        self.next = now + PING_EVERY

    def receive(self, link: socket.socket, _argument: object) -> None:
        """Note an answer."""
        with contextlib.suppress(OSError):
            data, address = link.recvfrom(65536)
            if not self.six:
                data = data[(data[0] & 15) * 4 :]
            if len(data) < 12 or data[0] != (_ECHO6_REPLY if self.six else _ECHO_REPLY):
                return
            identity, number, index, again = struct.unpack("!HHHH", data[4:12])
            if identity != self.identity or number != again or index >= len(self.targets):
                return
            target = self.targets[index]
            if address[0].partition("%")[0] == target["address"]:
                if number < PINGS:
                    target["small"].add(number)
                else:
                    target["full"] = True

    def done(self, now: float) -> bool:
        """Tell whether nothing more can come."""
        if self.socket is None:
            return True
        everything = all(len(target["small"]) == PINGS and target["full"] for target in self.targets)
        return self.sent >= PINGS + FULL_PINGS and (everything or now >= self.last + _WAIT_FOR_PINGS)

    def results(self) -> list[list[Any]]:
        """Return for each target: name, kind, size, requests sent, answers, and whether one of full size was answered.

        Nothing unless all were sent.
        """
        if self.socket is None or self.sent < PINGS + FULL_PINGS:
            return []
        return [
            [target["name"], target["kind"], target["size"], PINGS, len(target["small"]), target["full"]]
            for target in self.targets
        ]


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def main(text: str) -> None:
    """Run a probe and print its results as one line of JSON."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    json.dump(Probe(json.loads(text)).run(), sys.stdout)
