"""The hardening in force on a host: what the cluster has, the files of control planes, the kernel's settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from provisioner.engine import Change
from provisioner.errors import HostError
from provisioner.kube import ApiState, kubeadm, kubeadm_state
from provisioner.kube import hardening as documents
from provisioner.site import Site, hardening
from provisioner.steps import control_plane, kernel_settings, kubeadm_files, prepare, static_pods
from provisioner.steps import hardening as steps
from tests import hosts_toml
from tests.hosts_toml import UNHARDENED
from tests.unit.fake_cluster import FakeCluster
from tests.unit.kube.test_hardening import cluster_of
from tests.unit.steps.doubles import POOL, RecordingHost, carry_out, drain, fleet_for, present, site_at, summaries

TWO = hosts_toml.host("one", "192.168.56.10", "control-plane") + hosts_toml.host(
    "two", "192.168.56.11", "control-plane"
)
NODE = {kubeadm_state.KUBELET_CONF: present()}
RESTART = "restart kube-apiserver, which reads its new files"
QUIET = "[hardening]\naudit = false\npod_security = false\nkubelet = false\nverify_kubelets = false\n"


def fleet(tmp_path: Path, rest: str = "") -> dict[str, RecordingHost]:
    """Return two control planes of 1.37 that are nodes."""
    site = site_at(tmp_path, 'kubernetes = "1.37.2"\nendpoint = "192.168.56.9"', rest, TWO + POOL)
    hosts = fleet_for(kubeadm_files.STEP, site)
    for host in hosts.values():
        host.know(files=NODE, sysctls=dict(kernel_settings.SETTINGS))
    return hosts


def in_force(host: RecordingHost, cluster: FakeCluster, site: Site) -> tuple[str, ...]:
    return hardening.items(steps.in_force(host, cluster, site))  # type: ignore[arg-type]


def drained(host: RecordingHost) -> list[Change]:
    """Return the changes of the files, and the restart if there is to be one."""
    found: list[Change] = []
    changes = steps.changes(host, host.site)  # type: ignore[arg-type]
    while True:
        try:
            found.append(next(changes))
        except StopIteration as done:
            return [*found, steps.restart(host)] if done.value else found  # type: ignore[arg-type]


def listed(host: RecordingHost) -> list[str]:
    return [change.summary for change in drained(host)]


def test_a_cluster_keeps_what_it_was_created_with(tmp_path: Path) -> None:
    host = fleet(tmp_path)["one"]
    old = cluster_of(site_at(tmp_path, rest=UNHARDENED))
    assert in_force(host, old, site_at(tmp_path)) == ()
    new = cluster_of(site_at(tmp_path))
    assert in_force(host, new, site_at(tmp_path, rest=UNHARDENED)) == hardening.ITEMS


def test_a_cluster_that_does_not_exist_gets_what_hosts_toml_says(tmp_path: Path) -> None:
    host = fleet_for(kubeadm_files.STEP, site_at(tmp_path))["master"]
    assert in_force(host, FakeCluster(api=ApiState.ABSENT), host.site) == hardening.ITEMS


@pytest.mark.parametrize(
    "cluster", [FakeCluster(api=ApiState.UNREACHABLE), FakeCluster()], ids=["silent", "no config"]
)
def test_without_the_clusters_word_a_node_keeps_what_it_has(tmp_path: Path, cluster: FakeCluster) -> None:
    host = fleet(tmp_path)["one"]
    host.know(files={static_pods.API_SERVER: present("command: [kube-apiserver, --v=2]")})
    assert in_force(host, cluster, host.site) == ()
    manifest = f"command:\n- kube-apiserver\n- --kubelet-certificate-authority={kubeadm_state.CA}\n"
    files = {static_pods.API_SERVER: present(manifest), kernel_settings.CONFIG: present("protectKernelDefaults: true")}
    files |= {path: present() for path in (hardening.ENCRYPTION, hardening.AUDIT_POLICY)}  # and a flag:
    files[static_pods.API_SERVER] = present(f"{manifest}- --admission-control-config-file={hardening.ADMISSION}\n")
    assert in_force(host.know(files=files), cluster, host.site) == hardening.ITEMS
    off = site_at(tmp_path, 'kubernetes = "1.37.2"', UNHARDENED)
    assert in_force(host, cluster, off) == hardening.ITEMS, "what the cluster has is for a person to change"


def test_hosts_toml_and_a_cluster_that_differ(tmp_path: Path) -> None:
    """By default a note says it; what hosts.toml asks for is a difference that a person has to settle."""
    old = cluster_of(site_at(tmp_path, rest=UNHARDENED))
    host = fleet_for(control_plane.STEP, site_at(tmp_path))["master"]
    host.know(files={kubeadm_state.ADMIN_CONF: present(), **NODE}, sysctls=dict(kernel_settings.SETTINGS))
    said: list[str] = []
    host.report.emit = lambda kind, text="", **more: said.append(f"{kind} {text}")  # type: ignore[method-assign]
    assert drain(control_plane.STEP, host, old) == []
    (note,) = said
    assert "created without encryption, audit, pod_security, kubelet and verify_kubelets" in note
    asking = site_at(tmp_path, rest="[hardening]\naudit = true\nencryption = true\n")
    (change,) = steps.differences(old, asking)  # type: ignore[arg-type]
    assert change.summary.startswith("the cluster lacks encryption and audit")
    assert change.by_hand
    new = cluster_of(site_at(tmp_path))
    (change,) = steps.differences(new, site_at(tmp_path, rest="[hardening]\nkubelet = false\n"))  # type: ignore[arg-type]
    assert change.summary.startswith("the cluster has kubelet")


def test_the_files_of_a_control_plane_are_restored_with_a_restart(tmp_path: Path) -> None:
    host = fleet(tmp_path)["one"]
    host.know(files={hardening.ENCRYPTION: present(mode=0o600), hardening.AUDIT_POLICY: present("rules: []", 0o600)})
    changes = drained(host)
    assert [change.summary for change in changes] == [
        f"change {hardening.AUDIT_POLICY}",
        f"write {hardening.ADMISSION}",
        RESTART,
    ]
    changes[0].do()
    changes[-1].do()
    assert host.files[hardening.AUDIT_POLICY] == (documents.files(host.site)[hardening.AUDIT_POLICY], 0o600)
    mark, restart, unmark = host.commands[-3:]
    assert f"touch {steps.RESTART}" in mark
    assert "crictl stop" in restart
    assert unmark == f"rm -f {steps.RESTART}"


def test_a_run_that_was_killed_before_the_restart(tmp_path: Path) -> None:
    host = fleet(tmp_path)["one"]
    texts = {path: present(text, 0o600) for path, text in documents.files(host.site).items()}
    host.know(files={hardening.ENCRYPTION: present(mode=0o600), **texts})
    assert listed(host) == []
    host.know(files={steps.RESTART: present()})
    assert listed(host) == [RESTART]


def test_a_lost_key_comes_from_another_control_plane(tmp_path: Path) -> None:
    hosts = fleet(tmp_path, QUIET)
    one, two = hosts["one"], hosts["two"]
    two.says |= {"sha256sum": "d1\n", f"cat {hardening.ENCRYPTION}": "the key\n"}
    change, restart = drained(one)
    assert (change.summary, restart.summary) == (f"copy {hardening.ENCRYPTION} from two", RESTART)
    assert change.diff == ""
    change.do()
    assert one.files[hardening.ENCRYPTION] == ("the key\n", 0o600)
    assert hardening.ENCRYPTION in one.secret
    assert "the key" not in "".join([*one.commands, *two.commands])


def test_a_key_that_nobody_has_is_never_made_anew(tmp_path: Path) -> None:
    one = fleet(tmp_path, QUIET)["one"]
    with pytest.raises(HostError, match=r"put it back from your backup of /etc/kubernetes"):
        listed(one)
    assert one.files == {}


def test_keys_that_differ_are_for_a_person_to_settle_and_said_once(tmp_path: Path) -> None:
    hosts = fleet(tmp_path, QUIET)
    for name, host in hosts.items():
        host.know(files={hardening.ENCRYPTION: present(mode=0o600)})
        host.says["sha256sum"] = f"digest of {name}\n"
    (change,) = drained(hosts["one"])
    assert change.summary == f"{hardening.ENCRYPTION} is not the same on one and two"
    assert change.by_hand
    assert listed(hosts["two"]) == []
    hosts["two"].says["sha256sum"] = "digest of one\n"
    assert listed(hosts["one"]) == []


def test_init_lays_the_files_down_and_no_text_has_the_key(tmp_path: Path) -> None:
    host = fleet_for(control_plane.STEP, site_at(tmp_path))["master"]
    (change,) = drain(control_plane.STEP, host, FakeCluster(api=ApiState.ABSENT))
    cluster = FakeCluster()
    carry_out(control_plane.STEP, host, cluster)
    text, mode = host.files[hardening.ENCRYPTION]
    assert mode == 0o600
    assert hardening.ENCRYPTION in host.secret
    key = yaml.safe_load(text)["resources"][0]["providers"][0]["secretbox"]["keys"][0]["secret"]
    others = [content for path, (content, _) in host.files.items() if path != hardening.ENCRYPTION]
    assert not [
        one for one in (*others, *host.commands, *host.works.values(), change.diff, change.summary) if key in one
    ]
    assert f"--{hardening.mark('encryption')}".removeprefix("--") in change.diff


def test_a_reset_takes_the_key_away() -> None:
    assert f" {hardening.DIRECTORY} " in kubeadm_state.RESET


# --- the kernel's settings -------------------------------------------------------------------------------------


def test_a_container_whose_settings_cannot_be_set_has_a_kubelet_that_does_not_look(tmp_path: Path) -> None:
    host = fleet_for(control_plane.STEP, site_at(tmp_path))["master"]
    assert kernel_settings.allowed(host, host.site) is host.site  # type: ignore[arg-type]
    host.says["for path in"] = "/proc/sys/kernel/panic\n"
    made = kernel_settings.allowed(host, host.site)  # type: ignore[arg-type]
    first, _, kubelet, _ = kubeadm.init_documents(made, host.spec)
    flags = {one["name"]: one["value"] for one in first["nodeRegistration"]["kubeletExtraArgs"]}
    assert flags["protect-kernel-defaults"] == "false"
    assert kubelet["protectKernelDefaults"] is True, "that is every other node's"
    host.know(sysctls=dict(kernel_settings.SETTINGS))
    assert kernel_settings.allowed(host, host.site) is host.site  # type: ignore[arg-type]


def test_settings_are_left_alone_where_they_cannot_be_set_or_nobody_protects_them(tmp_path: Path) -> None:
    def of_kernel(host: RecordingHost) -> list[str]:
        return [one for one in summaries(prepare.STEP, host) if "kernel.panic" in one or "99-zz" in one]

    host = fleet_for(prepare.STEP, site_at(tmp_path))["worker1"]
    assert len(of_kernel(host)) == 2
    host.know(files={**NODE, kernel_settings.CONFIG: present("maxPods: 110\n")})
    assert of_kernel(host) == [], "a node of a cluster that was created without"
    host.know(files={kernel_settings.CONFIG: present("protectKernelDefaults: true\n")})
    assert len(of_kernel(host)) == 2
    host.says["for path in"] = "/proc/sys/kernel/panic\n"
    assert of_kernel(host) == []
    off = fleet_for(prepare.STEP, site_at(tmp_path, rest=UNHARDENED))["worker1"]
    assert of_kernel(off) == []


def test_a_kubelet_that_lost_its_protection_gets_the_settings_first(tmp_path: Path) -> None:
    """Else it would not start with its restored configuration; where it has it, the step prepare sets them."""
    host = fleet(tmp_path)["one"].know(sysctls={"kernel.panic": "3"})
    found = [one.summary for one in kernel_settings.before_protection(host, host.site)]  # type: ignore[arg-type]
    assert found == [f"write {kernel_settings.FILE}", "set kernel.panic"]
    host.know(files={kernel_settings.CONFIG: present("protectKernelDefaults: true\n")})
    assert [*kernel_settings.before_protection(host, host.site)] == []  # type: ignore[arg-type]
