"""Which machines and which Kubernetes a lab gets if nobody says."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab import accel, kinds, requirements, upstream
from provisioner.lab.spec import LabSpec, MirrorInfo

NO_KVM = "no kernel output within 20 s"


def kvm(monkeypatch: pytest.MonkeyPatch, why_not: str) -> None:
    monkeypatch.setattr(accel, "why_not_kvm", lambda image, progress: why_not)


@pytest.mark.parametrize(
    ("why_not", "kind", "line"),
    [
        ("", "vms", "nodes: VMs, since KVM works here; --nodes containers runs system containers"),
        (
            NO_KVM,
            "containers",
            f"nodes: containers, since KVM does not work here ({NO_KVM}); --nodes vms emulates machines, slowly",
        ),
    ],
)
def test_vms_where_kvm_works_else_containers(
    why_not: str, kind: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kvm(monkeypatch, why_not)
    shown: list[str] = []
    assert kinds.default(shown.append) == kind
    assert shown == [line]


@pytest.mark.parametrize(
    ("nodes", "why_not", "asked", "minor"),
    [
        ("containers", NO_KVM, "", "1.37"),
        ("vms", "", "", "1.37"),
        ("vms", NO_KVM, "", "1.20"),
        ("vms", NO_KVM, "1.37", "1.37"),
        ("containers", NO_KVM, "1.20", "1.20"),
    ],
)
def test_the_mirror_has_the_current_kubernetes_but_for_emulated_machines(
    nodes: str, why_not: str, asked: str, minor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kvm(monkeypatch, why_not)
    monkeypatch.setattr(upstream, "probe", lambda: [("pkgs.k8s.io", "refused")])
    built: list[str] = []

    def build(progress: object, small: bool, versions: Sequence[str], suites: Sequence[str]) -> MirrorInfo:
        assert list(suites) == ["bookworm"]
        built.extend(versions)
        return MirrorInfo(Path("/m"), Path("/m/key.asc"), f"{versions[0]}.2", "0.16.1", "0.9.0")

    monkeypatch.setattr(upstream, "build", build)
    lab = LabSpec(Path("/x"), nodes=nodes, kubernetes=asked, also=("1.36.4",))
    made = upstream.ensure(lab, lambda text: None)
    assert built == [minor, "1.36.4"]
    assert made is not None
    assert made.minor == minor


def test_with_upstream_no_mirror_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "probe", lambda: [("pkgs.k8s.io", "")])
    assert upstream.ensure(LabSpec(Path("/x"), nodes="containers"), lambda text: None) is None


@pytest.mark.parametrize(("usable", "needed"), [(True, {"of-vms", "of-containers"}), (False, {"of-containers"})])
def test_without_a_kvm_device_qemu_is_not_needed(
    usable: bool, needed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = {
        "vms": {"of-vms": "a"},
        "containers": {"of-containers": "b"},
        "": {"of-vms": "a", "of-containers": "b"},
    }
    monkeypatch.setattr(requirements, "PROGRAMS", programs)
    monkeypatch.setattr(requirements, "require_root", lambda: None)
    monkeypatch.setattr(accel, "usable", lambda: usable)
    with pytest.raises(ProvisionerError) as refusal:
        kinds.require(LabSpec(Path("/x")))
    assert {name for name in ("of-vms", "of-containers") if name in str(refusal.value)} == needed
