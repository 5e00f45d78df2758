"""The nodes check: findings and remedies."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.checks import nodes
from provisioner.kube import Object
from tests.unit.checks.contexts import context, findings
from tests.unit.fake_cluster import FakeCluster
from tests.unit.objects import node

NODES = [node("master", "192.0.2.10"), node("w1", "192.0.2.11"), node("w2", "192.0.2.12")]


def test_ready_nodes_pass_in_one_request(tmp_path: Path) -> None:
    cluster = FakeCluster(*NODES)
    found = findings(nodes.CHECK, context(tmp_path, cluster))
    assert [(one.ok, one.subject, one.detail) for one in found.pop("NODE_READY")] == [
        (True, "master", "is Ready at 192.0.2.10 with kubelet 1.20.2"),
        (True, "w1", "is Ready at 192.0.2.11 with kubelet 1.20.2"),
        (True, "w2", "is Ready at 192.0.2.12 with kubelet 1.20.2"),
    ]
    assert not found
    assert len(cluster.reads) == 1


@pytest.mark.parametrize(
    ("changed", "code", "ok", "words"),
    [
        (None, "NODE_MISSING", False, "is not a node of the cluster"),
        (node("w2", "192.0.2.12", ready="False"), "NODE_NOT_READY", False, "not Ready: what the kubelet says"),
        (node("w2", "192.0.2.12", ready="Unknown"), "NODE_NOT_READY", False, "is not Ready"),
        (node("w2", "10.0.2.15"), "NODE_WRONG_ADDRESS", False, "has the InternalIP 10.0.2.15, not 192.0.2.12"),
        (node("w2", "192.0.2.12", version="v1.19.9"), "NODE_WRONG_VERSION", False, "runs kubelet 1.19.9"),
        (node("w2", "192.0.2.12", version="v1.20.2-4+deb12u1"), "NODE_READY", True, "with kubelet 1.20.2"),
        (node("w2", "192.0.2.12", unschedulable=True), "NODE_CORDONED", True, "gets no new pods"),
    ],
)
def test_a_node_that_differs_is_reported(
    tmp_path: Path, changed: Object | None, code: str, ok: bool, words: str
) -> None:
    found = findings(nodes.CHECK, context(tmp_path, FakeCluster(*NODES[:2], *([changed] if changed else []))))
    (one,) = (one for one in found[code] if one.subject == "w2")
    assert one.ok is ok
    assert words in one.detail
    assert bool(one.remedy) is (code != "NODE_READY")
    if code == "NODE_NOT_READY":
        assert one.evidence == ("Warning Something about default/w2",)


def test_a_node_that_is_not_in_hosts_toml_is_named(tmp_path: Path) -> None:
    found = findings(nodes.CHECK, context(tmp_path, FakeCluster(*NODES, node("guest", "192.0.2.99"))))
    (one,) = found["NODE_UNKNOWN"]
    assert (one.ok, one.subject) == (True, "guest")


MASTER, W1 = node("master", "192.0.2.10"), node("w1", "192.0.2.11")
OLD_MASTER = node("master", "192.0.2.10", version="v1.20.1")
OLD_W1 = node("w1", "192.0.2.11", version="v1.20.1")
REMEDIES: dict[str, tuple[tuple[Object, ...], str, str, str]] = {
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
        "provisioner node remove w1; then join it again: provisioner apply",
    ),
    "the first control plane is not a node": (
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
        "set --node-ip=192.0.2.10 in /var/lib/kubelet/kubeadm-flags.env on it, then: "
        "provisioner ssh master -- sudo systemctl restart kubelet",
    ),
    "cordoned": (
        (MASTER, node("w1", "192.0.2.11", unschedulable=True)),
        "NODE_CORDONED",
        "w1",
        "provisioner node uncordon w1",
    ),
    "not in hosts.toml": (
        (MASTER, node("guest", "192.0.2.99")),
        "NODE_UNKNOWN",
        "guest",
        "add it to hosts.toml; if its machine is gone for good: provisioner node remove guest --gone",
    ),
}


@pytest.mark.parametrize(("live", "code", "subject", "remedy"), REMEDIES.values(), ids=REMEDIES)
def test_the_remedy_fits_the_cluster(
    tmp_path: Path, live: tuple[Object, ...], code: str, subject: str, remedy: str
) -> None:
    found = findings(nodes.CHECK, context(tmp_path, FakeCluster(*live)))
    (one,) = (one for one in found[code] if one.subject == subject)
    assert one.remedy == remedy
