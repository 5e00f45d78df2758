"""What the check of the nodes advises: commands that mend what it found, and that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.checks import nodes
from provisioner.kube import Object
from tests.unit.checks.contexts import context, findings
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node

MASTER, W1 = node("master", "192.0.2.10"), node("w1", "192.0.2.11")
OLD_MASTER = node("master", "192.0.2.10", version="v1.20.1")
OLD_W1 = node("w1", "192.0.2.11", version="v1.20.1")
FOUND: dict[str, tuple[tuple[Object, ...], str, str, str]] = {
    "the whole cluster runs another version": (
        (OLD_MASTER, OLD_W1),
        "NODE_WRONG_VERSION",
        "w1",
        'write kubernetes = "1.20.1" under [cluster] in hosts.toml',
    ),
    "one node runs another version": (
        (MASTER, OLD_W1),
        "NODE_WRONG_VERSION",
        "w1",
        "provisioner node remove w1, then provisioner apply joins it anew",
    ),
    "the first control plane is no node": (
        (OLD_W1,),
        "NODE_WRONG_VERSION",
        "w1",
        'write kubernetes = "1.20.1" under [cluster] in hosts.toml',
    ),
    "a worker at another address": (
        (MASTER, node("w1", "10.0.2.15")),
        "NODE_WRONG_ADDRESS",
        "w1",
        "provisioner node rebuild w1",
    ),
    "the first control plane at another address, which cannot be rebuilt": (
        (node("master", "10.0.2.15"), W1),
        "NODE_WRONG_ADDRESS",
        "master",
        "put --node-ip=192.0.2.10 into /var/lib/kubelet/kubeadm-flags.env on it, then "
        "provisioner ssh master -- sudo systemctl restart kubelet",
    ),
    "cordoned": (
        (MASTER, node("w1", "192.0.2.11", unschedulable=True)),
        "NODE_CORDONED",
        "w1",
        "provisioner node uncordon w1",
    ),
    "of no host": (
        (MASTER, node("guest", "192.0.2.99")),
        "NODE_UNKNOWN",
        "guest",
        "add it to hosts.toml; where its machine is off for good: provisioner node remove guest --gone",
    ),
}


@pytest.mark.parametrize(("seen", "code", "subject", "remedy"), FOUND.values(), ids=FOUND)
def test_the_remedy(tmp_path: Path, seen: tuple[Object, ...], code: str, subject: str, remedy: str) -> None:
    found = findings(nodes.CHECK, context(tmp_path, FakeCluster(*seen)))
    (one,) = (one for one in found[code] if one.subject == subject)
    assert one.remedy == remedy
