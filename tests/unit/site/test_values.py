"""What a valid hosts.toml is parsed to."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from pydantic import ValidationError

from provisioner.catalogue import newest_patches
from provisioner.errors import ProvisionerError
from provisioner.site import load_site, parse_site
from provisioner.site.syntax import Taint
from provisioner.version import Version
from tests.unit.site.site_texts import MASTER, WORKER


def test_smallest_file_has_every_default() -> None:
    lab = parse_site(MASTER)
    assert (lab.cluster.name, lab.cluster.network, lab.cluster.timeout_scale) == ("lab", "flannel", 1.0)
    assert (lab.cluster.pod_cidr, lab.cluster.service_cidr) == ("10.244.0.0/16", "10.96.0.0/16")
    assert (lab.ssh.user, lab.ssh.port, lab.ssh.host_keys, lab.ssh.sudo_password) == (
        "vagrant",
        22,
        "accept-new",
        "none",
    )
    assert lab.nfs.enabled
    assert lab.nfs.root_squash
    assert (lab.nfs.export, lab.nfs.class_, lab.nfs.clients) == ("/srv/nfs", "nfs", ())
    assert lab.metallb.pools == ()
    assert lab.workloads.enabled[:4] == ("nodeport", "loadbalancer", "ingress", "hpa")
    assert lab.workloads.enabled[4:] == ("daemonset", "configmap", "shared-volume", "statefulset")
    assert lab.kubeadm.kubelet_configuration == {}
    assert lab.endpoint == "192.168.56.10:6443"
    assert lab.nfs_server is lab.first is lab.hosts[0]


def test_roles() -> None:
    lab = parse_site(MASTER.replace('["control-plane"]', '["control-plane", "worker"]') + WORKER)
    assert [host.name for host in lab.control_planes] == ["master"]
    assert [host.name for host in lab.workers] == ["worker1"]
    assert lab.first.is_control_plane
    assert lab.first.is_worker
    assert not lab.hosts[1].is_control_plane


def test_a_site_is_immutable() -> None:
    lab = parse_site(MASTER)
    with pytest.raises(ValidationError):
        lab.cluster.name = "other"
    with pytest.raises(ValidationError):
        lab.hosts = ()


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("api.example.org", "api.example.org:6443"),
        ("api.example.org:443", "api.example.org:443"),
        ("192.168.56.100", "192.168.56.100:6443"),
        ("2001:db8::1", "[2001:db8::1]:6443"),
        ("[2001:db8:0::1]:8443", "[2001:db8::1]:8443"),
    ],
)
def test_endpoint_has_a_port(endpoint: str, expected: str) -> None:
    assert parse_site(f'[cluster]\nendpoint = "{endpoint}"\n{MASTER}').endpoint == expected


def test_an_ipv6_site() -> None:
    lab = parse_site(
        '[cluster]\npod_cidr = "fd00:10:244::/56"\nservice_cidr = "fd00:10:96::/112"\n'
        '[[hosts]]\nname = "a"\naddress = "fd00:0:0::10"\nroles = ["control-plane"]\n'
        '[[metallb.pools]]\nname = "p"\naddresses = ["fd00::100-fd00::1ff"]\n'
    )
    assert lab.first.address == "fd00::10"
    assert lab.endpoint == "[fd00::10]:6443"
    assert "fd00::1ab" in lab.metallb.pools[0]


def test_pool_ranges_include_both_ends() -> None:
    (pool,) = parse_site(
        MASTER + '[[metallb.pools]]\nname = "p"\naddresses = ["192.168.56.200 - 192.168.56.230", "192.0.2.0/30"]\n'
    ).metallb.pools
    assert [(str(first), str(last)) for first, last in pool.ranges] == [
        ("192.168.56.200", "192.168.56.230"),
        ("192.0.2.0", "192.0.2.3"),
    ]
    for inside in ("192.168.56.200", "192.168.56.230", "192.0.2.0", "192.0.2.3"):
        assert inside in pool
        assert ip_address(inside) in pool
    for outside in ("192.168.56.199", "192.168.56.231", "192.0.2.4", "::1"):
        assert outside not in pool


@pytest.mark.parametrize(("minor", "newest"), newest_patches().items())
def test_a_minor_means_its_newest_patch(minor: str, newest: str) -> None:
    lab = parse_site(f'[cluster]\nkubernetes = "{minor}"\n{MASTER}')
    assert str(lab.version) == newest
    assert lab.version.minor_text == minor


def test_an_exact_version_is_itself() -> None:
    assert parse_site(f'[cluster]\nkubernetes = "1.31.2"\n{MASTER}').version == Version(1, 31, 2)


def test_timeouts_scale() -> None:
    lab = parse_site(f'[cluster]\ntimeout_scale = 8\n{MASTER}[kubeadm]\ninit_timeout = "1h4m30s"\n')
    assert lab.timeout(60) == 480
    assert lab.kubeadm.init_seconds == 3600 + 240 + 30


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hosts.toml").write_text(MASTER)
    monkeypatch.chdir(tmp_path)
    lab = load_site(Path("hosts.toml"))
    assert lab.path == Path("hosts.toml")
    assert lab.directory == tmp_path
    assert lab.state == tmp_path / ".provisioner"


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MASTER.replace("\n", "\r\n").encode())
    assert load_site(path).first.name == "master"


def test_labels_taints_and_own_login_of_a_host() -> None:
    host = parse_site(
        MASTER + 'taints = ["dedicated=storage:NoSchedule", "gpu:NoExecute"]\nssh = { port = 2222 }\n'
        '[hosts.labels]\n"example.org/rack" = "a1"\ndisk = ""\n'
    ).first
    assert host.parsed_taints == (Taint("dedicated", "storage", "NoSchedule"), Taint("gpu", "", "NoExecute"))
    assert host.labels == {"example.org/rack": "a1", "disk": ""}
    assert (host.ssh.user, host.ssh.port, host.ssh.key) == ("", 2222, "")


def test_values_are_normalized() -> None:
    lab = parse_site(
        MASTER + '[nfs]\nexport = "/srv//nfs/"\nclients = ["2001:DB8::1"]\n[mirror]\npackages = "http://m/pkgs/"\n'
    )
    assert lab.nfs.export == "/srv/nfs"
    assert lab.nfs.clients == ("2001:db8::1",)
    assert lab.mirror.packages == "http://m/pkgs"


def test_an_unknown_host_suggests_the_closest() -> None:
    lab = parse_site(MASTER + WORKER)
    assert lab.host("worker1").address == "192.168.56.11"
    with pytest.raises(ProvisionerError, match=r"no host .worker2.*did you mean worker1\?"):
        lab.host("worker2")
    with pytest.raises(ProvisionerError, match="the hosts are master, worker1"):
        lab.host("zzz")
