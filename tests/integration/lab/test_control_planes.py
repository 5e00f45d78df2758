"""The load balancer of a lab with two control planes, of containers, while they come and go.

There is no cluster: a small TLS server stands on each machine where the API server would be.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from provisioner.lab import background, balancer, guest, lifecycle, network, requirements
from provisioner.lab.spec import LabSpec
from tests import labs

_MISSING = requirements.missing_programs("containers", balanced=True)
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, cgroups and a Debian image"),
    pytest.mark.skipif(bool(_MISSING), reason=f"needs {_MISSING}"),
]
# Answers /readyz with 200, or with 500 while /tmp/broken exists; every path says which machine it is.
API_SERVER = """
import http.server, os, socket, ssl

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        broken = self.path == "/readyz" and os.path.exists("/tmp/broken")
        self.send_response(500 if broken else 200)
        self.end_headers()
        self.wfile.write(socket.gethostname().encode())

server = http.server.ThreadingHTTPServer(("", 6443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tmp/pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def say(text: str) -> None:
    print(text, file=sys.stderr)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabSpec]:
    labs.clear()
    wanted = LabSpec(
        tmp_path_factory.mktemp("lab"), labs.named("p"), control_planes=2, workers=0, nodes="containers"
    )  # fmt: skip
    try:
        yield lifecycle.up(wanted, None, progress=say)
    finally:
        lifecycle.destroy(wanted)
        assert balancer.pid(wanted) is None
        assert not network.exists(wanted.namespace)


def on(lab: LabSpec, name: str, command: str, text: str = "") -> str:
    argv = guest.ssh_command(lab, lab.vm(name), [command])
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=True).stdout.strip()


def serve(lab: LabSpec, name: str) -> None:
    """Start the machine's server."""
    on(
        lab,
        name,
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=api -keyout /tmp/key -out /tmp/cert 2>/dev/null;"
        " cat /tmp/key /tmp/cert > /tmp/pem; cat > /tmp/server.py;"
        " sudo systemd-run --collect --unit api --quiet python3 /tmp/server.py",
        API_SERVER,
    )


def answers(lab: LabSpec) -> set[str]:
    """Ask the endpoint four times from the operator's machine; return the names of those that answered."""
    curl = ["curl", "-sk", "--max-time", "3", f"https://{lab.endpoint}/"]
    return {
        subprocess.run(
            network.inside(lab.operator, curl), capture_output=True, text=True, check=False
        ).stdout
        for _ in range(4)
    }  # fmt: skip


def until(lab: LabSpec, wanted: set[str]) -> None:
    assert background.wait_until(lambda: answers(lab) == wanted, 60), answers(lab)


def test_the_endpoint_leads_to_the_control_planes_that_are_ready(lab: LabSpec) -> None:
    assert answers(lab) == {""}
    serve(lab, "master")
    until(lab, {"master"})
    serve(lab, "master2")
    until(lab, {"master", "master2"})
    on(lab, "master", "touch /tmp/broken")
    until(lab, {"master2"})
    on(lab, "master", "rm /tmp/broken")
    until(lab, {"master", "master2"})


def test_a_control_plane_without_power_gets_no_requests(lab: LabSpec) -> None:
    lifecycle.power_off(lab, "master")
    until(lab, {"master2"})
    lifecycle.start(lab, "master", say)
    serve(lab, "master")
    until(lab, {"master", "master2"})


def test_a_machine_is_shut_down_by_its_power_button(lab: LabSpec) -> None:
    on(lab, "master", "echo kept > kept")  # not synced: a shutdown writes it
    lifecycle.shut_down(lab, "master", say)
    assert [row.state for row in lifecycle.status(lab).vms] == ["off", "running"]
    lifecycle.start(lab, "master", say)
    assert on(lab, "master", "cat kept") == "kept"


def test_up_starts_the_load_balancer_again_and_down_stops_it(lab: LabSpec) -> None:
    pid = lifecycle.status(lab).balancer
    assert pid
    background.kill(pid)
    assert lifecycle.status(lab).balancer is None
    lifecycle.up(lab, None, progress=say)
    again = lifecycle.status(lab).balancer
    assert again
    lifecycle.up(lab, None, progress=say)
    assert lifecycle.status(lab).balancer == again, "one that runs is kept"
    lifecycle.down(lab, say)
    assert lifecycle.status(lab).balancer is None
