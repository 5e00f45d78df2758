"""What kubeadm would write: the script that asks it, and what its output means."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
import yaml

from provisioner.errors import HostError, NotYet
from provisioner.kube import kubeadm_render
from tests.unit.steps.doubles import site_at

PEM = b"-----BEGIN CERTIFICATE-----\n"
OUTPUT = f"""\
@part file config.yaml
kind: KubeletConfiguration
maxPods: 110

@part file kubeadm-flags.env
KUBELET_KUBEADM_ARGS="--node-ip=10.0.0.1"

@part client admin.conf
{base64.b64encode(PEM).decode()}
@part client kubelet.conf
@part addon kube-proxy
---
kind: Service
metadata: {{name: kube-dns, resourceVersion: "0"}}
---
@part end -
"""
# Stands for kubeadm: prints what it was given, or fails as one does that lacks an option.
KUBEADM = """#!/bin/sh
phase="$3 $4"
case $* in
  *addon*--print-manifest*) [ -z "$OLD" ] || { echo 'unknown flag: --print-manifest' >&2; exit 1; }
    echo "kind: ConfigMap"; echo "metadata: {name: $4}";;
  *--dry-run*) [ "$OLD" != all ] || { echo 'error: unknown flag: --dry-run' >&2; exit 1; }
    echo "[$phase] talks"; echo "phase: $phase, ca: /nonexistent/pki/ca.crt" >"$KUBEADM_INIT_DRYRUN_DIR/$3.yaml";;
  *) echo "would change the node: $*" >&2; exit 1;;
esac
"""


def run(tmp_path: Path, host: str, old: str = "") -> kubeadm_render.Rendering:
    """Run the script of a host with the stand-in for kubeadm."""
    site = site_at(tmp_path, 'kubernetes = "1.37.2"')
    program = tmp_path / "kubeadm"
    program.write_text(KUBEADM)
    program.chmod(0o755)
    script = kubeadm_render.script(site, site.host(host)).replace("/etc/kubernetes/*.conf", f"{tmp_path}/*.conf")
    done = subprocess.run(
        ["sh", "-euc", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "OLD": old},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return kubeadm_render.parse(host, done.stdout)


def test_parts() -> None:
    found = kubeadm_render.parse("master", OUTPUT)
    assert yaml.safe_load(found.files["config.yaml"])["maxPods"] == 110
    assert found.files["kubeadm-flags.env"] == 'KUBELET_KUBEADM_ARGS="--node-ip=10.0.0.1"\n'
    assert found.clients == {"admin.conf": PEM}
    assert found.addons == [{"kind": "Service", "metadata": {"name": "kube-dns"}}]


@pytest.mark.parametrize("output", ["", OUTPUT.replace("@part end -\n", "")])
def test_half_an_output_is_an_error_and_never_nothing_to_compare(output: str) -> None:
    with pytest.raises(HostError, match="incomplete"):
        kubeadm_render.parse("master", output)


def test_a_node_without_kubeadm_cannot_be_looked_at_yet(tmp_path: Path) -> None:
    site = site_at(tmp_path, 'kubernetes = "1.37.2"')
    script = kubeadm_render.script(site, site.host("worker1"))
    done = subprocess.run(["/bin/sh", "-euc", script], env={"PATH": ""}, capture_output=True, text=True, check=True)
    with pytest.raises(NotYet, match="worker1 has no kubeadm"):
        kubeadm_render.parse("worker1", done.stdout)


def test_a_kubeadm_that_refuses_the_configuration() -> None:
    with pytest.raises(HostError, match="cannot render its phase kubelet-start") as raised:
        kubeadm_render.parse("master", "@part failed kubelet-start\nerror: unknown field maxPod\n")
    assert raised.value.tail == "error: unknown field maxPod"


def test_a_control_plane(tmp_path: Path) -> None:
    (tmp_path / "admin.conf").write_text(f"    client-certificate-data: {base64.b64encode(PEM).decode()}\n")
    found = run(tmp_path, "master")
    assert set(found.files) == {"kubelet-start.yaml", "control-plane.yaml", "etcd.yaml"}
    assert [one["metadata"]["name"] for one in found.addons] == ["kube-proxy", "coredns"]
    assert found.clients == {"admin.conf": PEM}


def test_a_worker_has_no_ca_key_so_its_ca_is_hidden_from_kubeadm(tmp_path: Path) -> None:
    found = run(tmp_path, "worker1")
    assert found.files == {"kubelet-start.yaml": "phase: kubelet-start --dry-run, ca: /etc/kubernetes/pki/ca.crt\n"}
    assert found.addons == []
    site = site_at(tmp_path, 'kubernetes = "1.37.2"')
    assert "certificatesDir: /nonexistent/pki" in kubeadm_render.script(site, site.host("worker1"))
    assert "certificatesDir" not in kubeadm_render.script(site, site.host("master"))
    slow = site_at(tmp_path, 'kubernetes = "1.37.2"\ntimeout_scale = 8.0')
    assert "patches" not in kubeadm_render.script(slow, slow.host("worker1"))
    assert "patches" in kubeadm_render.script(slow, slow.host("master"))


def test_a_kubeadm_without_dry_runs_of_phases_renders_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, "master", old="all") == kubeadm_render.Rendering()


def test_a_kubeadm_that_cannot_print_its_addons_renders_the_rest(tmp_path: Path) -> None:
    found = run(tmp_path, "master", old="addons")
    assert len(found.files) == 3
    assert found.addons == []
