"""Every mistake in hosts.toml: its line, its message, its remedy."""
# ruff: noqa: E501 - a table reads better with one case per line

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.catalogue import newest_patches
from provisioner.errors import ProvisionerError
from provisioner.site import SiteErrors, load_site, parse_site
from provisioner.version import Version
from tests.unit.site.site_texts import MASTER, WORKER, errors

MINORS = sorted(newest_patches(), key=Version.parse)
SUPPORTED = f"{MINORS[0]} to {MINORS[-1]} are supported"
HOSTS = MASTER + WORKER  # 8 lines; what a case adds begins on line 9

# (the file, the line, "key: what is wrong; remedy" without the file and the line)
SINGLE: dict[str, tuple[str, int, str]] = {
    "not toml": ("[cluster]\nname = lab\n", 2, "is not valid TOML: invalid value; write strings in quotes"),
    "unclosed quotes": ('[cluster]\nname = "lab\n\n', 2, "is not valid TOML: illegal character"),
    "unclosed text": ('[cluster]\nname = """\nlab\n\n', 2, "is not valid TOML: unterminated string; add the closing quotes"),
    "unclosed list": ("a = [\n1,\n2\n", 1, "is not valid TOML: unclosed array; add the closing bracket"),
    "key twice": ("[cluster]\nname = 'a'\nname = 'b'\n", 3, "the key is defined twice"),
    "table twice": (f"[cluster]\n{HOSTS}[cluster]\n", 10, "the table is defined twice"),
    "not utf-8": ("[cluster]\nname = '\udcff'\n", 2, "is not valid UTF-8; save the file as UTF-8"),
    "nothing": ("", 1, "hosts: no host is defined; add a [[hosts]] table for each"),
    "empty hosts": ("hosts = []\n", 1, "hosts: is empty; define it as a table under [[hosts]]"),
    "unknown table": (HOSTS + "[metalb]\n", 9, 'metalb: unknown table; did you mean "metallb"?'),
    "unknown table, nothing near": (HOSTS + "[zzz]\n", 9, "zzz: unknown table; the tables of hosts.toml are cluster, ssh,"),
    "unknown key": (HOSTS + "[cluster]\npod-cdr = 1\n", 10, 'cluster.pod-cdr: unknown key; did you mean "pod_'),
    "key of another table": (HOSTS + "[nfs]\npod_cidr = 1\n", 10, "unknown key here; it belongs under [cluster]"),
    "unknown key of a host": (HOSTS + "role = 1\n", 9, 'hosts[1].role: unknown key; did you mean "roles"?'),
    "unknown key of a pool": (HOSTS + "[[metallb.pools]]\nname='a'\naddresses=['192.0.2.0/24']\nx=1\n", 12, "pools[0].x: "),
    "text for a number": (HOSTS + '[ssh]\nport = "22"\n', 10, 'ssh.port: "22" is a string, expected an integer; set port = 22'),
    "number for text": (HOSTS + "[cluster]\nname = 5\n", 10, 'is an integer, expected a string; set name = "5"'),
    "fraction for a version": (HOSTS + "[cluster]\nkubernetes = 1.20\n", 10, '1.2 is a float, expected a string; set kubernetes = "1.20"'),
    "fraction with a comment": (HOSTS + "[metallb]\nversion = 0.10 # old\n", 10, 'expected a string; set version = "0.10"'),
    "table for a list, twice": ("[hosts]\nname = 'a'\n[hosts]\nname = 'b'\n", 3, "twice; write [[hosts]], in double brackets, for each of them"),
    "pools as a table, twice": (HOSTS + "[metallb.pools]\nname = 'a'\n[metallb.pools]\nname = 'b'\n", 11, "write [[metallb.pools]], in double brackets"),
    "text for a boolean": (HOSTS + '[nfs]\nenabled = "True"\n', 10, "expected true or false; set enabled = true"),
    "number for a boolean": (HOSTS + "[nfs]\nenabled = 1\n", 10, "1 is an integer, expected true or false; set ena"),
    "boolean for a number": (HOSTS + "[nfs]\nvolumes = true\n", 10, "true is a boolean, expected an integer; set volumes = 8"),
    "text for a list": (MASTER[:-len('["control-plane"]\n')] + '"worker"\n', 4, 'expected an array; set roles = ["worker"]'),
    "list for text": (HOSTS + "[cluster]\nname = ['a']\n", 10, 'is an array, expected a string; set name = "lab"'),
    "list for a table": (HOSTS + "[[cluster]]\n", 9, "cluster: is an array, expected a table; define it as a table under [cluster]"),
    "table for a list": ("[hosts]\n", 1, "hosts: is a table, expected an array; define it as a table under [[hosts]]"),
    "text for a table": ("cluster = 'a'\n" + HOSTS, 1, "expected a table; define it as a table under [cluster]"),
    "date": (HOSTS + "[cluster]\nname = 2026-01-01\n", 10, "2026-01-01 is a date or time, expected a string"),
    "no name": (HOSTS + "[[hosts]]\naddress = '192.168.56.12'\nroles = ['worker']\n", 9, "hosts[2]: has no name; add name = "),
    "no address": ("[[hosts]]\nname = 'a'\nroles = ['control-plane']\n", 1, "hosts[0]: has no address; add address = "),
    "no role": (MASTER.replace('"control-plane"', "") + WORKER, 4, 'hosts[0].roles: is empty; set roles = ["worker"]'),
    "strange role": (MASTER.replace("control-plane", "master"), 4, 'roles[0]: "master" is not a valid value; use "control-plane" or "worker"'),
    "role twice": (HOSTS.replace('["worker"]', '["worker", "worker"]'), 8, 'roles: the value lists "worker" twice; remove one'),
    "host name": (MASTER.replace('"master"', '"Master_1"'), 2, 'hosts[0].name: "Master_1" is not a DNS label; use at most 63'),
    "host name twice": (HOSTS.replace('"worker1"', '"master"'), 6, 'hosts[1].name: "master" is also the name of the host on line 2; give'),
    "address": (MASTER.replace("56.10", "56.1000"), 3, '"192.168.56.1000" is not an IP address; use one such as'),
    "address with prefix": (MASTER.replace("56.10", "56.10/24"), 3, "is not an IP address; use one such as"),
    "loopback": (MASTER.replace("192.168.56.10", "127.0.0.1"), 3, "cannot be reached from other hosts"),
    "NAT address": (MASTER.replace("192.168.56.10", "10.0.2.15"), 3, "is the NAT address of every VirtualBox and QEMU"),
    "address twice": (HOSTS.replace("56.11", "56.10"), 7, '"192.168.56.10" is also the address of the host on line 3'),
    "same IPv6 address": (
        "[cluster]\npod_cidr = 'fd01::/56'\nservice_cidr = 'fd02::/112'\n"
        + HOSTS.replace("192.168.56.10", "fd00::0a").replace("192.168.56.11", "FD00::A"),
        10,
        '"fd00::a" is also the address of the host on line 6',
    ),
    "login twice": (MASTER + "ssh_address = 'h'\n" + WORKER + "ssh_address = 'h'\n", 10, '"h port 22" is also the SSH address of the host on line 5'),
    "no control plane": (WORKER, 1, 'hosts: no host has the role control-plane; set roles = ["control-plane"] on one of them'),
    "two control planes": ("[cluster]\n" + HOSTS.replace("worker\"]", 'control-plane"]'), 1, "cluster.vip: 2 control planes need a shared address; set vip under [cluster] to a free"),
    "label key": (HOSTS + 'labels = { a = "b", "-x" = "y" }\n', 9, 'hosts[1].labels.-x: "-x" is not a label key; use one'),
    "label value": (HOSTS + '[hosts.labels]\na = "b"\nc = "d e"\n', 11, 'hosts[1].labels.c: "d e" is not a label value; use'),
    "label that is a boolean": (HOSTS + "labels = { gpu = true }\n", 9, 'expected a string; set gpu = "true"'),
    "taint": (HOSTS + 'taints = ["a=b:NoSchedule",\n "c=d"]\n', 10, 'taints[1]: "c=d" is not a taint; use "key=value:Effect"'),
    "interface": (HOSTS + 'interface = "a/b"\n', 9, 'is not the name of a network interface; use one such as "eth1"'),
    "user of a host": (HOSTS + 'ssh = { user = "a b" }\n', 9, 'hosts[1].ssh.user: "a b" is not a user name'),
    "port of a host": (HOSTS + "ssh = { port = 65536 }\n", 9, "hosts[1].ssh.port: 65536 is too large; use 65535 or less"),
    "port": (HOSTS + "[ssh]\nport = 0\n", 10, "ssh.port: 0 is too small; use 1 or more"),
    "jump": (HOSTS + '[ssh]\njump = "me@gate:ssh"\n', 10, 'has a port that is not a number from 1 to 65535; use "user@host"'),
    "jump user": (HOSTS + '[ssh]\njump = "@gate"\n', 10, "is not of the form user@host:port; use"),
    "host keys": (HOSTS + '[ssh]\nhost_keys = "no"\n', 10, '"no" is not a valid value; use "strict", "accept-new" or "off"'),
    "known hosts": (HOSTS + '[ssh]\nknown_hosts = ""\n', 10, 'is empty; set known_hosts = ".provisioner/known_hosts"'),
    "connect timeout": (HOSTS + "[ssh]\nconnect_timeout = nan\n", 10, "ssh.connect_timeout: nan is "),
    "timeout scale": (HOSTS + "[cluster]\ntimeout_scale = 0\n", 10, "cluster.timeout_scale: 0 is too small; use a number above 0"),
    "infinite scale": (HOSTS + "[cluster]\ntimeout_scale = inf\n", 10, "cluster.timeout_scale: inf is "),
    "network": (HOSTS + '[cluster]\nnetwork = "calico"\n', 10, '"calico" is not a valid value; use "flannel" or "bridge"'),
    "endpoint": (HOSTS + '[cluster]\nendpoint = "https://api"\n', 10, '"https://api" is a URL; use host and port only'),
    "endpoint port": (HOSTS + '[cluster]\nendpoint = "[fd00::1]:0"\n', 10, "has a port that is not a number"),
    "endpoint address": (HOSTS + '[cluster]\nendpoint = "[fd00::g]:1"\n', 10, "is not of the form [address]:port; use host"),
    "vip": (HOSTS + '[cluster]\nvip = "api"\n', 10, 'cluster.vip: "api" is not an IP address; use one such as'),
    "vip with a port": (HOSTS + '[cluster]\nvip = "192.168.56.9:6443"\n', 10, '"192.168.56.9:6443" is not an IP address'),
    "vip and endpoint": (
        HOSTS + '[cluster]\nvip = "192.168.56.9"\nendpoint = "192.168.56.8"\n',
        10,
        '"192.168.56.9" and the endpoint on line 11 are two addresses for one API; keep vip if',
    ),
    "vip of a host": (HOSTS + '[cluster]\nvip = "192.168.56.11"\n', 10, '"192.168.56.11" is the address of worker1 on line 7; use an'),
    "vip in pods": (HOSTS + '[cluster]\nvip = "10.244.0.9"\n', 10, '"10.244.0.9" is in the pod network, 10.244.0.0/16 by default'),
    "vip in services": (HOSTS + '[cluster]\nvip = "10.96.0.9"\n', 10, '"10.96.0.9" is in the service network'),
    "vip of another family": (HOSTS + '[cluster]\nvip = "fd00::9"\n', 10, '"fd00::9" is IPv6 but pod_cidr is IPv4'),
    "vip that is multicast": (HOSTS + '[cluster]\nvip = "224.0.0.18"\n', 10, 'cluster.vip: "224.0.0.18" '),
    "router id": (HOSTS + '[cluster]\nvip_router_id = 256\n', 10, "cluster.vip_router_id: 256 is too large; use 255 or less"),
    "version 1.99": (HOSTS + '[cluster]\nkubernetes = "1.99"\n', 10, SUPPORTED),
    "version 1.19.1": (HOSTS + '[cluster]\nkubernetes = "1.19.1"\n', 10, SUPPORTED),
    "version 2.0": (HOSTS + '[cluster]\nkubernetes = "2.0"\n', 10, SUPPORTED),
    "minor without a known patch": (
        HOSTS + '[cluster]\nkubernetes = "1.34"\n',
        10,
        '"1.34" has no known patch release; write all three numbers, as in "1.34.0", or use one of 1.20, 1.21,',
    ),
    "version banana": (HOSTS + '[cluster]\nkubernetes = "banana"\n', 10, '"banana" is not a Kubernetes version; 1.'),
    "version 1.20.2.3": (HOSTS + '[cluster]\nkubernetes = "1.20.2.3"\n', 10, "is not a Kubernetes version; 1."),
    "cidr": (HOSTS + '[cluster]\npod_cidr = "10.244.0.0"\n', 10, "is not a network in CIDR notation; use one such as"),
    "cidr with host bits": (HOSTS + '[cluster]\npod_cidr = "10.244.1.0/16"\n', 10, 'has host bits set; use "10.244.0.0/16"'),
    "small pod network": (HOSTS + '[cluster]\npod_cidr = "10.244.0.0/24"\n', 10, '"10.244.0.0/24" is too small for 2 hosts, each of which gets a /24'),
    "large pod network": (HOSTS + '[cluster]\npod_cidr = "16.0.0.0/4"\n', 10, "is too large: Kubernetes allocates at most 65536"),
    "large service network": (HOSTS + '[cluster]\nservice_cidr = "11.0.0.0/8"\n', 10, "is too large for services; use a prefix from /12 to /28"),
    "many hosts": (HOSTS + "".join(f'[[hosts]]\nname = "w{n}"\naddress = "10.9.{n // 250}.{n % 250 + 1}"\nroles = ["worker"]\n' for n in range(300)) + '[cluster]\npod_cidr = "10.244.0.0/16"\n', 1210, 'is too small for 302 hosts, each of which gets a /24 of it; use one such as "10.244.0.0/15"'),
    "small service network": (HOSTS + '[cluster]\nservice_cidr = "11.0.0.0/30"\n', 10, "is too small for services; use a prefix from /12"),
    "pods in services": (HOSTS + '[cluster]\npod_cidr = "10.96.0.0/16"\n', 10, "the service network, 10.96.0.0/16, overlaps the pod network, 10.96.0.0/16 on line 10; change one"),
    "services in pods": (
        HOSTS + '[cluster]\npod_cidr = "10.0.0.0/8"\nservice_cidr = "10.96.0.0/16"\n',
        11,
        "cluster.service_cidr: the service network, 10.96.0.0/16, overlaps the pod network, 10.0.0.0/8 on line 10",
    ),
    "host in pods": (HOSTS.replace("192.168.56.11", "10.244.0.9"), 7, "\"10.244.0.9\" is in the pod network, 10.244.0.0/16 by default; change"),
    "host in services": (HOSTS.replace("192.168.56.11", "10.96.0.9"), 7, "is in the service network, 10.96.0.0/16 by default"),
    "endpoint in services": (HOSTS + '[cluster]\nendpoint = "10.96.0.9:6443"\n', 10, "is in the service network"),
    "families": (HOSTS.replace("192.168.56.11", "fd00::11"), 7, '"fd00::11" is IPv6 but pod_cidr is IPv4; hosts, pods and services must'),
    "families of networks": (HOSTS + '[cluster]\nservice_cidr = "fd00::/112"\n', 10, '"fd00::/112" is IPv6 but pod_cidr is IPv4'),
    "nfs server": (HOSTS + '[nfs]\nserver = "nas"\n', 10, 'nfs.server: "nas" is not a host of this file; use one of master, worker1'),
    "relative export": (HOSTS + '[nfs]\nexport = "srv/nfs"\n', 10, '"srv/nfs" is not an absolute path; use one such as "/srv/nfs"'),
    "export of everything": (HOSTS + '[nfs]\nexport = "//"\n', 10, '"//" is a system directory; use a separate one'),
    "export of /etc": (HOSTS + '[nfs]\nexport = "/etc/exports.d"\n', 10, "is a system directory"),
    "export that climbs": (HOSTS + '[nfs]\nexport = "/srv/../etc"\n', 10, "is not an absolute path"),
    "export with a space": (HOSTS + '[nfs]\nexport = "/srv/a b"\n', 10, "contains characters that /etc/exports cannot"),
    "export to the world": (HOSTS + '[nfs]\nclients = ["0.0.0.0/0"]\n', 10, 'nfs.clients[0]: "0.0.0.0/0" is every address; list'),
    "clients": (HOSTS + '[nfs]\nclients = ["*"]\n', 10, '"*" is not an IP address'),
    "size": (HOSTS + '[nfs]\nsize = "1 GB"\n', 10, '"1 GB" is not a size; use an integer with a unit'),
    "size of nothing": (HOSTS + '[nfs]\nsize = "0Gi"\n', 10, '"0Gi" is not a size'),
    "volumes": (HOSTS + "[nfs]\nvolumes = -1\n", 10, "nfs.volumes: -1 is too small; use 0 or more"),
    "class": (HOSTS + '[nfs]\nclass = "a b"\n', 10, 'nfs.class: "a b" is not a DNS label'),
    "nfs provisioner": (HOSTS + '[nfs]\nprovisioner = "cs"\n', 10, '"cs" is not a valid value'),
    "csi on an old Kubernetes": (
        HOSTS + '[cluster]\nkubernetes = "1.20"\n[nfs]\nprovisioner = "csi"\n',
        12,
        "no csi_driver_nfs in the catalogue supports Kubernetes 1.20",
    ),
    "metallb version": (HOSTS + '[metallb]\nversion = "0.1.0"\n', 10, "metallb 0.1.0 is not in the catalogue; use one of"),
    "metallb version with a v": (HOSTS + '[metallb]\nversion = "v0.16"\n', 10, '"v0.16" is not a version; use one such'),
    "metallb before 0.13 from Kubernetes 1.25 on": (
        HOSTS + '[cluster]\nkubernetes = "1.25"\n[metallb]\nversion = "0.12.1"\n',
        12,
        'metallb.version: "0.12.1" needs PodSecurityPolicy, which Kubernetes 1.25.16 no longer has; use 0.13 or later',
    ),
    "workloads without storage": (
        HOSTS + "[nfs]\nenabled = false\n",
        10,
        'nfs.enabled: false leaves "shared-volume" and "statefulset" of [workloads] without the volumes that they claim; set',
    ),
    "one workload without storage": (
        HOSTS + '[workloads]\nenabled = ["hpa", "statefulset"]\n[nfs]\nenabled = false\n',
        12,
        'or remove "statefulset" from enabled under [workloads]',
    ),
    "too few volumes": (
        HOSTS + "[nfs]\nvolumes = 3\n",
        10,
        'nfs.volumes: 3 is fewer than the 4 that "shared-volume" and "statefulset" of [workloads] claim; set volumes = 4 or more',
    ),
    "metrics-server version": (HOSTS + '[metrics]\nversion = "0.1.0"\n', 10, "metrics_server 0.1.0 is not in the catalogue; use one of"),
    "ingress controller on an old Kubernetes": (
        HOSTS + '[cluster]\nkubernetes = "1.20"\n[ingress]\ncontroller = "nginx"\n',
        12,
        "ingress.controller: no nginx in the catalogue supports Kubernetes 1.20.2",
    ),
    "workload twice": (HOSTS + '[workloads]\nenabled = ["a", "a"]\n', 10, 'workloads.enabled: the value lists "a" twice'),
    "mirror": (HOSTS + '[mirror]\nimages = "192.168.56.2:5000"\n', 10, '"192.168.56.2:5000" is not the URL of a mirror; use'),
    "flag with dashes": (HOSTS + '[kubeadm]\nkubelet = { "--v" = "2" }\n', 10, '"--v" is not the name of a flag; omit the leading dashes'),
    "flag without quotes": (HOSTS + "[kubeadm.scheduler]\nleader-elect = false\n", 10, 'expected a string; set leader-elect = "false"'),
    "date in the kubelet's configuration": (HOSTS + "[kubeadm]\nkubelet_configuration = { a = [1979-05-27] }\n", 10, "contains a date or time"),
    "init timeout": (HOSTS + '[kubeadm]\ninit_timeout = "0m"\n', 10, '"0m" is not a positive duration; use one such as "4m"'),
    "line break": (HOSTS + '[ssh]\nkey = "a\\nb"\n', 10, "the value contains a line break or an invisible character"),
    "space at the end": (HOSTS + '[ssh]\nuser = "me "\n', 10, '"me " begins or ends with a space; remove the space'),
}  # fmt: skip


def pool(*addresses: str, name: str = "lab") -> str:
    """Return the three lines of a pool."""
    listed = ", ".join(f'"{address}"' for address in addresses)
    return f'[[metallb.pools]]\nname = "{name}"\naddresses = [{listed}]\n'


POOLS: dict[str, tuple[str, int, str]] = {
    "not a range": (pool("lab"), 11, 'addresses[0]: "lab" is neither a range nor a network; use one such as'),
    "single address": (pool("192.168.56.200"), 11, "is neither a range nor a network"),
    "bad end": (pool("192.168.56.200-300"), 11, "is not an address range; use"),
    "reversed": (pool("192.0.2.9-192.0.2.3"), 11, 'ends before it begins; use "192.0.2.3-192.0.2.9"'),
    "short end": (pool("192.0.2.200-230"), 11, 'is not an address range; write "192.0.2.200-192.0.2.230"'),
    "two octets of an end": (pool("10.9.0.200-1.9"), 11, 'is not an address range; write "10.9.0.200-10.9.1.9"'),
    "two families": (pool("192.0.2.9-fd00::1"), 11, "is not an address range of one family"),
    "host bits": (pool("192.0.2.9/24"), 11, 'has host bits set; use "192.0.2.0/24"'),
    "no addresses": (pool(), 11, 'is empty; set addresses = ["192.168.56.200-192.168.56.230"]'),
    "multicast": (pool("224.0.0.0/24"), 11, "contains addresses that clients cannot reach"),
    "holds a node": (pool("192.168.56.5-192.168.56.10"), 11, "contains 192.168.56.10, the address of master on line 3; exclude"),
    "is a node": (pool("192.168.56.11-192.168.56.11"), 11, "contains 192.168.56.11, the address of worker1 on line 7; exclude"),
    "in the pods": (pool("10.244.7.0/24"), 11, "pool lab, 10.244.7.0/24, overlaps the pod network, 10.244.0.0/16 by default"),
    "in the services": (pool("10.96.7.0/24"), 11, "overlaps the service network, 10.96.0.0/16 by default"),
    "overlaps another": (pool("192.0.2.0/28") + pool("192.0.2.15-192.0.2.20", name="b"), 14, "pool b, 192.0.2.15-192.0.2.20, overlaps pool lab, 192.0.2.0/28 on line 11"),
    "overlaps itself": (pool("192.0.2.0/28", "192.0.2.0/29"), 11, "pools[0].addresses[1]: pool lab"),
    "name twice": (pool("192.0.2.0/28") + pool("192.0.2.32/28"), 13, 'pools[1].name: "lab" is also the name of the pool on line 10'),
    "interfaces before MetalLB 0.13": (
        '[cluster]\nkubernetes = "1.20"\n[metallb]\nversion = "0.12.1"\n' + pool("192.0.2.0/28") + pool("192.0.2.32/28", name="b") + 'interfaces = ["eth1"]\n',
        19,
        "metallb.pools[1].interfaces: MetalLB 0.12.1, the version on line 12, announces on every interface; remove interfaces, or remove",
    ),
    "holds the vip": (pool("192.0.2.0/28") + '[cluster]\nvip = "192.0.2.3"\n', 11, "contains 192.0.2.3, the API's address on line 13; exclude"),
    "holds the API": (pool("192.0.2.0/28") + '[cluster]\nendpoint = "192.0.2.3"\n', 11, "contains 192.0.2.3, the API's address on line 13"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [*SINGLE.values(), *((HOSTS + text, line, expected) for text, line, expected in POOLS.values())],
    ids=[*SINGLE, *(f"pool {name}" for name in POOLS)],
)
def test_a_mistake_is_one_line_with_a_location_and_a_remedy(text: str, line: int, expected: str) -> None:
    (error,) = errors(text.encode("utf-8", "surrogateescape"))
    assert error.line == line, str(error)
    assert expected in str(error)
    assert str(error).startswith(f"hosts.toml:{line}: ")
    assert "\n" not in str(error)
    assert "{line}" not in str(error)
    assert error.remedy


OLD_METALLB = '[cluster]\nkubernetes = "1.20"\n[metallb]\nversion = "0.12.1"\n' + pool("192.0.2.0/28")


@pytest.mark.parametrize(
    "text",
    [
        '[nfs]\nenabled = false\n[workloads]\nenabled = ["nodeport"]\n',
        '[nfs]\nvolumes = 1\n[workloads]\nenabled = ["shared-volume"]\n',
        "[nfs]\nvolumes = 4\n",
        '[nfs]\nvolumes = 0\nprovisioner = "csi"\n',
        '[cluster]\nkubernetes = "1.24"\n[metallb]\nversion = "0.12.1"\n',
        '[metallb]\nenabled = false\nversion = "0.12.1"\n',
        f"{OLD_METALLB}interfaces = []\n",
        f"{OLD_METALLB}auto_assign = false\navoid_buggy_ips = true\n",
        OLD_METALLB.replace("0.12.1", "0.13.12") + 'interfaces = ["eth1"]\n',
        OLD_METALLB.replace("version", "enabled = false\nversion") + 'interfaces = ["eth1"]\n',
    ],
)
def test_valid_combinations(text: str) -> None:
    parse_site(HOSTS + text)


@pytest.mark.parametrize("text", ["none", "prompt", "env:SUDO_PASSWORD", "file:~/.sudo", "file:/run/a b"])
def test_sources_of_the_sudo_password(text: str) -> None:
    assert parse_site(f'{HOSTS}[ssh]\nsudo_password = "{text}"\n').ssh.sudo_password == text


@pytest.mark.parametrize(
    "line",
    [
        '[ssh]\nsudo_password = "hunter2"',
        '[ssh]\nsudo_password = "env:hunter2 x"',
        '[ssh]\nsudo_password = "hunter2\\n"',
        '[ssh]\nsudo_password = ["hunter2"]',
        "[ssh]\nsudo_password = hunter2",
        '[ssh]\npassword = "hunter2"',
        '[ssh]\njump = "me:hunter2@gate"',
        '[ssh]\nport = "me:hunter2@gate"',
        '[ssh]\nkey = """-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2"""',
        '[mirror]\nimages = "https://me:hunter2@harbor"',
        '[mirror]\npackages = "https://hunter2@nexus/x"',
        '[kubeadm]\nkubelet = { "bootstrap token" = "hunter2" }',
        '[cluster]\nendpoint = "https://me:hunter2@api"',
    ],
)
def test_possible_secrets_are_not_shown(line: str) -> None:
    text = "\n".join(map(str, errors(f"{HOSTS}{line}\n")))
    assert "hosts.toml:10: " in text
    assert "hunter2" not in text


def test_a_numeric_password_is_not_shown() -> None:
    (error,) = errors(f"{HOSTS}[ssh]\nsudo_password = 918273\n")
    assert "918273" not in str(error)
    assert 'sudo_password = "prompt"' in error.remedy


def test_all_mistakes_are_reported_in_file_order() -> None:
    text = (
        '[cluster]\nnam = "x"\nnetwork = "calico"\n'
        + HOSTS.replace('"worker1"', '"master"')
        + pool("192.168.56.10-192.168.56.11")
        + '[nfs]\nserver = "nas"\n'
    )
    reported = [(error.line, error.message.partition(":")[0]) for error in errors(text)]
    # The unknown NFS server is not reported: an invalid part may define the host.
    assert reported == [
        (2, "cluster.nam"),
        (3, "cluster.network"),
        (9, "hosts[1].name"),
        (14, "metallb.pools[0].addresses[0]"),
    ]


def test_conflicts_keep_their_lines_after_an_invalid_host() -> None:
    text = "[[hosts]]\nname = 'x'\n" + HOSTS.replace("192.168.56.11", "192.168.56.10")
    assert [(error.line, error.message.partition(":")[0]) for error in errors(text)] == [
        (1, "hosts[0]"),
        (1, "hosts[0]"),
        (9, "hosts[2].address"),
    ]


def test_defaults_in_place_of_invalid_values_cause_no_conflicts() -> None:
    text = '[cluster]\npod_cidr = "10.1.0.0"\nservice_cidr = "10.244.0.0/16"\n' + HOSTS
    assert [error.line for error in errors(text)] == [2]


def test_the_printed_error_has_one_line_per_mistake() -> None:
    with pytest.raises(ProvisionerError) as caught:
        parse_site(HOSTS + '[nfs]\nvolumes = -1\nsize = "x"\n', Path("sites/home.toml"))
    assert [line[:20] for line in str(caught.value).splitlines()] == ["sites/home.toml:10: ", "sites/home.toml:11: "]


@pytest.mark.parametrize("kind", ["missing", "folder", "link to nowhere"])
def test_an_unreadable_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hosts.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "link to nowhere":
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SiteErrors) as caught:
        load_site(path)
    (error,) = caught.value.errors
    assert str(error).startswith(f"{path}: ")
    assert error.remedy
    assert ("provisioner init" in error.remedy) == (kind != "folder")
