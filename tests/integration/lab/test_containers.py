"""A small lab of containers: nodes like machines, apart from the host, and a host that is afterwards as before."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab import background, guest, lifecycle, links, network, requirements, snapshots
from provisioner.lab.containers import cgroups
from provisioner.lab.kinds import KINDS
from provisioner.lab.links import Fault
from provisioner.lab.spec import LabSpec
from tests import labs

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, cgroups and a Debian image"),
    pytest.mark.skipif(
        bool(requirements.missing_programs("containers")),
        reason=f"needs {requirements.missing_programs('containers')}",
    ),
]
CHECKOUT = Path(__file__).resolve().parents[3]
UP = """
import sys
from pathlib import Path
from provisioner.lab import lifecycle
from provisioner.lab.spec import LabSpec

lifecycle.up(LabSpec(Path(sys.argv[1]), sys.argv[2], workers=1, nodes="containers"), None, progress=print)
"""
# Counters and clocks, which change by themselves.
RESTLESS = ("kernel/random/", "fs/dentry-state", "fs/file-nr", "fs/inode-nr", "fs/inode-state", "fs/quota/",
            "kernel/ns_last_pid", "kernel/pty/nr", "vm/stat_refresh", "net/netfilter/nf_conntrack_count",
            "fs/aio-nr", "debug/", "kernel/perf_event_max_sample_rate", "fs/mqueue")  # fmt: skip


def say(text: str) -> None:
    print(text, file=sys.stderr)


def sysctls() -> dict[str, str]:
    found = {}
    for path in Path("/proc/sys").rglob("*"):
        name = str(path.relative_to("/proc/sys"))
        if path.is_file() and not name.startswith(RESTLESS):
            try:
                found[name] = path.read_text()
            except OSError:
                continue
    return found


def mounts() -> list[str]:
    """List the host's mounts, without the network namespaces of others and the mount that holds all of them."""
    fields = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    others = [line for line in fields if line[4] != "/run/netns" and ("nsfs" not in line or "pytest" in line[4])]
    return sorted(" ".join(line[2:]) for line in others)


def host() -> dict[str, object]:
    """Return what a lab might change on its host."""
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    loops = subprocess.run(["losetup", "--list", "--noheadings"], capture_output=True, text=True, check=True).stdout
    modules = Path("/proc/modules")
    names = [line.split()[0] for line in modules.read_text().splitlines()] if modules.exists() else []
    return {
        "sysctls": sysctls(),
        "modules": names,
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").rglob(f"{cgroups.PREFIX}pytest*")),
        "mounts": mounts(),
        "links": sorted(links.splitlines()),
        "namespaces": sorted(path.name for path in Path("/run/netns").glob("pytest*")),
        "loops": sorted(line for line in loops.splitlines() if "/pytest" in line),
        "hostname": os.uname().nodename,
    }


@pytest.fixture(scope="module", autouse=True)
def host_as_before() -> Iterator[None]:
    """Compare the host before and after all of this module's labs."""
    labs.clear()
    before = host()
    yield
    assert host() == before


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, host_as_before: None) -> Iterator[LabSpec]:
    del host_as_before
    directory = tmp_path_factory.mktemp("lab")
    wanted = LabSpec(
        directory, labs.named("c"), workers=1, nodes="containers", os="debian12,debian13", disk=4096,
        extras="dual-stack,second-nic",
    )  # fmt: skip
    try:
        yield lifecycle.up(wanted, None, progress=say)
    finally:
        lifecycle.destroy(wanted)


def attempt(lab: LabSpec, name: str, command: str) -> "subprocess.CompletedProcess[str]":
    argv = guest.ssh_command(lab, lab.vm(name), [command])
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def on(lab: LabSpec, name: str, command: str) -> str:
    done = attempt(lab, name, command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nodes_look_like_machines(lab: LabSpec) -> None:
    for vm in lab.vms:
        seen = on(lab, vm.name, "ip -brief -4 address; ip -brief link; ip route; hostname; cat /proc/1/comm")
        for part in ("10.0.2.15/24", f"{vm.address}/24", vm.mac, "default via 10.0.2.2 dev eth0", vm.name, "systemd"):
            assert part in seen
        assert on(lab, vm.name, "systemctl is-system-running --wait || systemctl --failed") == "running"
        assert on(lab, vm.name, "sudo modprobe -a overlay veth nf_conntrack && echo loaded") == "loaded"


def pings(lab: LabSpec, name: str, address: str) -> bool:
    return attempt(lab, name, f"ping -n -c 1 -W 2 {address}").returncode == 0


def test_the_segment_has_ipv6_and_each_node_a_second_nic(lab: LabSpec) -> None:
    for vm in lab.vms:
        port, mac = vm.ports["eth2"]
        assert port == f"tap2-{vm.name}"
        seen = on(lab, vm.name, "ip -brief address show eth1; ip -brief address show eth2; ip -brief link show eth2")
        for part in (f"{vm.address6}/64", f"{vm.second}/24", mac):
            assert part in seen
    master, worker = lab.vms
    for address in (worker.address6, worker.second, worker.address):
        assert pings(lab, "master", address), address
        assert network.listens(lab.operator, address, 22), address
    assert master.address6 != worker.address6


def test_faults_on_links(lab: LabSpec) -> None:
    worker = lab.vms[1]
    on(lab, "worker1", "sudo systemd-run --quiet --collect --unit web python3 -m http.server 8080")
    page = f"curl -s -o /dev/null --max-time 2 --retry 3 --retry-connrefused http://{worker.address}:8080/"
    assert attempt(lab, "master", page).returncode == 0
    try:
        links.put(lab, "worker1", Fault(block=("tcp/8080",)))
        assert attempt(lab, "master", page).returncode != 0
        assert pings(lab, "master", worker.address), "only that port"
        links.put(lab, "worker1", Fault(block=("master",)))
        for address in (worker.address, worker.address6, worker.second):
            assert not pings(lab, "master", address), address
        assert on(lab, "worker1", "hostname") == "worker1", "the operator still reaches both"
        links.put(lab, "worker1", Fault(loss=100))
        assert lifecycle.status(lab).vms[1].state == "running"
        assert not pings(lab, "master", worker.address)
        assert links.faults(lab) == {"worker1": Fault(loss=100)}
    finally:
        links.put(lab, "worker1", Fault())
    assert links.faults(lab) == {}
    # A neighbor that did not answer is asked again after a while.
    assert background.wait_until(lambda: pings(lab, "master", worker.address), 60)
    assert attempt(lab, "master", page).returncode == 0


def test_a_delayed_link_or_why_not(lab: LabSpec) -> None:
    worker = lab.vms[1]
    tried = ["tc qdisc add dev lo root netem delay 1ms ", " tc qdisc del dev lo root"]
    has_netem = all(
        subprocess.run(network.inside(lab.operator, words.split()), capture_output=True, check=False).returncode == 0
        for words in tried
    )
    if not has_netem:
        with pytest.raises(ProvisionerError) as refusal:
            links.put(lab, "worker1", Fault(delay=300))
        assert "netem" in refusal.value.remedy
        assert links.faults(lab) == {}
        return
    links.put(lab, "worker1", Fault(delay=300))
    times = on(lab, "master", f"ping -n -c 2 -W 5 {worker.address} | tail -1")
    assert float(times.split("=")[1].split("/")[0]) >= 300
    links.put(lab, "worker1", Fault())
    assert "netem" not in network.ip("-n", lab.namespace, "link", "show", worker.tap)


def test_nodes_are_unlike_each_other(lab: LabSpec) -> None:
    facts = "cat /etc/machine-id /proc/sys/kernel/random/boot_id; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub"
    master, worker = (on(lab, name, facts).splitlines() for name in ("master", "worker1"))
    assert len(master) == 3
    assert not set(master) & set(worker)


def test_a_node_cannot_reach_the_hosts_files(lab: LabSpec) -> None:
    status = Path("/").stat()
    disk = f"b {os.major(status.st_dev)} {os.minor(status.st_dev)}"
    on(
        lab,
        "worker1",
        f"sudo sh -c 'rm -f /root/d; mknod /root/d {disk}; mkdir -p /mnt/d; mount -t devtmpfs d /mnt/d'",
    )
    for command in (
        f"test -e {lab.directory}",
        "sudo head -c 1 /root/d",
        "sudo mount /root/d /mnt",
        "sudo sh -c 'cat /mnt/d/vda /mnt/d/sda /mnt/d/nvme0n1 /mnt/d/loop*'",
        "sudo sh -c 'echo a > /sys/fs/cgroup/devices/devices.allow; head -c 1 /root/d'",
        "sudo sh -c 'echo hello > /dev/kmsg'",
    ):
        assert attempt(lab, "worker1", command).returncode != 0, command
    roots = on(lab, "worker1", "sudo readlink /proc/1/root; sudo findmnt -n -o SOURCE,FSTYPE /")
    assert roots.split()[0] == "/"
    assert roots.split()[1].startswith("/dev/loop")


def test_a_node_sees_no_process_but_its_own(lab: LabSpec) -> None:
    seen = on(lab, "worker1", "ps -e -o args=")
    assert "pytest" not in seen
    assert "slirp4netns" not in seen


def test_the_hosts_settings_are_not_the_nodes_to_change(lab: LabSpec) -> None:
    panic = Path("/proc/sys/kernel/panic").read_text()
    on(lab, "worker1", "sudo sysctl -w kernel.panic=17 vm.overcommit_memory=1 net.ipv4.ip_forward=1")
    assert Path("/proc/sys/kernel/panic").read_text() == panic
    for command in ("sudo sysctl -w vm.swappiness=7", "sudo date -s @0", "sudo sh -c 'echo x > /proc/sysrq-trigger'"):
        attempt(lab, "worker1", command)
    assert time.time() > 1_700_000_000
    assert Path("/proc/sys/vm/swappiness").read_text().strip() != "7"


def test_a_disk_has_a_limit_of_its_own(lab: LabSpec) -> None:
    size = int(on(lab, "worker1", "df --output=size -B1 / | tail -1"))
    assert 3 << 30 < size < 4 << 30


def test_each_machine_runs_its_system(lab: LabSpec) -> None:
    assert [vm.os for vm in lab.vms] == ["debian12", "debian13"]
    assert on(lab, "master", ". /etc/os-release; echo $ID$VERSION_ID") == "debian12"
    assert on(lab, "worker1", ". /etc/os-release; echo $ID$VERSION_ID") == "debian13"
    assert on(lab, "worker1", "wc -c < /etc/apt/sources.list") == "0"
    assert "Suites: trixie\n" in on(lab, "worker1", "cat /etc/apt/sources.list.d/debian.sources")


def test_a_node_reboots(lab: LabSpec) -> None:
    pid = lifecycle.status(lab).vms[1].pid
    boot = on(lab, "worker1", "touch kept; cat /proc/sys/kernel/random/boot_id")
    attempt(lab, "worker1", "sudo systemctl reboot")
    ask = "cat /proc/sys/kernel/random/boot_id"
    assert background.wait_until(lambda: attempt(lab, "worker1", ask).stdout.strip() not in ("", boot), 60)
    on(lab, "worker1", "ls kept")
    assert lifecycle.status(lab).vms[1].pid == pid


def test_power_cut_and_start(lab: LabSpec) -> None:
    on(lab, "worker1", "echo kept > kept; sync")
    lifecycle.power_off(lab, "worker1")
    assert [row.state for row in lifecycle.status(lab).vms] == ["running", "off"]
    assert cgroups.processes(lab.name, "worker1") == ()
    port = subprocess.run(["ip", "-n", lab.namespace, "link", "show", lab.vm("worker1").tap], check=False)
    assert port.returncode != 0, "the kernel of a node without power would still answer for its addresses"
    lifecycle.start(lab, "worker1", say)
    assert on(lab, "worker1", "cat kept") == "kept"


def test_a_supervisor_killed_takes_its_node_along(lab: LabSpec) -> None:
    pid = lifecycle.status(lab).vms[1].pid
    assert pid
    background.kill(pid)
    assert background.wait_until(lambda: cgroups.processes(lab.name, "worker1") == (), 10)
    lifecycle.up(lab, None, progress=say)
    assert on(lab, "worker1", "hostname") == "worker1"


def test_snapshot_and_restore(lab: LabSpec) -> None:
    on(lab, "master", "echo before > marker")
    snapshots.snapshot(lab, "mark", say)
    assert snapshots.list_snapshots(lab) == ("mark",)
    on(lab, "master", "echo after > marker; sync")
    on(lab, "worker1", "touch new; sync")
    lifecycle.power_off(lab, "worker1")
    snapshots.restore(lab, "mark", say)
    assert on(lab, "master", "cat marker") == "before"
    assert on(lab, "worker1", "ls -A | grep new || true") == ""


def test_a_frozen_node_is_woken_by_up(lab: LabSpec) -> None:
    cgroups.freeze(lab.name, "worker1")
    assert [row.state for row in lifecycle.status(lab).vms] == ["running", "paused"]
    lifecycle.up(lab, None, progress=say)
    assert [row.state for row in lifecycle.status(lab).vms] == ["running", "running"]
    assert on(lab, "worker1", "hostname") == "worker1"


def test_down_keeps_disks_and_up_starts_them(lab: LabSpec) -> None:
    on(lab, "master", "echo kept > kept")
    lifecycle.down(lab, say)
    assert all(row.state == "off" for row in lifecycle.status(lab).vms)
    assert cgroups.processes(lab.name) == ()
    lifecycle.up(lab, None, progress=say)
    assert on(lab, "master", "cat kept") == "kept"


def test_nothing_leads_out(lab: LabSpec) -> None:
    # 192.0.2.0/24 (RFC 5737) is nobody's.
    route = subprocess.run(
        ["ip", "-n", lab.namespace, "route", "get", "192.0.2.1"], capture_output=True, text=True, check=False
    )
    assert route.returncode != 0, route.stdout
    refused = "timeout 5 bash -c '</dev/tcp/192.0.2.1/80'"
    assert attempt(lab, "worker1", refused).returncode != 0


def test_killed_at_any_moment_and_destroyed_without_trace(tmp_path: Path, host_as_before: None) -> None:
    del host_as_before
    before = host()
    wanted = LabSpec(tmp_path / "lab", labs.named("l"), workers=1, nodes="containers")
    for seconds in (0.4, 0.8, 1.2, 1.6, 2.0, 2.5, 3.0, 3.5, 4.0):
        run = subprocess.Popen([sys.executable, "-c", UP, wanted.directory, wanted.name], cwd=CHECKOUT)
        background.wait_until(lambda run=run: run.poll() is not None, seconds, pause=0.05)  # type: ignore[misc]
        run.send_signal(signal.SIGKILL)
        run.wait()
        remains = lifecycle.find_remains(wanted.directory)
        if remains and seconds in (1.6, 3.0):
            lifecycle.destroy(remains)
            assert KINDS["containers"].orphans(wanted) == ()
            assert host() == before
    try:
        spec = lifecycle.up(wanted, None, progress=say)
        assert on(spec, "worker1", "hostname") == "worker1"
        assert len(KINDS["containers"].orphans(spec)) == 2
    finally:
        lifecycle.destroy(wanted)
    assert not wanted.directory.exists()
    assert not wanted.run.exists()
    assert not network.exists(wanted.namespace)
    assert host() == before


def test_a_lab_whose_folder_was_deleted_is_destroyed(tmp_path: Path, host_as_before: None) -> None:
    import shutil

    del host_as_before
    before = host()
    spec = LabSpec(tmp_path / "lab", labs.named("g"), workers=0, nodes="containers")
    lifecycle.up(spec, None, progress=say)
    shutil.rmtree(spec.directory)
    remains = lifecycle.find_remains(spec.directory)
    assert remains is not None
    lifecycle.destroy(remains)
    assert host() == before
