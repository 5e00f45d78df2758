"""The NFS export: its clients, the kernel's export table, and the volumes of the storage class."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import ClusterError, HostError
from provisioner.ssh.facts import File, Package
from provisioner.steps import nfs_server, storage
from provisioner.steps.nfs_server import CONFIG, ETAB, EXPORTS, STEP, UNIT
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import RecordingHost, carry_out, drain, fleet_for, present, running, site_at, summaries

THREE = "192.168.56.10, 192.168.56.11, 192.168.56.12"
TWO_VOLUMES = "[nfs]\nvolumes = 2\n[workloads]\nenabled = []\n"
EXPORT = f"export /srv/nfs to {THREE}"
# As exportfs writes it: one line per client, with all default options.
OPTIONS = "rw,sync,wdelay,hide,nocrossmnt,secure,root_squash,no_all_squash,no_subtree_check,secure_locks,acl,no_pnfs"
KERNEL = "".join(f"/srv/nfs\t192.168.56.{last}({OPTIONS},anonuid=65534,anongid=65534)\n" for last in (12, 10, 11))


@pytest.fixture
def host(tmp_path: Path) -> RecordingHost:
    return fleet_for(STEP, site_at(tmp_path, rest=TWO_VOLUMES))["master"]


@pytest.fixture
def converged(host: RecordingHost) -> RecordingHost:
    carry_out(STEP, host)
    host.keep()
    host.commands.clear()
    host.works.clear()
    return host.know(
        packages={"nfs-kernel-server": Package("1")},
        units={UNIT: running()},
        files={
            ETAB: present(KERNEL),
            "/srv/nfs": File(exists=True, mode=0o750, owner="root:nogroup", is_dir=True),
            **{f"/srv/nfs/nfs-0{n}": File(exists=True, mode=0o777, is_dir=True) for n in (1, 2)},
        },
    )


def test_a_blank_server(host: RecordingHost) -> None:
    assert carry_out(STEP, host) == [
        "install nfs-kernel-server",
        "make /srv/nfs a directory of root:nogroup with mode 0750",
        "create directories for 2 volumes under /srv/nfs",
        f"write {EXPORTS}",
        f"write {CONFIG}",
        f"enable and start {UNIT}",
        EXPORT,
    ]
    assert host.commands == [
        "mkdir -p /srv/nfs; cd -P /srv/nfs; chown root:nogroup .; chmod 0750 .",
        nfs_server.volumes_script(host.site, ["/srv/nfs/nfs-01", "/srv/nfs/nfs-02"]),
        f"systemctl enable --quiet {UNIT} && systemctl restart {UNIT}",
        "exportfs -ra",
    ]


def test_a_converged_server(converged: RecordingHost) -> None:
    assert drain(STEP, converged) == []


STATES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "killed before exportfs": ({"files": {ETAB: present("")}}, [EXPORT]),
    "no table yet": ({"files": {ETAB: File(exists=False)}}, [EXPORT]),
    "the kernel exports to one host less": (
        {"files": {ETAB: present(KERNEL.replace("/srv/nfs\t192.168.56.11", "/srv/other\t192.168.56.11"))}},
        [EXPORT],
    ),
    "the kernel still exports to a host that has left": (
        {"files": {ETAB: present(KERNEL + f"/srv/nfs\t192.168.56.99({OPTIONS})\n")}},
        [EXPORT],
    ),
    "the kernel exports to the world": ({"files": {ETAB: present(KERNEL + f"/srv/nfs\t*({OPTIONS})\n")}}, [EXPORT]),
    "killed between the file and the kernel, options alone": (
        {"files": {ETAB: present(KERNEL.replace(",root_squash", ",no_root_squash"))}},
        [EXPORT],
    ),
    "somebody's exports of other directories": (
        {"files": {ETAB: present(KERNEL + f"/srv/nfs-other\t*({OPTIONS})\n")}},
        [],
    ),
    "killed before the server read how it is to take groups": (
        {"units": {UNIT: running(since=50.0)}},
        [f"enable and start {UNIT}"],
    ),
    "the server is stopped": ({"units": {UNIT: running().__class__(False, True)}}, [f"enable and start {UNIT}"]),
    "a directory is missing": (
        {"files": {"/srv/nfs/nfs-02": File(exists=False)}},
        ["create directories for 1 volume under /srv/nfs"],
    ),
    "the export's root can be entered by users of the server": (
        {"files": {"/srv/nfs": File(exists=True, mode=0o755, owner="root:nogroup", is_dir=True)}},
        ["make /srv/nfs a directory of root:nogroup with mode 0750"],
    ),
    "the export's root belongs to the clients": (
        {"files": {"/srv/nfs": File(exists=True, mode=0o750, owner="nobody:nogroup", is_dir=True)}},
        ["make /srv/nfs a directory of root:nogroup with mode 0750"],
    ),
    "a directory is not writable": (
        {"files": {"/srv/nfs/nfs-02": File(exists=True, mode=0o755, is_dir=True)}},
        ["create directories for 1 volume under /srv/nfs"],
    ),
    "the file was edited": (
        {"files": {EXPORTS: present("/srv/nfs *(rw,no_root_squash)\n")}},
        [f"change {EXPORTS}", EXPORT],
    ),
}


@pytest.mark.parametrize(("facts", "expected"), STATES.values(), ids=STATES)
def test_partial_states(converged: RecordingHost, facts: dict[str, Any], expected: list[str]) -> None:
    assert summaries(STEP, converged.know(**facts)) == expected


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("", "/srv/nfs 192.168.56.10(R) 192.168.56.11(R) 192.168.56.12(R)"),
        (
            'clients = ["192.168.56.1", "10.9.0.0/24", "192.168.56.11"]',
            "/srv/nfs 192.168.56.10(R) 192.168.56.11(R) 192.168.56.12(R) 192.168.56.1(R) 10.9.0.0/24(R)",
        ),
        ('export = "/data"', "/data 192.168.56.10(R) 192.168.56.11(R) 192.168.56.12(R)"),
        ("root_squash = false", "/srv/nfs 192.168.56.10(N) 192.168.56.11(N) 192.168.56.12(N)"),
    ],
)
def test_the_exports_file(tmp_path: Path, table: str, line: str) -> None:
    """Only the cluster's hosts and nfs.clients, with root_squash by default."""
    text = nfs_server.exports(site_at(tmp_path, rest=f"[nfs]\n{table}"))
    line = line.replace("(R)", "(rw,sync,no_subtree_check,root_squash)")
    line = line.replace("(N)", "(rw,sync,no_subtree_check,no_root_squash)")
    assert text == f"# Written by provisioner from hosts.toml.\n{line}\n"
    assert "*" not in text


@pytest.mark.parametrize(
    ("etab", "expected"),
    [
        ("", []),
        (KERNEL, ["192.168.56.10", "192.168.56.11", "192.168.56.12"]),
        (f"/srv\t192.168.56.10({OPTIONS})\n", ["192.168.56.10"]),
        (f"/srv/nfs/x\t192.168.56.10({OPTIONS})\n", ["192.168.56.10"]),
        (f"/srv/nfsx\t192.168.56.10({OPTIONS})\n", []),
        (f"/home\t192.168.56.10({OPTIONS})\n", []),
    ],
)
def test_the_exports_in_effect_of_a_folder_a_part_of_it_or_all_above(etab: str, expected: list[str]) -> None:
    assert sorted(nfs_server.exports_in_effect(etab, "/srv/nfs")) == expected


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("/etc/exports", "/srv/nfs 10.0.0.9(rw,sync)\n", ["10.0.0.9"]),
        ("/etc/exports", "/srv/nfs/nfs-01 10.0.0.9(rw) 10.0.0.8\n/home *(ro)\n", ["10.0.0.9", "10.0.0.8"]),
        ("/etc/exports.d/other.exports", "/srv -sync,wdelay \\\n  10.0.0.0/24(rw)\n", ["10.0.0.0/24"]),
        ("/etc/exports", '"/srv/nfs" (ro)\n', ["*"]),
        ("/etc/exports", "# /srv/nfs *(rw)\n/srv/nfsx *(rw)\n\n", []),
    ],
)
def test_other_exports_of_the_folder_are_told_and_left_alone(
    converged: RecordingHost, path: str, text: str, said: list[str]
) -> None:
    """What exportfs has put into effect of them is then no reason for another exportfs."""
    extra = "".join(f"/srv/nfs\t{client}({OPTIONS})\n" for client in said)
    converged.know(files={path: present(text), "/var/lib/nfs/etab": present(KERNEL + extra)})
    changes = drain(STEP, converged)
    assert [change.summary for change in changes] == [
        f"{path} exports /srv/nfs, or a part of it, to {client} too" for client in said
    ]
    assert all(change.by_hand.startswith(f"remove the line from {path} on master") for change in changes)


def test_an_export_by_exportfs_alone_is_ended(converged: RecordingHost) -> None:
    converged.know(files={"/var/lib/nfs/etab": present(f"{KERNEL}/srv/nfs/nfs-01\t10.0.0.9({OPTIONS})\n")})
    assert carry_out(STEP, converged) == [EXPORT]
    assert converged.commands == ["exportfs -ra"]


def test_another_host_can_be_the_server(tmp_path: Path) -> None:
    nfs = '[nfs]\nserver = "worker2"\nvolumes = 1\nsize = "5Gi"\nexport = "/data"\n'
    site = site_at(tmp_path, rest=f"{nfs}[workloads]\nenabled = []")
    _, volume = storage.wanted(site)
    assert volume["spec"]["nfs"] == {"server": "192.168.56.12", "path": "/data/nfs-01"}
    assert volume["spec"]["capacity"] == {"storage": "5Gi"}


def test_the_storage_step(host: RecordingHost) -> None:
    cluster = FakeCluster()
    assert carry_out(storage.STEP, host, cluster) == [
        "apply StorageClass nfs",
        "apply PersistentVolume nfs-01",
        "apply PersistentVolume nfs-02",
    ]
    assert {item["spec"]["storageClassName"] for item in cluster.applied[1:]} == {"nfs"}
    assert drain(storage.STEP, host, cluster) == []


def test_every_volume_has_its_own_directory(tmp_path: Path) -> None:
    site = site_at(tmp_path, rest="[nfs]\nvolumes = 120")
    paths = nfs_server.volume_paths(site)
    assert paths[0] == "/srv/nfs/nfs-01"
    assert paths[-1] == "/srv/nfs/nfs-120"
    assert len(set(paths)) == 120
    assert [item["spec"]["nfs"]["path"] for item in storage.wanted(site)[1:]] == paths


CSI = '[nfs]\nprovisioner = "csi"\n'
DRIVER = [
    {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "kube-system", "generation": 1},
        "spec": {"replicas": 1},
        "status": {
            "observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": 1,
            "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1,
        },
    }
    for kind, name in (("Deployment", "csi-nfs-controller"), ("DaemonSet", "csi-nfs-node"))
]  # fmt: skip


def test_with_csi_the_squashed_root_creates_directories_and_removes_its_own_only(tmp_path: Path) -> None:
    host = fleet_for(STEP, site_at(tmp_path, rest=CSI))["master"]
    give = "make /srv/nfs a directory of root:nogroup with mode 1770"
    assert carry_out(STEP, host)[1] == give
    host.know(files={"/srv/nfs": File(exists=True, mode=0o1770, owner="root:nogroup", is_dir=True)})
    assert give not in carry_out(STEP, host)


def test_a_link_in_a_volumes_place_is_refused(converged: RecordingHost) -> None:
    with pytest.raises(HostError, match="/srv/nfs/nfs-02 must be a directory and not a symbolic link"):
        drain(STEP, converged.know(links=frozenset({"/srv/nfs/nfs-02"})))


class TestScripts:
    """The scripts themselves, as root in a scratch folder."""

    @pytest.fixture
    def export(self, tmp_path: Path) -> Path:
        if os.geteuid() != 0:
            pytest.skip("needs root: changes owners")
        return tmp_path / "a b/nfs"

    def run(self, script: str, export: Path) -> subprocess.CompletedProcess[str]:
        words = ["sh", "-euc", "umask 022\n" + script.replace("/srv/nfs", f"'{export}'")]
        return subprocess.run(words, check=False, capture_output=True, text=True)

    def test_they_make_what_the_facts_ask_for(self, export: Path, host: RecordingHost) -> None:
        volumes = nfs_server.volumes_script(host.site, nfs_server.volume_paths(host.site))
        for _ in range(2):
            assert self.run(nfs_server.root_script(host.site), export).returncode == 0
            assert self.run(volumes, export).returncode == 0
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (export, *export.iterdir(), export.parent)}
        assert found == {"nfs": 0o750, "nfs-01": 0o777, "nfs-02": 0o777, "a b": 0o755}
        assert export.group() == "nogroup"

    @pytest.mark.parametrize("target", ["etc", "missing", "nfs-01"])
    def test_no_planted_link_is_followed(self, export: Path, host: RecordingHost, target: str, tmp_path: Path) -> None:
        secret = tmp_path / "etc"
        secret.mkdir(mode=0o700)
        export.mkdir(parents=True)
        (export / "nfs-01").mkdir()
        (export / "nfs-02").symlink_to(tmp_path / target if target != "nfs-01" else "nfs-01")
        done = self.run(nfs_server.volumes_script(host.site, nfs_server.volume_paths(host.site)), export)
        assert done.returncode != 0
        assert stat.S_IMODE(secret.stat().st_mode) == 0o700
        assert not (tmp_path / "missing").exists()


def test_with_csi_the_driver_is_installed_and_provides_the_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "csi_driver", lambda site: DRIVER if site.nfs.provisioner == "csi" else [])
    static = fleet_for(storage.STEP, site_at(tmp_path))["master"]
    cluster = FakeCluster()
    carry_out(storage.STEP, static, cluster)
    bound = cluster.names("PersistentVolume")
    csi = fleet_for(storage.STEP, site_at(tmp_path, rest=CSI))["master"]
    assert carry_out(storage.STEP, csi, cluster) == [
        "apply Deployment kube-system/csi-nfs-controller",
        "apply DaemonSet kube-system/csi-nfs-node",
        "replace StorageClass nfs: its provisioner or parameters differ",
    ]
    assert cluster.deleted == [("StorageClass", "", "nfs")]
    assert cluster.live("StorageClass", "nfs")["parameters"] == {
        "server": "192.168.56.10",
        "share": "/srv/nfs",
        "subDir": "${pvc.metadata.namespace}-${pvc.metadata.name}-${pv.metadata.name}",
        "mountPermissions": "0777",
    }
    assert cluster.names("PersistentVolume") == bound, "no volume is deleted"
    assert drain(storage.STEP, csi, cluster) == []


MOVED = '[nfs]\nvolumes = 2\nexport = "/data"\n[workloads]\nenabled = []'


def moved_volumes(tmp_path: Path, *claimed: str) -> tuple[RecordingHost, FakeCluster]:
    """Return a host of a site whose export moved, and the cluster before the move."""
    before = fleet_for(storage.STEP, site_at(tmp_path, rest="[nfs]\nvolumes = 2\n[workloads]\nenabled = []"))["master"]
    cluster = FakeCluster()
    carry_out(storage.STEP, before, cluster)
    for name in claimed:
        volume = cluster.live("PersistentVolume", name)
        volume["spec"]["claimRef"] = {"namespace": "course", "name": f"claim-of-{name}"}
    return fleet_for(storage.STEP, site_at(tmp_path, rest=MOVED))["master"], cluster


def test_unclaimed_volumes_move_with_the_export(tmp_path: Path) -> None:
    host, cluster = moved_volumes(tmp_path)
    assert carry_out(storage.STEP, host, cluster) == [
        f"replace PersistentVolume {name}: it is now at 192.168.56.10:/data/{name}, and was never claimed"
        for name in ("nfs-01", "nfs-02")
    ]
    assert cluster.deleted == [("PersistentVolume", "", "nfs-01"), ("PersistentVolume", "", "nfs-02")]
    assert drain(storage.STEP, host, cluster) == []


def test_a_claimed_volume_refuses_the_move_of_all(tmp_path: Path) -> None:
    host, cluster = moved_volumes(tmp_path, "nfs-02")
    with pytest.raises(ClusterError) as raised:
        drain(storage.STEP, host, cluster)
    assert raised.value.message == (
        "PersistentVolume nfs-02 holds the data of claim course/claim-of-nfs-02 at 192.168.56.10:/srv/nfs/nfs-02, "
        "but [nfs] in hosts.toml puts it at 192.168.56.10:/data/nfs-02"
    )
    assert cluster.deleted == []


def test_a_csi_class_of_another_share_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "csi_driver", lambda site: [])
    cluster = FakeCluster()
    carry_out(storage.STEP, fleet_for(storage.STEP, site_at(tmp_path, rest=CSI))["master"], cluster)
    host = fleet_for(storage.STEP, site_at(tmp_path, rest=CSI + 'export = "/data"\n'))["master"]
    assert carry_out(storage.STEP, host, cluster) == ["replace StorageClass nfs: its provisioner or parameters differ"]
    assert cluster.live("StorageClass", "nfs")["parameters"]["share"] == "/data"
