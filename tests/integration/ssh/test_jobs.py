"""Jobs that survive the client and its connection; tunnels."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.errors import HostError, Unreachable
from provisioner.ssh import FactQuery, Host, channel, jobs
from provisioner.ssh.command import CommandResult
from tests.integration.ssh.conftest import ROOT, MakeSite, Open, OpenSite
from tests.integration.ssh.nodes import Machine, wait_for

# Prints three lines, waits for /run/go, prints three more. /etc/demo.count counts its starts.
SLOW = """echo run >>/etc/demo.count
for i in 1 2 3; do echo "line $i"; done
while [ ! -e /run/go ]; do sleep 0.05; done
for i in 4 5 6; do echo "line $i"; done
"""
OUTPUT = "".join(f"line {number}\n" for number in range(1, 7))


@pytest.fixture
def one(
    make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> Iterator[tuple[Host, Machine, OpenSite]]:
    """A host, its machine, the opened site; /run/go releases a slow command."""
    machine = machines["one"]
    machine.sh("rm -f /run/go /etc/demo.*")
    opened = open_site(make_site(connect_timeout=2.0))
    yield opened["one"], machine, opened
    machine.sh("touch /run/go")
    wait_for(lambda: not jobs.busy(opened["one"]), "the end of jobs left by the test")


def in_thread(work: Callable[[], CommandResult]) -> tuple[threading.Thread, list[CommandResult | Exception]]:
    """Start `work` in a thread; its result or error arrives in the list."""
    results: list[CommandResult | Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_output_status_and_errors(one: tuple[Host, Machine, OpenSite]) -> None:
    host, machine, opened = one
    machine.sh("touch /run/go")
    result = jobs.run(host, "slow", SLOW, timeout=30)
    assert (result.stdout, result.status) == (OUTPUT, 0)
    assert opened.output() == OUTPUT.splitlines()
    assert "line 6" in opened.log
    assert jobs.busy(host) == ""
    for status in (3, 75, 76, 124):
        with pytest.raises(HostError, match="oops") as caught:
            jobs.run(host, "fails", f"echo oops; exit {status}", timeout=30)
        assert caught.value.tail == "oops"
    with pytest.raises(HostError, match="`errexit` failed with exit status 1"):
        jobs.run(host, "errexit", "false\necho never", timeout=30)


def test_output_with_carriage_returns_and_split_characters(one: tuple[Host, Machine, OpenSite]) -> None:
    host, _, opened = one
    jobs.run(host, "bar", r"printf '10%%\r50%%\r'; printf '\342\202'; sleep 0.4; printf '\254\nend'", timeout=30)
    assert opened.output() == ["10%", "50%", "€"]


def test_a_timeout_kills_the_whole_process_group(one: tuple[Host, Machine, OpenSite]) -> None:
    host, machine, _ = one
    with pytest.raises(HostError, match="timed out and was killed"):
        jobs.run(host, "long", "sleep 5432 & sleep 5432", timeout=1)
    assert "sleep 5432" not in machine.arguments()
    assert jobs.busy(host) == ""


def test_job_files_are_accessible_by_root_only(one: tuple[Host, Machine, OpenSite]) -> None:
    host, machine, _ = one
    machine.sh("touch /run/go")
    jobs.run(host, "slow", SLOW, timeout=30)
    modes = machine.sh("find /run/provisioner -printf '%m %u\\n' | sort -u").splitlines()
    assert {mode.split()[0][-2:] for mode in modes} == {"00"}
    assert {mode.split()[1] for mode in modes} == {"root"}


def test_a_host_runs_one_job_at_a_time(
    one: tuple[Host, Machine, OpenSite], make_site: MakeSite, open_site: Open
) -> None:
    host, machine, _ = one
    thread, results = in_thread(lambda: jobs.run(host, "slow", SLOW, timeout=30))
    other = open_site(make_site())["one"]
    wait_for(lambda: jobs.busy(other) == "slow", "work to begin")
    with pytest.raises(HostError, match="one: still busy with slow; wait until it ends"):
        jobs.run(other, "second", "touch /etc/demo.second", timeout=30)
    machine.sh("touch /run/go")
    thread.join(20)
    assert isinstance(results[0], CommandResult)
    assert "demo.second" not in machine.sh("ls /etc")


def test_a_daemon_started_by_a_job_does_not_keep_the_host_busy(one: tuple[Host, Machine, OpenSite]) -> None:
    host, machine, _ = one
    jobs.run(host, "starts", "setsid sleep 6543 >/dev/null 2>&1 &", timeout=30)
    try:
        assert "sleep 6543" in machine.arguments()
        assert jobs.busy(host) == ""
        jobs.run(host, "next", "true", timeout=30)
    finally:
        machine.sh("pkill -f 'sleep 654[3]'")


def test_a_job_is_followed_after_a_lost_session(one: tuple[Host, Machine, OpenSite]) -> None:
    host, machine, opened = one
    thread, results = in_thread(lambda: jobs.run(host, "slow", SLOW, timeout=60))
    wait_for(lambda: "line 3" in opened.output(), "the first lines")
    machine.sh("pkill -9 -f '^sshd: plain'")
    wait_for(lambda: any("slow is still running there" in line for line in opened.output()), "the loss to be noticed")
    machine.sh("touch /run/go")
    thread.join(30)
    assert isinstance(results[0], CommandResult), results
    assert results[0].stdout == OUTPUT
    assert machine.sh("cat /etc/demo.count") == "run\n"


def test_a_job_is_followed_after_a_dead_link(
    one: tuple[Host, Machine, OpenSite], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pulled cable is only noticed by probing."""
    monkeypatch.setattr(channel, "PROBE_AFTER", 0.5)
    host, machine, opened = one
    thread, results = in_thread(lambda: jobs.run(host, "slow", SLOW, timeout=60))
    wait_for(lambda: "line 3" in opened.output(), "the first lines")
    machine.link("down")
    try:
        wait_for(lambda: any("is still running there" in line for line in opened.output()), "the loss to be noticed")
        machine.sh("touch /run/go")
        wait_for(lambda: "sleep" not in machine.arguments(), "its end, unseen")
    finally:
        machine.link("up")
    thread.join(30)
    assert isinstance(results[0], CommandResult), results
    assert results[0].stdout == OUTPUT
    assert machine.sh("cat /etc/demo.count") == "run\n"


def test_a_command_does_not_hang_on_a_dead_link(
    one: tuple[Host, Machine, OpenSite], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "PROBE_AFTER", 0.5)
    host, machine, _ = one
    host.run("true")
    thread, results = in_thread(lambda: host.run("touch /etc/demo.begun; sleep 30", timeout=60))
    wait_for(lambda: "demo.begun" in machine.sh("ls /etc"), "the command to begin")
    machine.link("down")
    try:
        thread.join(10)
        assert isinstance(results[0], Unreachable)
        assert "connection was lost" in str(results[0])
    finally:
        machine.link("up")
        machine.sh("pkill -f 'sleep 3[0]'")
    assert host.run("echo back").stdout == "back\n"


def test_a_job_killed_on_the_host_is_an_error(one: tuple[Host, Machine, OpenSite]) -> None:
    host, machine, opened = one
    thread, results = in_thread(lambda: jobs.run(host, "slow", SLOW, timeout=60))
    wait_for(lambda: "line 3" in opened.output(), "the first lines")
    machine.sh("kill -9 $(cat /run/provisioner/slow.*/pid)")
    thread.join(20)
    assert isinstance(results[0], HostError)
    assert "was killed on the host" in str(results[0])


CLIENT = """
import sys
from pathlib import Path
from provisioner.site import load_site
from provisioner.ssh import host, jobs
hosts = host.fleet(load_site(Path(sys.argv[1])))
jobs.run(hosts["one"], "slow", sys.argv[2], timeout=60)
"""


def test_a_job_survives_a_killed_client(
    one: tuple[Host, Machine, OpenSite], make_site: MakeSite, open_site: Open
) -> None:
    _, machine, opened = one
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(opened.site.path), SLOW], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    wait_for(lambda: "demo.count" in machine.sh("ls /etc"), "work to begin")
    client.send_signal(signal.SIGKILL)
    client.wait()
    later = open_site(make_site())
    assert jobs.busy(later["one"]) == "slow"
    thread, results = in_thread(lambda: CommandResult(jobs.wait_idle(later["one"], 30), "", 0, 0))
    wait_for(lambda: "line 3" in later.output(), "to see what it does")
    assert later.output()[0] == "waiting for slow, started by an earlier run"
    assert thread.is_alive()
    machine.sh("touch /run/go")
    thread.join(20)
    assert isinstance(results[0], CommandResult), results
    assert results[0].stdout == "slow"
    assert jobs.busy(later["one"]) == ""
    assert machine.sh("cat /etc/demo.count; cat /run/provisioner/slow.*/rc") == "run\n0\n"


def test_facts_take_one_round_trip(one: tuple[Host, Machine, OpenSite], make_site: MakeSite, open_site: Open) -> None:
    _, machine, _ = one
    query = FactQuery(
        files=("/etc/passwd", "/etc/shadow"), packages=("bash",), units=("ssh.service",), sysctls=("kernel.pid_max",)
    )
    host = open_site(make_site(), query)["one"]
    before = machine.sessions()
    facts = host.facts
    assert host.facts is facts
    assert machine.sessions() - before == 1
    assert facts.hostname == "one"
    assert facts.address_nic(machine.address) is not None
    assert facts.listening == {22}
    assert "root:" in (facts.files["/etc/shadow"].content or "")
    host.forget_facts()
    assert host.facts.boot_id == facts.boot_id
    assert machine.sessions() - before == 2


SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler)
open("/run/serving", "w").close()
server.serve_forever()
"""


def test_a_tunnel_carries_many_connections_and_reconnects(one: tuple[Host, Machine, OpenSite], tmp_path: Path) -> None:
    host, machine, _ = one
    (tmp_path / "server.py").write_text(SERVER)
    words = ["nsenter", "-t", str(machine.pid), "-m", "-p", "-n", sys.executable, str(tmp_path / "server.py")]
    server = subprocess.Popen(words)
    try:
        wait_for(lambda: "serving" in machine.sh("ls /run"), "the server")
        body = os.urandom(3_000_000)
        with host.tunnel("127.0.0.1", 8080) as tunnel:

            def post() -> CommandResult:
                connection = http.client.HTTPConnection(tunnel.address, tunnel.port, timeout=20)
                connection.request("POST", "/", body)
                whole = connection.getresponse().read() == body
                connection.close()
                return CommandResult("", "", 0 if whole else 1, 0)

            posted = [in_thread(post) for _ in range(4)]
            for thread, results in posted:
                thread.join(30)
                assert results == [CommandResult("", "", 0, 0)]
            connection = host.transport()
            machine.sh("pkill -9 -f '^sshd: plain'")
            wait_for(lambda: not connection.is_active(), "the loss")
            assert post().status == 0
        with pytest.raises(ConnectionRefusedError):
            post()
        started = time.monotonic()
        with host.tunnel("127.0.0.1", 9) as refused:
            client = http.client.HTTPConnection("127.0.0.1", refused.port, timeout=20)
            client.request("GET", "/")
            with pytest.raises(ConnectionResetError):
                client.getresponse()
            client.close()
        assert time.monotonic() - started < 15, "reset, not timed out"
    finally:
        server.kill()
        server.wait()
