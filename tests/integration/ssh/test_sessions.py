"""Servers that limit sessions, connections or forwarding, and connections that die without a word."""

from __future__ import annotations

import socket
import threading
from typing import cast

import pytest

from provisioner.engine import lock
from provisioner.errors import HostError, Locked, Unreachable
from provisioner.ssh import channel, connect, jobs
from provisioner.ssh.connect import LoginRefused
from tests.integration.ssh.conftest import MakeSite, Open, SshdOptions
from tests.integration.ssh.nodes import NETWORK, Machine, sh, wait_for


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_of_sessions_takes_another_connection(
    limit: int, sshd: SshdOptions, make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    """A job, a lock and commands at the same time; a second run is kept out."""
    sshd("one", f"MaxSessions {limit}")
    machine = machines["one"]
    machine.sh("rm -rf /run/go /etc/demo.* /var/lib/provisioner")
    site = make_site(hosts=("one",))
    one = open_site(site)["one"]
    done: list[str] = []
    with lock.acquire(one, "apply") as ensure_held:
        slow = "touch /etc/demo.began; while [ ! -e /run/go ]; do sleep 0.05; done; echo ended"
        worker = threading.Thread(target=lambda: done.append(jobs.run(one, "slow", slow, timeout=60).stdout))
        worker.start()
        wait_for(lambda: "demo.began" in machine.sh("ls /etc"), "the job")
        threads = [
            threading.Thread(target=lambda: done.append(one.run("sleep 1; echo also").stdout))
            for _ in range(limit + 1)
        ]
        for thread in threads:
            thread.start()
        with pytest.raises(Locked), lock.acquire(open_site(site)["one"], "apply"):
            pass
        for thread in threads:
            thread.join(60)
        machine.sh("touch /run/go")
        worker.join(60)
        ensure_held()
    assert sorted(done) == ["also\n"] * (limit + 1) + ["ended\n"]


def test_a_probe_that_is_refused_is_an_answer(
    sshd: SshdOptions, make_site: MakeSite, open_site: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "PROBE_AFTER", 0.3)
    sshd("one", "MaxSessions 1")
    assert open_site(make_site())["one"].run("sleep 2; echo done").stdout == "done\n"


def test_a_server_that_allows_no_session_names_the_setting(
    sshd: SshdOptions, make_site: MakeSite, open_site: Open
) -> None:
    sshd("one", "MaxSessions 0")
    with pytest.raises(HostError, match=r"refuses to run a command .*; set MaxSessions in /etc/ssh/sshd_config"):
        open_site(make_site())["one"].run("true")


def test_a_server_that_drops_some_connections_is_asked_again(
    sshd: SshdOptions, make_site: MakeSite, open_site: Open
) -> None:
    """MaxStartups drops connections at random while others log in."""
    sshd("one", "MaxStartups 1:60:3", "LoginGraceTime 20")
    site = make_site(scale=2.0)
    opened = [open_site(site)["one"] for _ in range(6)]
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda host=host: results.append(host.run("echo in").stdout)) for host in opened
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert results == ["in\n"] * 6


def test_a_server_that_drops_every_connection_names_the_settings(
    make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    site = make_site(port=2022)
    machine = machines["one"]
    machine.sh(
        "nohup python3 -c 'import socket\n"
        's = socket.create_server(("", 2022))\n'
        'open("/run/drops", "w")\n'
        "while True: s.accept()[0].close()' >/dev/null 2>&1 & echo $! >/run/drops.pid"
    )
    try:
        wait_for(lambda: "drops\n" in machine.sh("ls /run"), "the listener")
        with pytest.raises(Unreachable, match=r"closes every connection before its greeting; .*MaxStartups"):
            open_site(site)["one"].run("true")
    finally:
        machine.sh("kill $(cat /run/drops.pid)")


def test_a_connection_that_died_unseen_is_replaced(
    make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    """A NAT or a firewall has forgotten the connection: its packets are dropped, new connections get through."""
    machine = machines["one"]
    one = open_site(make_site(connect_timeout=2.0))["one"]
    one.run("true")
    old = one.transport()
    port = cast("socket.socket", old.sock).getsockname()[1]
    rule = f"type filter hook input priority 0; tcp dport {port} drop;"
    sh(f"nft 'table inet forgets {{ chain in {{ {rule} }}; }}'")
    try:
        machine.sh("rm -f /etc/demo.once")
        one.run("echo once >>/etc/demo.once")
        assert machine.sh("cat /etc/demo.once") == "once\n"
        with one.tunnel("127.0.0.1", 22) as tunnel:
            assert tunnel.port
        assert one.transport() is not old
    finally:
        sh("nft delete table inet forgets")


def test_a_jump_host_that_forwards_nothing_names_the_setting(
    sshd: SshdOptions, make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    sshd("gate", "AllowTcpForwarding no")
    address = machines["gate"].address
    with pytest.raises(LoginRefused, match=rf"the jump host {address} forwards no connection to 192.0.2.11:22; set A"):
        open_site(make_site(jump=f"plain@{address}"))["one"].run("true")


def test_a_tunnel_that_is_not_allowed_says_so(sshd: SshdOptions, make_site: MakeSite, open_site: Open) -> None:
    sshd("one", "AllowTcpForwarding no")
    with open_site(make_site())["one"].tunnel("127.0.0.1", 22) as tunnel:
        with socket.create_connection((tunnel.address, tunnel.port), timeout=20) as client:
            assert client.recv(10) == b""
        assert tunnel.prohibited


def test_a_host_out_of_reach_costs_the_others_one_timeout(
    make_site: MakeSite, open_site: Open, machines: dict[str, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[str] = []
    real = connect.connect

    def counted(site: object, spec: object, *more: object) -> object:
        attempts.append(spec.name)  # type: ignore[attr-defined]
        return real(site, spec, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(connect, "connect", counted)
    opened = open_site(make_site(hosts=("master", "one", "gate"), connect_timeout=1.0))
    machines["gate"].link("down")
    try:
        threads = [
            threading.Thread(target=lambda name=name: opened[name].reachable_facts()) for name in ("master", "one")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert set(opened["master"].reachable_facts()) == {"master", "one"}
        assert attempts.count("gate") == 1
    finally:
        machines["gate"].link("up")
    assert opened["gate"].run("echo back").stdout == "back\n"  # its own command always tries
    assert set(opened["master"].reachable_facts()) == {"master", "one", "gate"}


def test_a_jump_host_out_of_reach_is_found_out_once(make_site: MakeSite, open_site: Open) -> None:
    opened = open_site(make_site(jump=f"plain@{NETWORK}.99:22", connect_timeout=1.0))
    said = []
    for name in ("master", "one"):
        with pytest.raises(Unreachable) as caught:
            opened[name].run("true")
        said.append((caught.value.host, caught.value.message))
    assert said[0][1] == said[1][1]
    assert [host for host, _ in said] == ["master", "one"]
