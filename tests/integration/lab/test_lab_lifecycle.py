"""A small real lab: up, addresses, snapshot, restore, power, SIGKILL during up, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.lab import accel, background, guest, image, lifecycle, monitor, network, qemu, requirements, snapshots
from provisioner.lab.spec import LabSpec, save
from tests import labs

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces and a Debian image"),
    pytest.mark.skipif(
        bool(requirements.missing_programs("vms")), reason=f"needs {requirements.missing_programs('vms')}"
    ),
]
CHECKOUT = Path(__file__).resolve().parents[3]
# `up` in another process: a folder, a name and the number of workers.
UP = """
import sys
from pathlib import Path
from provisioner.lab import lifecycle
from provisioner.lab.spec import LabSpec

folder, name, workers = sys.argv[1:]
small = {"master_cpus": 1, "master_memory": 512, "worker_memory": 512}
lifecycle.up(LabSpec(Path(folder), name, workers=int(workers), nodes="vms", **small), None, progress=print)
"""


def progress(text: str) -> None:
    print(text, file=sys.stderr)


def small(directory: Path, purpose: str, workers: int) -> LabSpec:
    """Return a lab of small VMs, also where containers are the default."""
    name = labs.named(purpose)
    return LabSpec(directory, name, workers=workers, master_cpus=1, master_memory=512, worker_memory=512, nodes="vms")


@pytest.fixture(scope="module", autouse=True)
def cleared() -> None:
    """Destroy the labs of killed runs, which would slow this one down."""
    labs.clear()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabSpec]:
    """Two running VMs in a lab with its own name, next to any other lab that is up."""
    wanted = small(tmp_path_factory.mktemp("lab"), "t", workers=1)
    try:
        yield lifecycle.up(wanted, None, progress=progress)
    finally:
        lifecycle.destroy(wanted)


def on(lab: LabSpec, name: str, command: str) -> str:
    argv = guest.ssh_command(lab, lab.vm(name), [command])
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_two_nics_as_with_vagrant(lab: LabSpec) -> None:
    for vm in lab.vms:
        addresses = on(lab, vm.name, "ip -brief -4 address; ip -brief link; ip route")
        assert "10.0.2.15/24" in addresses
        assert f"{vm.address}/24" in addresses
        assert vm.mac in addresses
        assert "default via 10.0.2.2 dev eth0" in addresses


def test_machines_are_blank_and_distinct(lab: LabSpec) -> None:
    ask = (
        "hostname; cat /etc/machine-id; sudo cat /sys/class/dmi/id/product_uuid; "
        "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub"
    )
    facts = {name: on(lab, name, ask) for name in ("master", "worker1")}
    for one, other in zip(facts["master"].splitlines(), facts["worker1"].splitlines(), strict=True):
        assert one != other
    assert facts["worker1"].splitlines()[0] == "worker1"
    absent = "containerd kubelet mount.nfs conntrack iptables"
    assert on(lab, "master", f"for p in {absent}; do command -v $p || true; done") == ""


def test_nothing_leads_out_of_the_lab(lab: LabSpec) -> None:
    # 192.0.2.0/24 (RFC 5737) is used by nobody; there must not even be a route to it.
    for namespace in (lab.namespace, lab.operator):
        route = subprocess.run(
            ["ip", "-n", namespace, "route", "get", "192.0.2.1"], capture_output=True, text=True, check=False
        )
        assert route.returncode != 0, route.stdout
    for vm in lab.vms:
        assert qemu.pid(lab, vm) in network.processes(lab.namespace)


def test_a_second_up_changes_nothing(lab: LabSpec) -> None:
    before = [qemu.pid(lab, vm) for vm in lab.vms]
    lifecycle.up(lab, None, progress=progress)
    assert [qemu.pid(lab, vm) for vm in lab.vms] == before


def test_snapshot_and_restore(lab: LabSpec) -> None:
    on(lab, "master", "echo before > marker; sync")
    snapshots.snapshot(lab, "mark", progress)
    assert snapshots.list_snapshots(lab) == ("mark",)
    saved = time.time()
    on(lab, "master", "echo after > marker; sync")
    on(lab, "worker1", "touch new; sync")
    # Long enough to reveal a clock that was not set.
    assert background.wait_until(lambda: time.time() - saved > 10, 20)
    snapshots.restore(lab, "mark", progress)
    assert on(lab, "master", "cat marker") == "before"
    assert on(lab, "worker1", "ls -A | grep new || true") == ""
    for vm in lab.vms:
        earliest = time.time()
        clock = float(on(lab, vm.name, "date +%s.%N"))
        assert earliest - 2 < clock < time.time() + 2


def test_restore_starts_machines_that_are_off(lab: LabSpec) -> None:
    on(lab, "master", "echo before > marker; sync")
    snapshots.snapshot(lab, "mark", progress)
    boot = on(lab, "worker1", "cat /proc/sys/kernel/random/boot_id")
    lifecycle.power_off(lab, "worker1")
    assert [row.state for row in lifecycle.status(lab).vms] == ["running", "off"]
    snapshots.restore(lab, "mark", progress)
    assert on(lab, "worker1", "cat /proc/sys/kernel/random/boot_id") == boot


def test_the_error_for_an_unknown_snapshot_lists_the_snapshots(lab: LabSpec) -> None:
    snapshots.snapshot(lab, "mark", progress)
    with pytest.raises(ProvisionerError, match="mark"):
        snapshots.restore(lab, "other", progress)


def test_up_resumes_machines_that_an_interrupted_snapshot_paused(lab: LabSpec) -> None:
    vm = lab.vm("worker1")
    with monitor.connect(qemu.monitor_socket(lab, vm), vm.name) as qmp:
        qmp.command("stop")
    assert [row.state for row in lifecycle.status(lab).vms] == ["running", "paused"]
    lifecycle.up(lab, None, progress=progress)
    assert [row.state for row in lifecycle.status(lab).vms] == ["running", "running"]


def test_a_machine_without_its_monitor_socket_is_restarted(lab: LabSpec) -> None:
    snapshots.snapshot(lab, "mark", progress)
    qemu.monitor_socket(lab, lab.vm("master")).unlink()
    assert [row.state for row in lifecycle.status(lab).vms] == ["lost", "running"]
    snapshots.restore(lab, "mark", progress)
    assert [row.state for row in lifecycle.status(lab).vms] == ["running", "running"]


def test_down_keeps_disks_and_up_starts_the_machines(lab: LabSpec) -> None:
    on(lab, "master", "echo kept > kept; sync")
    lifecycle.down(lab, progress)
    assert all(row.state == "off" for row in lifecycle.status(lab).vms)
    lifecycle.up(lab, None, progress=progress)
    assert on(lab, "master", "cat kept") == "kept"


def test_tcg_passes_the_trial_that_kvm_has_to_pass(lab: LabSpec) -> None:
    del lab
    built = image.cached()
    assert built is not None
    assert accel.trial(built, "tcg", seconds=120) == ""


def test_up_can_be_killed_and_run_again_and_destroy_leaves_nothing(tmp_path: Path) -> None:
    wanted = small(tmp_path / "lab", "k", workers=1)
    try:
        for seconds in (0.3, 0.5, 0.7, 0.9, 1.2, 2.0):
            run = subprocess.Popen([sys.executable, "-c", UP, wanted.directory, wanted.name, "1"], cwd=CHECKOUT)
            background.wait_until(lambda run=run: run.poll() is not None, seconds, pause=0.05)  # type: ignore[misc]
            run.send_signal(signal.SIGKILL)
            run.wait()
        spec = lifecycle.up(wanted, None, progress=progress)
        assert len(qemu.orphans(spec)) == len(spec.vms), "one process per machine"
        assert on(spec, "worker1", "hostname") == "worker1"

        background.start(spec.directory, "client", network.inside(spec.namespace, ["sleep", "600"]), tmp_path)
        client = background.pid(spec.directory, "client", ["sleep"])
        assert client
        processes = (client, *qemu.orphans(spec))
    finally:
        lifecycle.destroy(wanted)
    assert [background.arguments(number) for number in processes] == [()] * 3
    assert qemu.orphans(wanted) == ()
    assert not network.exists(wanted.namespace)
    assert not network.exists(wanted.operator)
    assert not wanted.run.exists()
    assert not wanted.directory.exists()


def test_a_lab_whose_directory_was_deleted_is_found_and_destroyed(tmp_path: Path) -> None:
    spec = small(tmp_path / "lab", "g", workers=0)
    lifecycle.up(spec, None, progress=progress)
    shutil.rmtree(spec.directory)
    remains = lifecycle.find_remains(spec.directory)
    assert remains is not None
    assert remains.name == spec.name
    lifecycle.destroy(remains)
    assert qemu.orphans(spec) == ()
    assert not network.exists(spec.namespace)


def test_the_lab_of_a_killed_run_is_found_and_destroyed(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    name = labs.named("d", dead.pid)
    subprocess.run([sys.executable, "-c", UP, tmp_path / "lab", name, "0"], cwd=CHECKOUT, check=True)
    remains = next(found for found in labs.of_killed_runs() if found.name == name)
    assert len(qemu.orphans(remains)) == 1
    labs.clear()
    assert qemu.orphans(remains) == ()
    assert name not in [found.name for found in labs.of_killed_runs()]


def test_a_name_in_use_is_refused(lab: LabSpec, tmp_path: Path) -> None:
    with pytest.raises(ProvisionerError, match="already belongs"):
        lifecycle.up(replace(lab, directory=tmp_path / "second"), None, progress=progress)
    assert lifecycle.find_remains(tmp_path / "second") is None


def test_destroying_a_namesake_does_not_affect_the_lab(lab: LabSpec, tmp_path: Path) -> None:
    before = lifecycle.status(lab)
    namesake = replace(lab, directory=tmp_path / "second")
    save(namesake)
    lifecycle.destroy(namesake)
    assert not namesake.directory.exists()
    assert lifecycle.status(lab) == before
    assert on(lab, "worker1", "hostname") == "worker1"
