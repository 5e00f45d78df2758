"""The configuration of the load balancer in front of several control planes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner.lab import balancer
from provisioner.lab.spec import LabSpec


def test_every_control_plane_and_no_worker_is_a_server() -> None:
    text = balancer.configuration(LabSpec(Path("/x"), control_planes=3, workers=2))
    servers = [line.split()[1:] for line in text.splitlines() if line.startswith("  server ")]
    assert servers == [
        ["master", "192.168.56.10:6443"],
        ["master2", "192.168.56.22:6443"],
        ["master3", "192.168.56.23:6443"],
    ]
    assert "bind 192.168.56.3:6443" in text


@pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="needs haproxy")
def test_haproxy_accepts_it(tmp_path: Path) -> None:
    file = tmp_path / "balancer.cfg"
    file.write_text(balancer.configuration(LabSpec(tmp_path, control_planes=3)))
    checked = subprocess.run(["/usr/sbin/haproxy", "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "warning" not in (checked.stdout + checked.stderr).lower()
