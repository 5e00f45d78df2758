"""eth0 of a node: slirp4netns, the user-space NAT that QEMU gives a VM, too; the host's packet filter is untouched."""

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from provisioner.errors import ProvisionerError
from provisioner.lab import network

PROGRAM = "slirp4netns"
_START_SECONDS = 20.0


@contextmanager
def running(pid: int, namespace: str, *, uplink: bool) -> Iterator[None]:
    """Give the network namespace of process `pid` an eth0, down, whose NAT lasts as long as the context.

    Without an uplink the NAT runs inside the lab's namespace and leads nowhere. It also ends with this process.
    """
    ready, tell_ready = os.pipe()
    alive, keep_alive = os.pipe()
    argv = [
        PROGRAM, "--mtu=1500", "--cidr=10.0.2.0/24", "--disable-host-loopback",
        f"--ready-fd={tell_ready}", f"--exit-fd={alive}", str(pid), "eth0",
    ]  # fmt: skip
    process = subprocess.Popen(
        argv if uplink else network.inside(namespace, argv), stdin=subprocess.DEVNULL, pass_fds=(tell_ready, alive)
    )
    os.close(tell_ready)
    os.close(alive)
    try:
        if not (select.select([ready], [], [], _START_SECONDS)[0] and os.read(ready, 1)):
            raise ProvisionerError(f"{PROGRAM} did not start", "see the node's node.log; provisioner lab up")
        yield
    finally:
        process.kill()
        process.wait()
        os.close(ready)
        os.close(keep_alive)
