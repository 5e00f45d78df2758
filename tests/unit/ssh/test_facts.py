"""The facts script, run by this machine's sh, and the parser on recorded output."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from provisioner.ssh import FactQuery, HostFacts, facts_parser, facts_script
from provisioner.ssh.facts import File

TOKEN = "0123456789abcdef"

# Output of a Debian 12 Vagrant box (shortened), with the NAT address on eth0 that all boxes share.
VAGRANT = r"""
@T clock
1763820000.500000000

@T proc
/etc/os-release~PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
/etc/os-release~VERSION_ID="12"
/etc/os-release~VERSION_CODENAME=bookworm
/etc/os-release~ID=debian
/etc/machine-id~2c1c5e0f0e7a4a4f9a9d1b7c0f6f2a11
/proc/meminfo~MemTotal:        2031068 kB
/proc/meminfo~MemFree:         1000000 kB
/proc/swaps~Filename				Type		Size		Used		Priority
/proc/swaps~/dev/sda2                               partition	999420		0		-2
/proc/net/route~Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
/proc/net/route~eth0	00000000	0202000A	0003	0	0	0	00000000	0	0	0
/proc/net/route~eth0	0002000A	00000000	0001	0	0	0	00FFFFFF	0	0	0
/proc/mounts~/dev/sda1 / ext4 rw,relatime,errors=remount-ro 0 0
/proc/mounts~cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0
/proc/mounts~master:/srv/with\040space /mnt/a nfs4 rw,vers=4.2 0 0
/proc/sys/kernel/random/boot_id~5b6a7a4e-0000-4000-8000-000000000000
/proc/sys/kernel/hostname~bookworm
/proc/sys/kernel/osrelease~6.1.0-29-amd64
/sys/class/dmi/id/product_uuid~6D8E3F00-AAAA-BBBB-CCCC-000000000001
/sys/devices/system/cpu/online~0-1,4
/proc/sys/net/ipv4/ip_forward~0
/proc/sys/net/ipv4/conf/eth0.100/rp_filter~2
/proc/sys/net/ipv4/conf/all/proxy_arp~0
/proc/sys/net/ipv4/conf/eth0/proxy_arp~1
/proc/sys/net/ipv4/conf/eth1/proxy_arp~0

@T listening
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 00000000000000000000000000000000:192B 00000000000000000000000000000000:0000 0A 00000000:00000000 0:0 0 0

@T processes
containerd
kubelet
kubelet

@T modules
overlay br_netfilter

@T nics
[{"ifname":"lo","flags":["LOOPBACK","UP"],"address":"00:00:00:00:00:00","addr_info":[{"local":"127.0.0.1","prefixlen":8}]},
{"ifname":"eth0","flags":["UP"],"address":"08:00:27:8d:c0:4d","addr_info":[{"local":"10.0.2.15","prefixlen":24}]},
{"ifname":"eth1","flags":[],"master":"br0","address":"08:00:27:00:00:01",
"addr_info":[{"local":"192.168.56.10","prefixlen":24},{"local":"fd00::10","prefixlen":64,"dadfailed":true,"tentative":true}]},{}]

@T packages
dpkg	1.21.22	ii 	amd64
curl	7.88.1	ii 	amd64
kubelet	1.31.2-1.1	hi 	amd64
nano	7.2-1	rc 	amd64
half	1	iF 	amd64

@T dpkg

@T disks
 Avail File
 5000 /
 4000 /var

@T units
Id=kubelet.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
ActiveEnterTimestamp=Sat 2025-11-22 14:00:00 UTC

Id=nope.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
ActiveEnterTimestamp=
"""


def recorded(text: str, query: FactQuery) -> HostFacts:
    output = text.replace("@T ", f"@{TOKEN} ").replace("~", "\0").encode()
    return facts_parser.parse(query, TOKEN, output, sent=1763820000.0, received=1763820000.4)


@pytest.fixture
def vagrant() -> HostFacts:
    return recorded(
        VAGRANT,
        FactQuery(
            units=("kubelet", "nope.service"),
            sysctls=("net.ipv4.ip_forward", "net.ipv4.conf.eth0/100.rp_filter", "net.nope"),
            disks=("/", "/var/lib/etcd"),
        ),
    )


def test_system_facts(vagrant: HostFacts) -> None:
    assert (vagrant.os_id, vagrant.os_version, vagrant.codename, vagrant.arch) == ("debian", "12", "bookworm", "amd64")
    assert (vagrant.kernel, vagrant.hostname) == ("6.1.0-29-amd64", "bookworm")
    assert vagrant.product_uuid == "6d8e3f00-aaaa-bbbb-cccc-000000000001"
    assert (vagrant.cpus, vagrant.memory_mib, vagrant.cgroup) == (3, 1983, 2)
    assert vagrant.swap == ("/dev/sda2",)
    assert vagrant.modules == {"overlay", "br_netfilter"}
    assert vagrant.processes == {"containerd", "kubelet"}


# Shortened output of a kernel with both modules built in: /sys/module has neither.
BUILT_IN = VAGRANT.replace("overlay br_netfilter", "kernel loop nf_conntrack").replace(
    "\n@T listening", "/proc/filesystems~nodev\tproc\n/proc/filesystems~\text4\n@LAST\n@T listening"
)


@pytest.mark.parametrize(
    ("seen", "modules"),
    [
        ("", set()),
        ("/proc/filesystems~nodev\toverlay\n", {"overlay"}),
        ("/proc/sys/net/bridge/bridge-nf-call-iptables~1\n", {"br_netfilter"}),
        ("/proc/sys/net/bridge/bridge-nf-call-iptables~0\n", {"br_netfilter"}),
        ("/proc/filesystems~nodev\toverlayfs\n", set()),
    ],
)
def test_built_in_modules_are_recognized_by_what_they_provide(seen: str, modules: set[str]) -> None:
    facts = recorded(BUILT_IN.replace("@LAST\n", seen), FactQuery())
    assert facts.modules == {"kernel", "loop", "nf_conntrack"} | modules


def test_clock_skew_is_relative_to_the_middle_of_the_round_trip(vagrant: HostFacts) -> None:
    assert vagrant.clock_skew == pytest.approx(0.3)


def test_interfaces_and_routes(vagrant: HostFacts) -> None:
    assert (vagrant.default_nic, vagrant.default_gateway) == ("eth0", "10.0.2.2")
    assert vagrant.listening == {22, 6443}
    nic = vagrant.address_nic("192.168.56.10")
    assert nic is not None
    assert (nic.name, nic.mac, nic.up, nic.master) == ("eth1", "08:00:27:00:00:01", False, "br0")
    assert nic.dad_failed == ("fd00::10/64",)
    assert nic.addresses == ("192.168.56.10/24", "fd00::10/64")
    assert vagrant.address_nic("fd00:0:0::10") == nic
    assert vagrant.address_nic("192.168.56.1") is None
    assert [nic.name for nic in vagrant.nics] == ["lo", "eth0", "eth1"]


def test_proxy_arp_is_set_per_interface_or_for_all(vagrant: HostFacts) -> None:
    assert {nic.name: nic.proxy_arp for nic in vagrant.nics} == {"lo": False, "eth0": True, "eth1": False}
    everywhere = recorded(VAGRANT.replace("conf/all/proxy_arp~0", "conf/all/proxy_arp~1"), FactQuery())
    assert [nic.proxy_arp for nic in everywhere.nics] == [True, True, True]
    unknown = "\n".join(line for line in VAGRANT.split("\n") if "proxy_arp" not in line)
    assert [nic.proxy_arp for nic in recorded(unknown, FactQuery()).nics] == [None, None, None]


def test_the_ipv6_default_route_is_used_without_an_ipv4_one() -> None:
    v6 = "fd00000000000000000000000000fe01"
    zero = "0" * 32
    route = f"{zero} 00 {zero} 00 {v6} 00000400 00000001 00000000 00000003     eth1\n"
    unreachable = f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
    lines = [line for line in VAGRANT.splitlines(keepends=True) if "/proc/net/route~eth0" not in line]
    text = "".join(lines).replace(
        "/proc/mounts~/dev/sda1",
        f"/proc/net/ipv6_route~{unreachable}/proc/net/ipv6_route~{route}/proc/mounts~/dev/sda1",
    )
    facts = recorded(text, FactQuery())
    assert (facts.default_nic, facts.default_gateway) == ("eth1", "fd00::fe01")


def test_only_installed_packages_are_listed(vagrant: HostFacts) -> None:
    assert set(vagrant.packages) == {"dpkg", "curl", "kubelet"}  # not half-configured, not removed
    assert vagrant.packages["kubelet"].held
    assert not vagrant.packages["curl"].held
    assert "nano" not in vagrant.packages


def test_units_are_returned_by_the_names_of_the_query(vagrant: HostFacts) -> None:
    kubelet, nope = vagrant.units["kubelet"], vagrant.units["nope.service"]
    assert (kubelet.active, kubelet.enabled, kubelet.loaded) == (True, True, True)
    assert (nope.active, nope.enabled, nope.loaded) == (False, False, False)


def test_sysctls_mounts_and_disks(vagrant: HostFacts) -> None:
    assert vagrant.sysctls == {"net.ipv4.ip_forward": "0", "net.ipv4.conf.eth0/100.rp_filter": "2"}
    assert vagrant.mounts["/mnt/a"].source == "master:/srv/with space"
    assert vagrant.disk_free_mib == {"/": 5000, "/var/lib": 4000, "/var/lib/etcd": 4000}


def test_truncated_output_is_refused() -> None:
    with pytest.raises(ValueError, match="truncated"):
        recorded(VAGRANT[: VAGRANT.index("@T disks")], FactQuery())


def test_an_interrupted_dpkg_is_detected_unless_dpkg_is_running() -> None:
    assert not recorded(VAGRANT, FactQuery()).dpkg_interrupted
    half = VAGRANT.replace("@T dpkg\n", "@T dpkg\ninterrupted\n")
    assert recorded(half, FactQuery()).dpkg_interrupted
    running = half.replace("@T processes\n", "@T processes\ndpkg\n")
    assert not recorded(running, FactQuery()).dpkg_interrupted


# --- on this machine ----------------------------------------------------------------------------------------------

needs_debian = pytest.mark.skipif(not all(map(shutil.which, ("dpkg-query", "ip"))), reason="needs dpkg and iproute2")


def here(query: FactQuery) -> HostFacts:
    token = facts_parser.new_token()
    sent = time.time()
    done = subprocess.run(
        ["sh", "-euc", facts_script.script(query, token)], capture_output=True, check=True, stdin=subprocess.DEVNULL
    )
    assert done.stderr == b""
    return facts_parser.parse(query, token, done.stdout, sent, time.time())


@needs_debian
def test_a_sysctl_that_every_query_reads_is_read_once() -> None:
    path = Path(facts_script.BRIDGE_NETFILTER)
    facts = here(FactQuery(sysctls=("net.bridge.bridge-nf-call-iptables",)))
    expected = {"net.bridge.bridge-nf-call-iptables": path.read_text().strip()} if path.exists() else {}
    assert facts.sysctls == expected
    assert not expected or "br_netfilter" in facts.modules


@needs_debian
def test_script_on_this_machine(tmp_path: Path) -> None:
    odd = tmp_path / "a file's $name"
    odd.write_text("line\nno newline at end")
    odd.chmod(0o640)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\0\n@x clock\n")
    large = tmp_path / "large"
    large.write_bytes(b"x" * (facts_script.MAX_CONTENT + 1))
    limit = tmp_path / "limit"
    limit.write_bytes(b"y" * facts_script.MAX_CONTENT)
    empty = tmp_path / "empty"
    empty.touch()
    (tmp_path / "link").symlink_to(odd)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    start = time.time()
    facts = here(
        FactQuery(
            files=(f"{tmp_path}/*", f"{tmp_path}/[z]*", str(tmp_path / "missing"), "/proc/version"),
            exists=(str(tmp_path), "/missing"),
            packages=("base-files", "no-such-package"),
            units=("ssh.service", "no-such.service"),
            sysctls=("kernel.pid_max", "net.ipv4.ip_local_port_range"),
            disks=(str(tmp_path / "not" / "yet"),),
        )
    )
    elapsed = time.time() - start
    assert facts.files[str(odd)].content == "line\nno newline at end"
    assert (facts.files[str(odd)].mode, facts.files[str(odd)].is_dir) == (0o640, False)
    assert facts.files[str(odd)].mtime == pytest.approx(odd.stat().st_mtime)
    assert facts.files[str(tmp_path / "link")].content == "line\nno newline at end"
    assert facts.files[str(binary)].content is None
    assert facts.files[str(binary)].sha256 == hashlib.sha256(binary.read_bytes()).hexdigest()
    assert facts.files[str(large)].content is None
    assert facts.files[str(large)].sha256 == hashlib.sha256(large.read_bytes()).hexdigest()
    assert facts.files[str(limit)].content == "y" * facts_script.MAX_CONTENT
    assert facts.files[str(empty)].content == ""
    assert facts.files[str(tmp_path / "missing")] == File(exists=False)
    assert facts.files[str(tmp_path)].is_dir
    assert not any("[z]" in path for path in facts.files)
    assert facts.files["/proc/version"].content == Path("/proc/version").read_text()
    assert "base-files" in facts.packages
    assert "no-such-package" not in facts.packages
    assert set(facts.units) == {"ssh.service", "no-such.service"}
    assert not facts.units["no-such.service"].loaded
    assert facts.sysctls["kernel.pid_max"] == Path("/proc/sys/kernel/pid_max").read_text().strip()
    assert facts.disk_free_mib["/"] > 0
    assert facts.disk_free_mib[str(tmp_path / "not" / "yet")] >= 0
    assert facts.cpus == len(os.sched_getaffinity(0)) or facts.cpus > 0
    assert abs(facts.clock_skew) <= (elapsed + 1) / 2, "the clock was read during the round trip"
    assert facts.arch
    switch = (
        Path("/proc/sys/net/ipv4/conf/lo/proxy_arp").read_text()
        + Path("/proc/sys/net/ipv4/conf/all/proxy_arp").read_text()
    )
    assert {nic.name: nic.proxy_arp for nic in facts.nics}["lo"] is ("1" in switch)
    assert facts.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@needs_debian
def test_more_files_take_no_more_processes(tmp_path: Path) -> None:
    """A fork costs some 10 ms on an emulated machine."""

    def forks(count: int) -> int:
        for number in range(count):
            (tmp_path / str(number)).write_text("x")
        query = FactQuery(files=tuple(str(tmp_path / str(number)) for number in range(count)), packages=("bash",))
        counter = "cat /proc/sys/kernel/ns_last_pid >&2\n"
        script = counter + facts_script.script(query, TOKEN).replace("exec 2>/dev/null", "").replace("exit 0", counter)
        words = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc", "sh", "-uc", script]
        done = subprocess.run(words, capture_output=True, text=False, check=False, stdin=subprocess.DEVNULL)
        numbers = [int(line) for line in done.stderr.split(b"\n") if line.strip().isdigit()]
        if done.returncode or len(numbers) != 2:
            pytest.skip(f"cannot count processes here: {done.stderr[-200:]!r}")
        return numbers[1] - numbers[0]

    assert forks(50) == forks(1)


def test_the_repr_of_a_file_hides_its_content() -> None:
    assert "secret" not in repr(File(exists=True, content="secret"))
