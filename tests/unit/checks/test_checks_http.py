"""The checks that ask over HTTP: real requests to servers on loopback addresses that stand for nodes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from provisioner.checks import Context, loadbalancer, nodeport, web
from provisioner.l2.frames import Kind
from provisioner.l2.owners import Known
from provisioner.l2.wire import Answer, Vantage, Wire
from provisioner.objects import Object

from .memory import Memory, context, findings, pod, service

NODES = {"master": "127.0.0.10", "w1": "127.0.0.11", "w2": "127.0.0.12"}
Respond = Callable[[str, str], tuple[int, str]]


@contextmanager
def serving(address: str, respond: Respond, port: int = 0) -> Iterator[int]:
    """Serve `respond(path, host)` on an address, give the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = respond(self.path, self.headers["Host"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def on_loopback(folder: Path, cluster: Memory, scale: float = 0.02) -> Context:
    """Return a context whose hosts have loopback addresses. scale: of timeouts; small where one must run out."""
    where = context(folder, cluster)
    hosts = tuple(host.model_copy(update={"address": NODES[host.name]}) for host in where.site.hosts)
    settings = where.site.cluster.model_copy(update={"timeout_scale": scale})
    return replace(where, site=where.site.model_copy(update={"hosts": hosts, "cluster": settings}))


@contextmanager
def node_port(respond: dict[str, Respond]) -> Iterator[int]:
    """Serve on the same port of some nodes' addresses."""
    (first, own), *others = respond.items()
    with serving(NODES[first], own) as port:
        if not others:
            yield port
            return
        with serving(NODES[others[0][0]], others[0][1], port):
            if len(others) == 1:
                yield port
                return
            with serving(NODES[others[1][0]], others[1][1], port):
                yield port


def taking_turns(*names: str) -> Respond:
    turn = itertools.cycle(names)
    return lambda path, host: (200, next(turn)) if path == "/hostname" else (404, "")


def np_service(port: int) -> Object:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": port}]
    return service("np-pods", kind="NodePort", ports=ports)


PODS = [pod("np-a", "w1", app="np-pods"), pod("np-b", "w2", app="np-pods"), pod("other", "w2", app="other")]


def test_a_nodeport_on_every_node(tmp_path: Path) -> None:
    respond = taking_turns("np-a", "np-b")
    with node_port(dict.fromkeys(NODES, respond)) as port:
        found = findings(nodeport.CHECK, on_loopback(tmp_path, Memory(np_service(port), *PODS), 1.0))
    assert [one.subject for one in found.pop("NODEPORT_ANSWERS")] == [f"{own}:{port}" for own in NODES.values()]
    (one,) = found.pop("NODEPORT_PODS")
    assert one.detail == "leads to np-a and np-b (23 requests)"
    assert not found


def test_a_node_that_does_not_answer_and_a_pod_that_is_never_reached(tmp_path: Path) -> None:
    proxy = pod("kube-proxy-2", "w2", namespace="kube-system")
    proxy["metadata"]["labels"] = {"k8s-app": "kube-proxy"}
    only = taking_turns("np-a")
    with node_port({"master": only, "w1": lambda path, host: (503, "busy")}) as port:
        found = findings(nodeport.CHECK, on_loopback(tmp_path, Memory(np_service(port), proxy, *PODS)))
    assert [one.detail for one in found["NODEPORT_ANSWERS"]] == ["(master) answers as np-a"]
    broken, silent = found["NODEPORT_SILENT"]
    assert broken.detail == "(w1) does not serve course/np-pods: 503"
    assert broken.evidence == ("no kube-proxy pod runs on w1",)
    assert silent.detail == "(w2) does not serve course/np-pods: connection refused"
    assert silent.evidence == ("kube-proxy: log of kube-system/kube-proxy-2  8 False",)
    (one,) = found["NODEPORT_POD_UNSEEN"]
    assert one.detail.startswith("never led to np-b in ")


def test_a_nodeport_without_service_or_pods(tmp_path: Path) -> None:
    assert not findings(nodeport.CHECK, on_loopback(tmp_path, Memory(service("web"))))["NODEPORT_NONE"][0].ok
    sick = pod("np-a", "w1", app="np-pods", ready=False)
    (one,) = findings(nodeport.CHECK, on_loopback(tmp_path, Memory(np_service(1), sick)))["NODEPORT_NO_PODS"]
    assert one.detail == "has no ready pod behind it; np-a: running but not ready"
    assert one.evidence


W1, W2, STRANGER, TWICE = (f"02:00:00:00:00:{last:02x}" for last in (0x11, 0x12, 0x99, 0x33))
KNOWN = Known({W1: (("w1", "eth1"),), W2: (("w2", "eth1"),), TWICE: (("w1", "eth0"), ("w2", "eth0"))})


@pytest.mark.parametrize(
    ("macs", "own", "code", "words"),
    [
        ([W1], False, "L2_OWNED", f"is answered by {W1} (w1 eth1) alone"),
        ([W1, W1], False, "L2_OWNED", "alone"),
        ([], False, "L2_SILENT", "is answered by nobody on the segment (asked from eth1)"),
        ([W1, W2], False, "L2_DUPLICATE", f"is answered by 2 owners: {W1} (w1 eth1) and {W2} (w2 eth1)"),
        ([W1, STRANGER], False, "L2_DUPLICATE", f"{STRANGER} (no node's)"),
        ([STRANGER], False, "L2_STRANGER", f"is answered by {STRANGER} (no node's)"),
        ([TWICE], False, "L2_AMBIGUOUS", "which node it is cannot be told"),
        ([], True, "L2_STRANGER", "is configured on this very machine"),
    ],
)
def test_what_a_sweep_says_of_an_external_ip(macs: list[str], own: bool, code: str, words: str) -> None:
    ip = IPv4Address("192.0.2.200")
    heard = tuple(Answer(ip, mac, Kind.ZERO, 1.0, 0.1, 60) for mac in macs)
    vantage = Vantage("eth1", "02:00:00:00:00:01", own_addresses=frozenset([ip] if own else []))
    sweep = Wire(vantage, (ip,), heard)
    one = loadbalancer.judge(loadbalancer.External(service("lb-one"), "192.0.2.200"), sweep, KNOWN)
    assert (one.code, one.ok) == (code, code == "L2_OWNED")
    assert one.subject == "192.0.2.200 (course/lb-one)"
    assert words in one.detail
    assert bool(one.remedy) is not one.ok


def test_balancers_of_others_are_left_alone(tmp_path: Path) -> None:
    foreign = service("cloud", kind="LoadBalancer", given=["198.51.100.1"], loadBalancerClass="example.com/cloud")
    found = findings(loadbalancer.CHECK, context(tmp_path, Memory(foreign)))
    assert set(found) == {"LB_NONE"}


def test_a_balancer_without_an_address(tmp_path: Path) -> None:
    found = findings(loadbalancer.CHECK, context(tmp_path, Memory(service("lb-one", kind="LoadBalancer"))))
    (one,) = found.pop("LB_NO_ADDRESS")
    assert one.evidence == ("Warning Something about course/lb-one",)
    assert not found


def test_off_the_segment_nothing_is_concluded(tmp_path: Path) -> None:
    """203.0.113.0/24 (RFC 5737) is on no machine's segment."""
    off = service("lb-one", kind="LoadBalancer", given=["203.0.113.9", "2001:db8::9"])
    where = context(tmp_path, Memory(off))
    found = {
        one.subject: one
        for one in loadbalancer.wire(where, [loadbalancer.External(off, ip) for ip in loadbalancer.addresses(off)])
    }
    assert {one.code for one in found.values()} == {"L2_INCONCLUSIVE"}
    assert not any(one.ok for one in found.values())
    assert "is not on the segment of 203.0.113.9" in found["203.0.113.9 (course/lb-one)"].detail
    assert "is IPv6" in found["2001:db8::9 (course/lb-one)"].detail
    (one,) = findings(loadbalancer.CHECK, where).get("LB_OFF_POOL", [])[:1]
    assert "203.0.113.9, which is in no pool" in one.detail


def test_serving(tmp_path: Path) -> None:
    with serving("127.0.0.21", taking_turns("lb-1")) as port:
        where = on_loopback(tmp_path, Memory())
        ours = service("lb-one", ports=[{"port": port, "protocol": "TCP"}])
        one = loadbalancer.serves(where, loadbalancer.External(ours, "127.0.0.21"))
        assert (one.code, one.detail) == ("LB_SERVES", "serves HTTP as lb-1")
        ports = [{"port": port}, {"port": 1}, {"port": 53, "protocol": "UDP"}]
        theirs = service("ssh", namespace="default", ports=ports)
        one = loadbalancer.serves(where, loadbalancer.External(theirs, "127.0.0.21"))
        assert one.detail == f"accepts connections on {port}, not on 1: connection refused"
    one = loadbalancer.serves(where, loadbalancer.External(ours, "127.0.0.21"))
    assert (one.ok, one.code) == (False, "LB_NOT_SERVING")
    assert one.detail.endswith("connection refused")
    one = loadbalancer.serves(where, loadbalancer.External(theirs, "127.0.0.21"))
    assert one.code == "LB_NOT_SERVING"
    quiet = service("dns", ports=[{"port": 53, "protocol": "UDP"}])
    assert loadbalancer.serves(where, loadbalancer.External(quiet, "127.0.0.21")).code == "LB_NO_TCP"


def test_pages_of_servers_that_speak_something_else(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def talk() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(1024)
                accepted.sendall(b"SSH-2.0-x\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        page = web.get("127.0.0.1", port, "/x", timeout=5)
        thread.join()
        assert page.status == 0
        assert page.error.startswith("no HTTP: BadStatusLine")
        assert web.get("127.0.0.1", port, timeout=0.05).error == "no answer"  # accepted by nobody
    assert tmp_path
    assert web.connect("127.0.0.1", port) == "connection refused"
