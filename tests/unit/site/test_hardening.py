"""[hardening]: on by default, off where the version lacks it or [kubeadm] replaces it, refused if both are asked."""

from __future__ import annotations

import pytest

from provisioner.site import Site, SiteErrors, hardening, parse_site
from tests import hosts_toml

HOSTS = hosts_toml.hosts("master", "worker1") + hosts_toml.pool("lab", "192.0.2.200-192.0.2.210")


def site(more: str = "", version: str = "1.37") -> Site:
    return parse_site(f'[cluster]\nkubernetes = "{version}"\n{HOSTS}{more}')


@pytest.mark.parametrize(
    ("version", "missing"), [("1.20", {"pod_security"}), ("1.22", {"pod_security"}), ("1.23", set()), ("1.37", set())]
)
def test_everything_that_a_version_has_is_on_by_default(version: str, missing: set[str]) -> None:
    made = site(version=version)
    assert hardening.items(made) == tuple(item for item in hardening.ITEMS if item not in missing)
    assert len([*hardening.left_off(made)]) == len(missing)
    assert hardening.asked_for(made) == {}


@pytest.mark.parametrize("item", hardening.ITEMS)
def test_each_item_can_be_turned_off(item: str) -> None:
    made = site(f"[hardening]\n{item} = false\n")
    assert hardening.items(made) == tuple(one for one in hardening.ITEMS if one != item)
    assert hardening.asked_for(made) == {item: False}


def test_nothing_is_left_of_a_table_that_turns_all_off() -> None:
    made = site(hosts_toml.UNHARDENED)
    assert hardening.items(made) == ()
    assert hardening.api_server_flags(made) == {}
    assert hardening.api_server_volumes(made) == []
    assert hardening.kubelet_configuration(made) == {}


@pytest.mark.parametrize(
    ("kubeadm", "item"),
    [
        ('api_server = { "encryption-provider-config" = "/etc/kubernetes/pki/kms.yaml" }', "encryption"),
        ('api_server = { "audit-policy-file" = "/etc/kubernetes/pki/audit.yaml" }', "audit"),
        ('api_server = { "admission-control-config-file" = "/etc/kubernetes/pki/a.yaml" }', "pod_security"),
        ('api_server = { "kubelet-certificate-authority" = "/etc/kubernetes/pki/other.crt" }', "verify_kubelets"),
        ("kubelet_configuration = { serverTLSBootstrap = false }", "verify_kubelets"),
    ],
)
def test_what_kubeadm_is_told_takes_the_place_of_an_item(kubeadm: str, item: str) -> None:
    made = site(f"[kubeadm]\n{kubeadm}\n")
    assert item not in hardening.items(made)
    assert not hardening.FLAGS[item].keys() & hardening.api_server_flags(made).keys()
    with pytest.raises(SiteErrors) as raised:
        site(f"[hardening]\n{item} = true\n[kubeadm]\n{kubeadm}\n")
    (error,) = raised.value.errors
    assert f"hardening.{item}: is replaced by " in str(error)
    assert f"set {item} = false" in error.remedy


def test_a_limit_of_the_audit_log_can_be_another() -> None:
    made = site('[kubeadm]\napi_server = { "audit-log-maxage" = "7" }\n')
    assert "audit" in hardening.items(made)


def test_an_item_that_the_version_lacks_is_refused_only_if_asked_for() -> None:
    with pytest.raises(SiteErrors) as raised:
        site("[hardening]\npod_security = true\n", "1.22")
    (error,) = raised.value.errors
    assert "hardening.pod_security: needs Kubernetes 1.23, and the version on line 2 is 1.22" in str(error)


def test_the_api_server_sees_its_files_read_only_and_writes_its_log() -> None:
    volumes = {volume["hostPath"]: volume for volume in hardening.api_server_volumes(site())}
    assert volumes[hardening.DIRECTORY]["readOnly"] is True
    assert "readOnly" not in volumes[hardening.AUDIT_FOLDER]
    only = site(hosts_toml.UNHARDENED.replace("verify_kubelets = false", "verify_kubelets = true"))
    assert hardening.api_server_volumes(only) == []
