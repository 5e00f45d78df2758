"""Where a speaker is due, by what the API says of pods and DaemonSets."""

from __future__ import annotations

import pytest

from provisioner.l2.collect.speakers import components, metallb, speaker_state
from tests.unit.l2.collect.api import SPEAKER, pod


def test_a_pod_that_waits_is_meant_for_a_node_by_its_affinity() -> None:
    waits = pod(ready=False)
    del waits["spec"]["nodeName"]
    fields = [{"key": "metadata.name", "operator": "In", "values": ["w1"]}]
    required = {"nodeSelectorTerms": [{"matchFields": fields}]}
    waits["spec"]["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    found = components([waits], [])
    assert (speaker_state(found, "w1"), speaker_state(found, "w2")) == ("failing", "missing")


@pytest.mark.parametrize(("status", "wanted"), [({"desiredNumberScheduled": 2}, 2), ({}, None), (None, None)])
def test_how_many_speakers_the_daemon_set_wants(status: dict[str, int] | None, wanted: int | None) -> None:
    named = {"name": "speaker", "namespace": "metallb-system", "labels": SPEAKER}
    daemon_set = {"metadata": named, "spec": {"template": {"spec": pod()["spec"]}}, "status": status}
    assert metallb(components([pod()], [daemon_set]), lambda text: None).speakers_wanted == wanted
    assert metallb(components([pod()], None), lambda text: None).speakers_wanted is None
