"""The process that stands for a node: boots it, keeps its console log, starts it again when it reboots.

Run as `python -m provisioner.lab.containers.supervisor LAUNCH_FILE MACHINE_ID --lab RUN_DIRECTORY`; the last two only
identify the process. When it ends, by whatever, the kernel kills the node's PID 1, and with it all its processes.
"""

import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from provisioner.lab import network
from provisioner.lab.containers import cgroups, nat, syscalls
from provisioner.lab.containers.boot import boot
from provisioner.lab.containers.launch import Launch, read
from provisioner.lab.spec import NAT_MAC

_GO = b"g"
_NAMESPACES = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWNET
)  # fmt: skip


def main() -> None:
    """Run the node until it powers off."""
    launch = read(Path(sys.argv[1]))
    ready = Path(launch.files, "booted")
    while True:
        ready.unlink(missing_ok=True)
        cgroups.remove(launch.lab, launch.node)
        size = cgroups.Size(launch.memory, launch.cpus, launch.lab_cpus)
        cgroups.make(launch.lab, launch.node, size, cgroups.hierarchies())
        status = _run(launch, ready)
        ready.unlink(missing_ok=True)
        cgroups.remove(launch.lab, launch.node)
        # reboot(2): in a PID namespace, a restart kills its init with SIGHUP, a power-off with SIGINT.
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGHUP):
            return
        print("supervisor: the node reboots", flush=True)


def _run(launch: Launch, ready: Path) -> int:
    """Boot the node once and return the wait status of its PID 1."""
    with ExitStack() as cleanup:
        master, slave = _kept(cleanup, os.openpty())
        unshared, tell_unshared = os.pipe()
        go, tell_go = os.pipe()
        failed, tell_failed = os.pipe()  # closed on exec: its end means that systemd runs
        _kept(cleanup, (unshared, tell_go, failed))
        with _next_child_in_new_pid_namespace():
            pid = os.fork()
            if pid == 0:
                for fd in (master, unshared, tell_go, failed):
                    os.close(fd)
                _child(launch, os.ttyname(slave), tell_unshared, go, tell_failed)
        for fd in (tell_unshared, go, tell_failed):
            os.close(fd)
        cleanup.callback(network.unplug, launch.namespace, launch.ports)
        if os.read(unshared, 1):
            _plug(launch, pid)
            cleanup.enter_context(nat.running(pid, launch.namespace, uplink=launch.uplink))
            subprocess.run(
                ["nsenter", "--net", "--target", str(pid), "ip", "link", "set", "eth0", "address", NAT_MAC], check=True
            )
            os.write(tell_go, _GO)
        if not _read_all(failed):
            ready.write_text(f"{pid}\n")
        _copy_console(master, pid)
        return os.waitpid(pid, 0)[1]


def _kept(cleanup: ExitStack, descriptors: tuple[int, ...]) -> tuple[int, ...]:
    for fd in descriptors:
        cleanup.callback(os.close, fd)
    return descriptors


@contextmanager
def _next_child_in_new_pid_namespace() -> Iterator[None]:
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.unshare(syscalls.CLONE_NEWPID)
        yield
        syscalls.setns(own, syscalls.CLONE_NEWPID)  # or the next boot of the node could not have another one
    finally:
        os.close(own)


def _child(launch: Launch, console: str, tell_unshared: int, go: int, tell_failed: int) -> None:
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        os.setsid()
        syscalls.unshare(_NAMESPACES)
        os.write(tell_unshared, _GO)
        if os.read(go, 1) == _GO:
            tty = os.open(console, os.O_RDWR | os.O_NOCTTY)
            for fd in (0, 1, 2):
                os.dup2(tty, fd)
            boot(launch, console, cgroups.hierarchies())
    except BaseException:
        message = traceback.format_exc().encode()
        os.write(2, message)
        os.write(tell_failed, message)
    finally:
        os._exit(1)


def _plug(launch: Launch, pid: int) -> None:
    """Make eth1 and what follows of the process's network namespace, each with a port on the lab's bridge."""
    network.unplug(launch.namespace, launch.ports)
    for nic, (port, mac) in launch.ports.items():
        network.ip("-n", launch.namespace, "link", "add", port, "type", "veth",
                   "peer", "name", nic, "address", mac, "netns", str(pid))  # fmt: skip
        network.ip("-n", launch.namespace, "link", "set", port, "master", network.BRIDGE, "up")


def _copy_console(master: int, pid: int) -> None:
    """Copy the console to the log (standard output) until PID 1 has ended."""
    alive = os.pidfd_open(pid)
    try:
        while True:
            readable, _, _ = select.select([master, alive], [], [])
            if master in readable:
                with suppress(OSError):  # a full disk must not stop the node
                    os.write(1, os.read(master, 65536))
            elif alive in readable:
                return
    finally:
        os.close(alive)


def _read_all(fd: int) -> bytes:
    content = b""
    while data := os.read(fd, 65536):
        content += data
    return content


if __name__ == "__main__":
    main()
