"""What cannot be read is unknown, with a note, and nothing else is lost; without an API there is an error."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from provisioner.errors import ApiUnreachable
from provisioner.kube import Cluster
from provisioner.l2.collect import collector
from provisioner.l2.election import predictor
from provisioner.site import Site
from tests.integration.kube.apiserver import ControlPlane, issue
from tests.integration.kube.reaching import Connect
from tests.integration.l2.collect.speaking import NICS, collect

pytestmark = pytest.mark.integration


def test_without_metrics_their_facts_are_unknown(admin: Cluster, site: Site) -> None:
    facts, notes = collect(admin, site)
    assert facts.metrics is None
    assert facts.metallb.config == "unknown"
    assert facts.services
    assert any(note.startswith("the metrics of speaker-w: unknown:") for note in notes)
    assert collector.metrics(admin, {}) is None


def test_forbidden_sources_are_unknown_with_a_note(
    admin: Cluster, site: Site, control_plane: ControlPlane, connect: Connect
) -> None:
    rules = [{"apiGroups": [""], "resources": ["nodes", "services", "pods"], "verbs": ["get", "list"]}]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    admin.apply(rbac | {"kind": "ClusterRole", "metadata": {"name": "viewer"}, "rules": rules})
    subject = {"kind": "User", "name": "viewer", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "ClusterRole", "name": "viewer", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": "viewer"}, "subjects": [subject], "roleRef": role}
    admin.apply(rbac | {"kind": "ClusterRoleBinding"} | binding)
    viewer = connect(user=issue("viewer", by=control_plane.ca))

    def permitted() -> bool:
        return bool(viewer.list("Node"))

    admin.wait("the role to take effect", permitted, 60)
    facts, notes = collect(viewer, site, worker1=NICS)
    assert {one.name for one in facts.nodes} == {"master", "worker1"}
    assert facts.metallb.version == "0.13.12"
    assert facts.services is not None
    assert [one.endpoints for one in facts.services] == [None, None], "unknown, not empty"
    assert (facts.pools, facts.advertisements, facts.l2_status) == (None, None, None)
    assert (facts.kube_proxy.mode, facts.others.servicelb) == (None, False)
    for what in ("pools", "advertisements", "endpoints", "kube-proxy's mode"):
        assert any(note.startswith(f"{what}: unknown: the API refused to") for note in notes), (what, notes)
    prediction = predictor.predict(facts, ip_address("192.0.2.200"), facts.services[1])
    assert prediction.candidates is None


def test_an_api_lost_midway_leaves_the_rest_unknown(
    admin: Cluster, site: Site, control_plane: ControlPlane, connect: Connect
) -> None:
    dying = connect()
    original = dying.raw

    def raw(path: str, retry_for: float = 30) -> Any:
        if path == "/apis/metallb.io/v1beta1" and "kube-apiserver" in control_plane.running:
            control_plane.kill("kube-apiserver")
        return original(path, retry_for)

    dying.raw = raw  # type: ignore[method-assign]
    try:
        facts, notes = collect(dying, site, worker1=NICS)
    finally:
        control_plane.start_api()
    assert {one.name for one in facts.nodes} == {"master", "worker1"}, "already read"
    assert (facts.pools, facts.advertisements, facts.metrics, facts.kube_proxy.mode) == (None, None, None, None)
    assert facts.services is not None
    assert [one.endpoints for one in facts.services] == [None, None]
    lost = [note for note in notes if "the API was lost midway" in note]
    assert len(lost) == 1, notes


def test_an_api_that_does_not_answer_at_all_is_an_error(
    admin: Cluster, site: Site, control_plane: ControlPlane, connect: Connect
) -> None:
    gone = connect()
    control_plane.kill("kube-apiserver")
    try:
        with pytest.raises(ApiUnreachable):
            collect(gone, site, worker1=NICS)
    finally:
        control_plane.start_api()
