"""`l2 watch` for people: one-line errors, live output, the missing capability."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import hosts_toml
from tests.integration.l2.conftest import ROOT, Segment, mac
from tests.integration.l2.watching import IP, Rig

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("192.0.2.300",), "'192.0.2.300' is not an IP address"),
        (("192.0.2.1",), "192.0.2.1 is this machine's own"),
        (("198.51.100.7",), "not on the segment"),
        ((IP, "--interface", "eth7"), "no interface eth7 on this machine"),
        ((IP, "--facts", "missing.json"), "missing.json"),
        ((IP, "--svg", "/nowhere/at/all.svg"), "no such folder: /nowhere/at"),
    ],
)
def test_an_error_is_one_line(segment: Segment, arguments: tuple[str, ...], message: str) -> None:
    refused = segment.cli("l2", "watch", *arguments, "--timeout", "1")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


SITE = hosts_toml.host("master", "192.0.2.11", "control-plane") + hosts_toml.host("node", "192.0.2.12", "worker")
SITE += hosts_toml.pool("lab", "192.0.2.200-192.0.2.210")


def test_nodes_are_named_by_their_own_replies_in_live_output(rig: Rig) -> None:
    """With hosts.toml only and --no-zero: live output on stderr, the report on stdout."""
    (rig.folder / "hosts.toml").write_text(SITE)
    rig.give(1)
    words = [sys.executable, "-m", "provisioner", "-f", str(rig.folder / "hosts.toml"), "l2", "watch", IP]
    process = subprocess.Popen(
        ["ip", "netns", "exec", f"{rig.segment.prefix}prober", *words, "--no-zero", "--until-stable", "--port", "80"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith(f"watching {IP} from eth1: one request every 100 ms, TCP 80")
            lines = [process.stderr.readline().split("  ", 1)[1] for _ in range(2)]
            assert lines == ["master answers\n", "TCP 80 through master: open\n"]
            rig.answered(1, 10)
            rig.take(1)
            rig.give(2)
            with rig.announce(2):
                output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert "last reply from master" in errors or "node answers" in errors
    assert "\x1b" not in errors, "no terminal, no control codes"
    assert output.startswith(f"{IP} moved from master to node")
    assert "5 of 5 expected pairs" in output
    senders = {arp[2] for frame in rig.frames() if (arp := frame.arp()) and arp[0] == 1 and frame.source == mac(1)}
    assert senders == {"192.0.2.1"}


def test_without_cap_net_raw_it_prints_the_command_to_run(segment: Segment) -> None:
    ordinary = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    command = [sys.executable, "-m", "provisioner", "l2", "watch", IP, "--timeout", "1"]
    refused = segment.run("prober", *ordinary, *command, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "run: sudo -E setpriv --reuid=65534" in refused.stderr
