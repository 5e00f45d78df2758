"""The vip's keepalived between namespaces: the real program with the configuration that the step writes.

A small TLS server stands where each API server would be; it is ready while its file says so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from provisioner.site import Site
from provisioner.steps import vip
from provisioner.steps.pool_conflicts import question
from provisioner.steps.vip_conflicts import Advert, adverts, listener
from tests import hosts_toml
from tests.integration.l2.conftest import Segment, mac
from tests.integration.l2.watching import wait

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        any(shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None for name in ("keepalived", "openssl")),
        reason="keepalived or openssl is not installed: run ./setup.sh",
    ),
]
NAMES = ("a", "b", "c")
API_SERVER = """
import http.server, os, ssl, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = os.path.exists(sys.argv[1])
        self.send_response(200 if ready else 500)
        self.end_headers()
        if ready:
            with open(sys.argv[1], "a") as asked:
                asked.write(".")
    def log_message(self, *words):
        pass

class Server(http.server.ThreadingHTTPServer):
    import socket
    address_family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET

server = Server((sys.argv[2], 6443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@dataclass
class Planes:
    """Control planes a, b and c of a site, each a namespace with keepalived and something like an API server."""

    segment: Segment
    site: Site
    folder: Path
    stack: ExitStack
    keepalived: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Run a program on a host until the test ends."""
        with open(self.folder / "log", "ab") as log:
            words = ["ip", "netns", "exec", f"{self.segment.prefix}{name}", *command]
            program = subprocess.Popen(words, stdout=log, stderr=log)
        self.stack.callback(program.wait)
        self.stack.callback(program.kill)
        return program

    def serve(self, name: str) -> None:
        """Start what stands for the API server."""
        words = (self.ready_file(name), self.site.host(name).address, self.folder / "pem")
        self.spawn(name, sys.executable, "-c", API_SERVER, *map(str, words))

    def start(self, name: str) -> None:
        """Start keepalived with the step's configuration; as on a host, it removes what a killed one left."""
        place = self.folder / name
        text = vip.config(self.site, self.site.host(name), "eth1").replace("interval 2", "interval 1")  # no long test
        place.with_suffix(".conf").write_text(text)
        files = ["-f", f"{place}.conf", "-p", f"{place}.pid", "-r", f"{place}.vrrp", "-c", f"{place}.check"]
        program = self.spawn(name, "keepalived", "-n", "-l", *files)
        self.stack.callback(program.terminate)
        self.keepalived[name] = program

    def ready_file(self, name: str) -> Path:
        """Return the file that makes an API server ready by existing; it gets a byte for each time it said so."""
        return self.folder / f"{name}.ready"

    def holders(self) -> list[str]:
        """Return the hosts that have the address."""
        address = self.site.cluster.vip
        return [
            name
            for name in self.keepalived
            if address in self.segment.run(name, "ip", "-o", "address", "show", "to", address).stdout
        ]

    def known_ready(self, name: str) -> None:
        """Wait until keepalived has seen several times more that a host's API server is ready."""
        wanted = len(self.ready_file(name).read_text()) + 3
        wait(lambda: len(self.ready_file(name).read_text()) >= wanted, 60)

    def settled(self, holder: str) -> None:
        """Wait until exactly this host has the address."""
        wait(lambda: self.holders() == [holder], 60)


def planes_of(segment: Segment, folder: Path, stack: ExitStack, network: str, cluster: str, length: int) -> Planes:
    """Make the hosts, with an API server on each that is not ready."""
    addresses = {name: f"{network}{number}" for number, name in enumerate(NAMES, 10)}
    hosts = "".join(hosts_toml.host(name, address, "control-plane") for name, address in addresses.items())
    site = hosts_toml.load(folder, f"[cluster]\n{cluster}\n{hosts}")
    key, certificate = folder / "key", folder / "certificate"
    openssl = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=api"
    subprocess.run([*openssl.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    (folder / "pem").write_text(key.read_text() + certificate.read_text())
    made = Planes(segment, site, folder, stack)
    for number, (name, address) in enumerate(addresses.items(), 10):
        segment.host(name, number)
        nodad = ["nodad"] if ":" in address else []
        segment.run(name, "ip", "address", "add", f"{address}/{length}", "dev", "eth1", *nodad)
        segment.run(name, "ip", "link", "set", "lo", "up")
        made.serve(name)
    return made


@pytest.fixture
def planes(segment: Segment, tmp_path: Path) -> Iterator[Planes]:
    with ExitStack() as stack:
        yield planes_of(segment, tmp_path, stack, "192.0.2.", 'vip = "192.0.2.9"', 24)


def test_the_address_is_up_before_any_api_server_is_and_then_follows_the_ready_ones(planes: Planes) -> None:
    planes.start("a")
    planes.settled("a")  # `kubeadm init` may need it, and no API server is ready
    planes.ready_file("a").touch()
    planes.known_ready("a")
    planes.start("b")
    planes.ready_file("b").touch()
    planes.known_ready("b")
    assert planes.holders() == ["a"]
    planes.ready_file("a").unlink()
    planes.settled("b")
    planes.ready_file("a").touch()
    planes.known_ready("a")
    assert planes.holders() == ["b"], "one that becomes ready again takes nothing"


def test_ipv6(segment: Segment, tmp_path: Path) -> None:
    cluster = 'vip = "2001:db8::9"\npod_cidr = "fd01::/56"\nservice_cidr = "fd02::/112"'
    with ExitStack() as stack:
        planes = planes_of(segment, tmp_path, stack, "2001:db8::", cluster, 64)
        planes.ready_file("b").touch()
        planes.start("a")
        planes.settled("a")
        planes.start("b")
        planes.settled("b")
        shown = segment.run("b", "ip", "-o", "address", "show", "to", "2001:db8::9").stdout
        assert "2001:db8::9/128" in shown
        assert "deprecated" in shown, "it must not be the source of the node's own connections"


def test_a_strangers_router_id_is_heard(segment: Segment, tmp_path: Path) -> None:
    """A router with keepalived's usual settings, in IPv4 and IPv6; it says so once a second, to a multicast group."""
    segment.host("host", 20, "192.0.2.20/24", "2001:db8::20/64")
    segment.host("router", 30, "192.0.2.30/24", "2001:db8::30/64")
    instance = "vrrp_instance {name} {{ interface eth1\n virtual_router_id {group}\n virtual_ipaddress {{ {ip} }} }}\n"
    text = instance.format(name="v4", group=9, ip="192.0.2.77/32")
    text += instance.format(name="v6", group=51, ip="fe80::77/64 dev eth1\n 2001:db8::77/128")
    place = tmp_path / "router"
    place.with_suffix(".conf").write_text(text)
    files = ["-f", f"{place}.conf", "-p", f"{place}.pid", "-r", f"{place}.vrrp", "-c", f"{place}.check"]
    command = ["ip", "netns", "exec", f"{segment.prefix}router", "keepalived", "-n", "-l", *files]
    with open(tmp_path / "log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as program:
        try:
            wait(lambda: "192.0.2.77" in segment.run("router", "ip", "-o", "address").stdout, 60)
            wait(lambda: "2001:db8::77" in segment.run("router", "ip", "-o", "address").stdout, 60)
            answer = segment.run("host", "sh", "-c", f"{listener('eth1')} & {question('eth1', ['192.0.2.9'])}; wait")
        finally:
            program.terminate()
    heard = adverts(answer.stdout)
    assert Advert(mac(30), "192.0.2.30", 9) in heard, answer
    assert [one.group for one in heard if one.source.startswith("fe80")] == [51], answer
    assert "vrrp listened" in answer.stdout
