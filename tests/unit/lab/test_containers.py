"""The parts of nodes as containers that need neither root nor a kernel of a certain kind."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.lab.containers import boot, cgroups, disk, kernel, launch
from provisioner.lab.containers.cgroups import Hierarchy
from provisioner.lab.containers.launch import Launch
from provisioner.lab.image import Image

HYBRID = """\
26 21 0:23 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
27 26 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
28 26 0:25 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
29 26 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/systemd/agent,name=systemd
30 26 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
31 21 0:27 /a /mnt/other rw - cgroup2 cgroup2 rw
"""
UNIFIED = "26 21 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


def test_hierarchies_of_a_hybrid_host() -> None:
    found = {one.name: one for one in cgroups.hierarchies(HYBRID)}
    assert found == {
        "cpu,cpuacct": Hierarchy(Path("/sys/fs/cgroup/cpu,cpuacct"), 1, "cpu,cpuacct"),
        "memory": Hierarchy(Path("/sys/fs/cgroup/memory"), 1, "memory"),
        "systemd": Hierarchy(Path("/sys/fs/cgroup/systemd"), 1, "none,name=systemd"),
        "unified": Hierarchy(Path("/sys/fs/cgroup/unified"), 2),
    }
    assert cgroups.is_v1([found["memory"]])
    assert found["systemd"].controllers == {"name=systemd"}


def test_the_hierarchy_of_a_v2_host() -> None:
    (found,) = cgroups.hierarchies(UNIFIED)
    assert (found.version, found.name) == (2, "")


@pytest.mark.parametrize(
    ("hierarchy", "file", "lab", "node"),
    [
        (Hierarchy(Path("cpu,cpuacct"), 1, "cpu,cpuacct"), "cpu.shares", "7168", "2048"),
        (Hierarchy(Path("unified"), 2), "cpu.weight", "700", "200"),
    ],
)
def test_a_node_weighs_as_much_as_its_processors_and_a_lab_as_its_nodes(
    tmp_path: Path, hierarchy: Hierarchy, file: str, lab: str, node: str
) -> None:
    root = tmp_path / hierarchy.path
    for directory in (root, root / "provisioner-t", root / "provisioner-t/master"):
        directory.mkdir()
        (directory / "cgroup.controllers").write_text("cpu\n")
        (directory / "cgroup.subtree_control").write_text("cpu\n")
    cgroups.make("t", "master", cgroups.Size(4096, 2, 7), [replace(hierarchy, path=root)])
    assert (root / "provisioner-t" / file).read_text() == lab
    assert (root / "provisioner-t/master" / file).read_text() == node


def test_modules_that_are_built_in() -> None:
    config = (
        "CONFIG_OVERLAY_FS=y\nCONFIG_BRIDGE_NETFILTER=y\nCONFIG_NFS_FS=m\n# CONFIG_NFSD is not set\nCONFIG_VXLAN=y\n"
    )
    assert kernel.built_in(config) == {"overlay", "br_netfilter", "vxlan"}


@pytest.fixture
def node(tmp_path: Path) -> Launch:
    return Launch(
        lab="t", node="worker1", files=str(tmp_path), machine_id="f3f8bda0-ca64-4ffd-a0c1-3777865dc8dd",
        namespace="t", ports={"eth1": ("tap-worker1", "52:54:00:56:00:0b")}, memory=512,
        cpus=1, lab_cpus=3, uplink=False,
    )  # fmt: skip


def test_a_launch_survives_its_file(node: Launch) -> None:
    assert launch.read(launch.write(node)) == node


@pytest.mark.parametrize(("v1", "word"), [(True, "unified_cgroup_hierarchy=0"), (False, "unified_cgroup_hierarchy=1")])
def test_systemd_is_told_its_identity_and_the_hosts_cgroups(node: Launch, v1: bool, word: str) -> None:
    argv = boot.command(node, v1=v1)
    assert "systemd.machine_id=f3f8bda0ca644ffda0c13777865dc8dd" in argv
    assert f"systemd.{word}" in argv


def test_snapshots_of_a_disk(tmp_path: Path) -> None:
    image, own = Image(tmp_path), tmp_path / "vms" / "worker1" / "disk.ext4"
    image.disk.write_bytes(b"blank" + bytes((1 << 20) - 5))
    disk.make(image, own, 1)
    own.write_bytes(b"work" + bytes(1 << 20))
    disk.make(image, own, 1)
    assert own.read_bytes().startswith(b"work")
    disk.save(own, "one")
    own.write_bytes(b"later")
    disk.load(own, "one")
    assert own.read_bytes().startswith(b"work")
    assert disk.names(own) == ("one",)
    disk.forget(own, "one")
    assert disk.names(own) == ()
    assert own.stat().st_blocks < 2048, "holes stay holes"


def test_runc_is_asked_for_no_negative_score(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"process":{"oomScoreAdj":-997,"other":-1},"more":{"oomScoreAdj": 1000}}')
    script = boot.RUNC.replace("/usr/sbin/runc /usr/bin/runc", "/bin/echo")
    done = subprocess.run(
        ["sh", "-c", script, "runc", "--log", "x", "create", "--bundle", str(tmp_path), "id"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert config.read_text() == '{"process":{"oomScoreAdj":0,"other":-1},"more":{"oomScoreAdj": 1000}}'
    assert done.stdout == f"--log x create --bundle {tmp_path} id\n"
