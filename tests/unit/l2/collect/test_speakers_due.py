"""Which nodes should have a speaker, by pods and DaemonSets."""

from __future__ import annotations

import pytest

from provisioner.l2.collect.speakers import components, metallb, speaker_state
from tests.unit.l2.collect.api import SPEAKER, pod


def test_a_pending_pods_node_is_in_its_affinity() -> None:
    pending = pod(ready=False)
    del pending["spec"]["nodeName"]
    fields = [{"key": "metadata.name", "operator": "In", "values": ["w1"]}]
    required = {"nodeSelectorTerms": [{"matchFields": fields}]}
    pending["spec"]["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    found = components([pending], [])
    assert (speaker_state(found, "w1"), speaker_state(found, "w2")) == ("failing", "missing")


@pytest.mark.parametrize(("status", "wanted"), [({"desiredNumberScheduled": 2}, 2), ({}, None), (None, None)])
def test_how_many_speakers_the_daemon_set_should_run(status: dict[str, int] | None, wanted: int | None) -> None:
    named = {"name": "speaker", "namespace": "metallb-system", "labels": SPEAKER}
    daemon_set = {"metadata": named, "spec": {"template": {"spec": pod()["spec"]}}, "status": status}
    assert metallb(components([pod()], [daemon_set]), lambda text: None).speakers_wanted == wanted
    assert metallb(components([pod()], None), lambda text: None).speakers_wanted is None
