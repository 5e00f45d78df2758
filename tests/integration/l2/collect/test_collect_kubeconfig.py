"""With a kubeconfig and l2/rbac.yaml an account reads what an administrator reads; with less it says so."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.kube import Cluster, ClusterView, kubeconfig_file
from provisioner.kube.manifests import load
from provisioner.l2.collect import collector
from provisioner.l2.facts import Facts
from tests.integration.kube.apiserver import ControlPlane
from tests.integration.l2.collect.cluster import WORKER
from tests.integration.l2.collect.speaking import METRICS, serving

pytestmark = pytest.mark.integration
RBAC = Path(__file__).parents[4] / "l2"
Reading = Callable[..., tuple[Facts, list[str]]]


@pytest.fixture
def reading(admin: Cluster, control_plane: ControlPlane, tmp_path: Path) -> Iterator[Reading]:
    """Return a function that collects as the account of l2/rbac.yaml, after the administrator applied some files."""
    opened: list[ClusterView] = []

    def read(*files: str, without: tuple[str, ...] = ()) -> tuple[Facts, list[str]]:
        for name in files:
            for item in load(RBAC / name):
                for rule in item.get("rules", ()):
                    rule["resources"] = [one for one in rule["resources"] if one not in without] or ["none"]
                admin.apply(item)
        token = admin.token("kube-system", "l2-reader", 600)
        document = {
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": control_plane.url,
                        "certificate-authority-data": base64.b64encode(control_plane.ca.certificate).decode(),
                    },
                }
            ],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = tmp_path / "config"
        path.write_text(json.dumps(document))
        cluster = ClusterView.of_kubeconfig(kubeconfig_file.load([path]))
        opened.append(cluster)
        admin.wait("the role to take effect", lambda: _allowed(cluster), 60)
        notes: list[str] = []
        return collector.from_cluster(cluster, None, note=notes.append), notes

    yield read
    for cluster in opened:
        cluster.disconnect()
    for kind in ("ClusterRoleBinding", "ClusterRole"):
        admin.delete(kind, "l2-reader", api_version="rbac.authorization.k8s.io/v1")
    for kind in ("RoleBinding", "Role"):
        admin.delete(kind, "l2-reader", "metallb-system", api_version="rbac.authorization.k8s.io/v1")


def _allowed(cluster: ClusterView) -> bool:
    """Tell whether the role works by now: every role here allows to list Leases or Services."""
    return cluster.list("Lease", api_version="coordination.k8s.io/v1") is not None


def test_the_shipped_role_reads_what_an_administrator_reads(reading: Reading, admin: Cluster) -> None:
    facts, notes = reading("rbac.yaml")
    everything = collector.from_cluster(admin, None)
    assert facts == everything.model_copy(update={"speaker_log": facts.speaker_log})
    assert {one.name for one in facts.nodes} == {"master", "worker1"}
    assert [one.nics for one in facts.nodes] == [None, None], "unknown, not empty"
    assert notes.count("the nodes' interfaces are unknown without SSH; their MACs are learned from their own answers")
    refused = [note for note in notes if "refused" in note]
    assert refused, "logs and counters need rbac-metallb.yaml"
    assert all(note.startswith(("the log of speaker-", "the metrics of speaker-")) for note in refused), refused
    assert not any("hosts.toml" in note for note in notes), notes


def test_the_second_file_adds_the_speakers_counters(reading: Reading) -> None:
    with serving(WORKER, 7472, METRICS.encode()):
        facts, notes = reading("rbac.yaml", "rbac-metallb.yaml")
    assert facts.metrics is not None
    assert facts.metrics["worker1"]["192.0.2.200"].requests_received == 120
    assert not any("refused" in note and "the metrics of" in note for note in notes), notes


@pytest.mark.parametrize(
    ("resource", "what", "unknown"),
    [
        ("pods", "pods", lambda facts: [node.speaker for node in facts.nodes] == [None, None]),
        ("nodes", "nodes", lambda facts: facts.nodes == ()),
        ("endpoints endpointslices", "endpoints", lambda facts: {one.endpoints for one in facts.services} == {None}),
        ("ipaddresspools", "pools", lambda facts: facts.pools is None),
        ("configmaps", "kube-proxy's mode", lambda facts: facts.kube_proxy.mode is None),
    ],
)
def test_with_less_it_says_what_is_unknown(
    reading: Reading, resource: str, what: str, unknown: Callable[[Facts], bool]
) -> None:
    facts, notes = reading("rbac.yaml", without=tuple(resource.split()))
    assert unknown(facts)
    assert any(note.startswith(f"{what}") and "unknown: the API refused to" in note for note in notes), notes
