"""`l2 collect` reads old and new MetalLB: metrics over HTTPS from 0.16, pools in a ConfigMap before 0.13."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from provisioner.kube import Cluster
from provisioner.kube import templates as site_manifests
from provisioner.l2 import facts_file
from provisioner.l2.collect.metrics_token import REMEDY
from provisioner.site import Site
from tests.integration.kube.reaching import Connect
from tests.integration.l2.collect.cluster import MASTER, SECRET, pod, templates
from tests.integration.l2.collect.speaking import METRICS, NICS, collect, serving

pytestmark = pytest.mark.integration


def test_a_speaker_of_0_16_serves_its_metrics_over_https_with_a_token(
    admin: Cluster, site: Site, tls: ssl.SSLContext, speaker_metrics: None
) -> None:
    spec = templates("v0.16.1")["speaker"]["spec"]
    keep = {key: value for key, value in spec.items() if key not in ("volumes", "serviceAccountName")}
    keep["containers"] = [{key: value for key, value in spec["containers"][0].items() if key != "volumeMounts"}]
    pod(admin, "speaker-new", keep, on="master", ip=MASTER, labels={"app": "metallb", "component": "speaker"})
    try:
        with serving(MASTER, 9120, METRICS.replace(" 7\n", " 8\n").encode(), tls=tls):
            facts, notes = collect(admin, site, master=NICS)
            assert facts.metrics is not None, notes
            assert "master" not in facts.metrics
            assert any("there is no ServiceAccount provisioner-metrics in metallb-system" in note for note in notes)
            for item in site_manifests.read(site, "metallb/metrics.yaml"):
                admin.apply(item)
            facts, notes = collect(admin, site, worker1=NICS)
            assert any("its node master is not in hosts.toml" in note for note in notes), notes
            facts, notes = collect(admin, site, master=NICS)
        assert facts.metrics is not None
        assert facts.metrics["master"]["192.0.2.200"].responses_sent == 8
        assert facts.metrics["worker1"]["192.0.2.200"].responses_sent == 7
        assert facts.metallb.version is None
        assert any("the speakers run several versions (0.13.12, 0.16.1)" in note for note in notes)
        master = facts.node("master")
        assert master
        assert master.speaker == "ready", "the best of two pods, as during a rollout"
        with serving(MASTER, 9120, b"Unauthorized", status=401, tls=tls):
            facts, notes = collect(admin, site, master=NICS)
        assert facts.metrics is not None
        assert "master" not in facts.metrics
        (note,) = (note for note in notes if note.startswith("the metrics of speaker-new: unknown:"))
        remedy = REMEDY
        assert note.endswith(f"does not accept the token of provisioner-metrics (401): {remedy}")
    finally:
        admin.delete("Pod", "speaker-new", "metallb-system")
        admin.delete("ServiceAccount", "provisioner-metrics", "metallb-system")


def test_before_0_13_pools_are_in_a_config_map(connect: Connect, site: Site, admin: Cluster) -> None:
    old = connect()
    original = old.raw

    def raw(path: str, retry_for: float = 30) -> Any:
        """Hide the CRDs that this API server has."""
        answer = original(path, retry_for)
        if path == "/apis":
            answer["groups"] = [group for group in answer["groups"] if group["name"] != "metallb.io"]
        return answer

    old.raw = raw  # type: ignore[method-assign]
    assert collect(old, site)[0].pools == (), "neither custom resources nor a ConfigMap: no pools"
    config = f"""
        peers: [{{peer-address: 192.0.2.1, peer-asn: 64500, my-asn: 64501, password: {SECRET}}}]
        address-pools:
        - {{name: lab, protocol: layer2, addresses: [192.0.2.200-192.0.2.230], auto-assign: false}}
        - {{name: far, protocol: bgp, addresses: [198.51.100.0/24]}}
    """
    where = {"name": "config", "namespace": "metallb-system"}
    admin.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "data": {"config": config}})
    try:
        facts, _ = collect(old, site)
        assert facts.pools is not None
        assert [(pool.name, pool.protocol, pool.auto_assign) for pool in facts.pools] == [
            ("lab", "layer2", False),
            ("far", "bgp", True),
        ]
        assert (facts.advertisements, facts.l2_status) == ((), None)
        assert SECRET not in facts_file.dump(facts)
        broken = {"config": f"password: {SECRET}\naddress-pools: ]"}
        admin.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "data": broken})
        facts, notes = collect(old, site)
        assert facts.pools is None
        assert any("the ConfigMap of MetalLB's pools: invalid: not YAML (line 2)" in note for note in notes)
        assert not any(SECRET in note for note in notes)
    finally:
        admin.delete("ConfigMap", "config", "metallb-system")
