"""NFS in user space between nodes: what the nfs step exports, another node mounts, writes, locks, and keeps."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from provisioner.lab import apt, background, guest, lifecycle, requirements
from provisioner.lab.containers import kernel
from provisioner.lab.spec import LabSpec
from provisioner.site import load_site
from provisioner.steps import nfs_server
from tests import labs

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, cgroups and a Debian image"),
    pytest.mark.skipif(
        bool(requirements.missing_programs("containers")),
        reason=f"needs {requirements.missing_programs('containers')}",
    ),
]
# What `apt-get install nfs-kernel-server` adds to the lab's image.
PACKAGES = ("keyutils", "libevent-core-2.1-7", "libnfsidmap1", "nfs-common", "nfs-kernel-server", "rpcbind")
SHARE = "/srv/nfs/nfs-01"
AT = "/mnt/volume"
# As the kubelet does it (pkg/util/mount/mount_linux.go).
MOUNT = f"systemd-run --scope -- mount -t nfs -o hard,nfsvers=4.2 192.168.56.10:{SHARE} {AT}"
POD = "setpriv --reuid 1000 --regid 2000 --groups 2000,3000"
# Prints a number once its line is on the server's disk, and how long that took at most.
WRITER = f"""\
import os, sys
log = open("{AT}/log", "ab", buffering=0)
for number in range(int(sys.argv[1])):
    log.write(b"%d\\n" % number)
    os.fsync(log.fileno())
    with open("{AT}/closed", "a") as other:
        other.write("%d\\n" % number)
    print(number, flush=True)
"""


def say(text: str) -> None:
    print(text, file=sys.stderr)


def attempt(lab: LabSpec, name: str, command: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    argv = guest.ssh_command(lab, lab.vm(name), [f"sudo sh -c {shlex.quote(command)}"])
    return subprocess.run(argv, input=stdin, capture_output=True, check=False)


def on(lab: LabSpec, name: str, command: str, stdin: bytes = b"") -> str:
    done = attempt(lab, name, command, stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabSpec]:
    """A lab of a server and two clients with the packages that `prepare` installs."""
    labs.clear()
    wanted = LabSpec(tmp_path_factory.mktemp("lab"), labs.named("n"), workers=2, nodes="containers")
    debs = tmp_path_factory.mktemp("debs")
    apt.download(PACKAGES, "bookworm", debs)
    archive = subprocess.run(
        ["tar", "-cf", "-", *(path.name for path in debs.glob("*.deb"))], cwd=debs, capture_output=True, check=True
    ).stdout
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "has_nfs", lambda: False)
        try:
            made = lifecycle.up(wanted, None, progress=say)
            install = "mkdir -p /root/debs && tar -xf - -C /root/debs && cd /root/debs"
            quiet = "DEBIAN_FRONTEND=noninteractive dpkg -i"
            on(made, "master", f"{install} && {quiet} *.deb", archive)
            for name in ("worker1", "worker2"):
                on(made, name, f"{install} && rm nfs-kernel-server_*.deb && {quiet} *.deb", archive)
            yield made
        finally:
            lifecycle.destroy(wanted)


def export(lab: LabSpec, clients: tuple[str, ...]) -> None:
    """Export to these clients as the nfs step does."""
    site = load_site(lab.site)
    options = ",".join(nfs_server.options(site))
    text = f"/srv/nfs {' '.join(f'{client}({options})' for client in clients)}\n"
    on(lab, "master", f"mkdir -p {SHARE} /etc/exports.d /etc/nfs.conf.d && chmod 0777 {SHARE}")
    on(lab, "master", f"cat > {nfs_server.EXPORTS}", text.encode())
    on(lab, "master", f"cat > {nfs_server.CONFIG}", b"[mountd]\nmanage-gids = n\n")
    on(lab, "master", "systemctl is-active nfs-server || systemctl enable --now nfs-server")
    on(lab, "master", "exportfs -ra")
    etab = on(lab, "master", f"cat {nfs_server.ETAB}")
    assert set(nfs_server.exports_in_effect(etab, "/srv/nfs")) == set(clients)


@pytest.fixture(scope="module")
def mounted(lab: LabSpec) -> LabSpec:
    """The volume on both workers."""
    site = load_site(lab.site)
    export(lab, tuple(nfs_server.clients_of(site)))
    on(lab, "master", "systemctl restart nfs-server")  # as needs_restart has it: nfs.conf is new
    for name in ("worker1", "worker2"):
        on(lab, name, f"mkdir -p {AT} && {MOUNT}")
    return lab


def test_the_server_is_in_order(mounted: LabSpec) -> None:
    for name in ("master", "worker1"):
        assert on(mounted, name, "systemctl is-system-running --wait || systemctl --failed") == "running"
    assert on(mounted, "master", "systemctl is-active nfs-server") == "active"
    assert on(mounted, "master", "systemctl is-enabled nfs-server") == "enabled"
    assert "/srv/nfs" in on(mounted, "master", "exportfs -v")
    assert f"192.168.56.10:{SHARE} {AT} fuse.nfs4 rw" in on(mounted, "worker1", "cat /proc/mounts")


def test_what_one_node_writes_another_reads_as_the_same_user(mounted: LabSpec) -> None:
    on(mounted, "worker1", f"{POD} sh -c 'umask 007; echo first > {AT}/a && chgrp 3000 {AT}/a'")
    assert on(mounted, "worker2", f"{POD} cat {AT}/a") == "first"
    assert on(mounted, "master", f"stat -c '%u %g %a' {SHARE}/a") == "1000 3000 660"
    peer = "setpriv --reuid 4000 --regid 4000 --groups 3000"
    on(mounted, "worker2", f"{peer} sh -c 'echo second >> {AT}/a'")
    assert on(mounted, "worker1", f"{POD} cat {AT}/a").splitlines() == ["first", "second"]
    stranger = "setpriv --reuid 5000 --regid 5000 --clear-groups"
    assert b"Permission denied" in attempt(mounted, "worker2", f"{stranger} cat {AT}/a").stderr
    on(mounted, "worker1", f"{POD} sh -c 'mv {AT}/a {AT}/b && ln -s b {AT}/link'")
    assert on(mounted, "worker2", f"{POD} cat {AT}/link").splitlines() == ["first", "second"]


def test_root_is_squashed(mounted: LabSpec) -> None:
    on(mounted, "worker1", f"echo x > {AT}/of-root")
    assert on(mounted, "master", f"stat -c '%U %G' {SHARE}/of-root") == "nobody nogroup"
    assert attempt(mounted, "worker1", f"chown 7 {AT}/of-root").returncode != 0


def test_locks_hold_between_nodes(mounted: LabSpec) -> None:
    argv = guest.ssh_command(
        mounted, mounted.vm("worker1"), [f"sudo flock {AT}/lock sh -c {shlex.quote('echo locked; cat')}"]
    )
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        assert attempt(mounted, "worker2", f"flock -n {AT}/lock true").returncode == 1
        holder.communicate("")
    on(mounted, "worker2", f"flock {AT}/lock true")


def test_a_file_that_is_removed_while_it_is_open_stays_readable(mounted: LabSpec) -> None:
    read = on(mounted, "worker1", f"echo kept > {AT}/open; exec 5< {AT}/open; rm {AT}/open; cat <&5; ls -A {AT}")
    assert read.splitlines()[0] == "kept"
    assert ".nfs" in read
    assert ".nfs" not in on(mounted, "worker1", f"ls -A {AT}")


def test_writes_survive_a_crash_and_a_restart_of_the_server(mounted: LabSpec) -> None:
    """The program waits and goes on; whatever was told to be on the disk is there, once and in order."""
    on(mounted, "worker1", "cat > /root/writer.py", WRITER.encode())
    argv = guest.ssh_command(mounted, mounted.vm("worker1"), ["sudo python3 /root/writer.py 60"])
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert [int(writer.stdout.readline()) for _ in range(10)] == list(range(10))
        on(mounted, "master", "systemctl kill -s KILL nfs-server; systemctl restart nfs-server")
        assert [int(writer.stdout.readline()) for _ in range(20)] == list(range(10, 30))
        on(mounted, "master", "systemctl restart nfs-server")
        rest, _ = writer.communicate()
    assert rest.split() == [str(number) for number in range(30, 60)]
    for name in ("log", "closed"):
        kept = on(mounted, "master", f"cat {SHARE}/{name}").split()
        assert kept == [str(number) for number in range(60)]


def test_an_address_that_is_not_exported_to_is_refused(mounted: LabSpec) -> None:
    on(mounted, "worker2", f"umount {AT}")
    export(mounted, ("192.168.56.10", "192.168.56.11"))
    refused = attempt(mounted, "worker2", f"mount -t nfs -o nfsvers=4.1,soft,retry=0 192.168.56.10:{SHARE} {AT}")
    assert refused.returncode == 32
    assert b"access denied by server" in refused.stderr
    assert on(mounted, "worker1", f"ls {AT}"), "the other one still has it"
    export(mounted, ("192.168.56.10", "192.168.56.11", "192.168.56.12"))
    on(mounted, "worker2", f"mount -t nfs4 -o ro 192.168.56.10:{SHARE} {AT}")
    assert b"Read-only file system" in attempt(mounted, "worker2", f"touch {AT}/new").stderr


def is_clean(lab: LabSpec, name: str) -> bool:
    return attempt(lab, name, "! grep fuse.nfs4 /proc/mounts && ! pgrep -f provisioner.lab.nf[s]").returncode == 0


def test_a_dead_server_can_be_unmounted_and_nothing_is_left(mounted: LabSpec) -> None:
    on(mounted, "worker1", f"umount {AT}")
    on(mounted, "master", "systemctl stop nfs-server")
    assert on(mounted, "master", f"cat {nfs_server.ETAB}") == ""
    on(mounted, "worker2", f"umount {AT}")
    for name in ("worker1", "worker2"):
        assert background.wait_until(partial(is_clean, mounted, name), 60)
        assert on(mounted, name, "ls -A /run/nfs-mounts") == ""
