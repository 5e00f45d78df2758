"""Kubernetes objects as dicts: order, names, diffs that mask secrets."""

from __future__ import annotations

import copy

import pytest

from provisioner.kube import Object, objects
from provisioner.kube.objects import object_name
from provisioner.text import unified_diff


def secret(**data: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "data": data}


def test_namespaces_come_first_then_definitions() -> None:
    kinds = ["Role", "CustomResourceDefinition", "Deployment", "Namespace", "Role"]
    given = [{"kind": kind, "n": number} for number, kind in enumerate(kinds)]
    assert [(item["kind"], item["n"]) for item in objects.order(given)] == [
        ("Namespace", 3),
        ("CustomResourceDefinition", 1),
        ("Role", 0),
        ("Deployment", 2),
        ("Role", 4),
    ]


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        ({"kind": "Node", "metadata": {"name": "a"}}, "Node a"),
        ({"kind": "Pod", "metadata": {"name": "a", "namespace": "b"}}, "Pod b/a"),
    ],
)
def test_names(manifest: Object, name: str) -> None:
    assert object_name(manifest) == name


def test_fields_that_the_server_writes_are_not_compared() -> None:
    wanted = {"kind": "A", "metadata": {"name": "a"}, "spec": {"x": 1}}
    live = {
        "kind": "A",
        "metadata": {
            "name": "a",
            "uid": "u",
            "resourceVersion": "5",
            "generation": 2,
            "creationTimestamp": "t",
            "selfLink": "/a",
            "managedFields": [{}],
        },
        "spec": {"x": 1},
        "status": {"ready": True},
    }
    before = copy.deepcopy(live)
    assert objects.difference("a", live, wanted) == ""
    assert live == before, "the caller's object was modified"
    assert objects.difference("a", live, {**wanted, "spec": {"x": 2}}).splitlines()[-2:] == ["-  x: 1", "+  x: 2"]


@pytest.mark.parametrize(
    ("live", "wanted", "lines"),
    [
        (None, secret(a="c2VjcmV0"), ["+  a: (8 characters)"]),
        (secret(a="c2VjcmV0"), secret(a="c2VjcmV0"), []),
        (secret(a="c2VjcmV0"), secret(a="b3RoZXIx"), ["-  a: (8 characters)", "+  a: (8 characters, changed)"]),
        (secret(a="c2VjcmV0"), secret(a="c2VjcmV0", b="eA=="), ["+  b: (4 characters, changed)"]),
        (secret(a="c2VjcmV0", b="eA=="), secret(a="c2VjcmV0"), ["-  b: (4 characters)"]),
    ],
    ids=["new", "same", "same length", "one more", "one less"],
)
def test_secrets(live: Object | None, wanted: Object, lines: list[str]) -> None:
    diff = objects.difference("s", live, wanted)
    assert [line for line in diff.splitlines() if line.startswith(("+  ", "-  ")) and "characters" in line] == lines
    assert "c2VjcmV0" not in diff
    assert "b3RoZXIx" not in diff


def test_an_empty_secret() -> None:
    empty: Object = {"kind": "Secret", "metadata": {"name": "s"}, "data": None}
    assert objects.difference("s", empty, empty) == ""


def test_kubectls_copy_of_a_secret_is_masked() -> None:
    live = secret(a="c2VjcmV0")
    live["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": '{"data":{"a":"c2VjcmV0"}}'}
    assert "c2VjcmV0" not in objects.difference("s", live, secret(a="eA=="))


def test_ca_bundles_are_removed_at_any_depth() -> None:
    manifest = {"webhooks": [{"clientConfig": {"caBundle": "x", "url": "u"}}], "spec": {"caBundle": "y"}}
    assert objects.without_ca_bundles(manifest) == {"webhooks": [{"clientConfig": {"url": "u"}}], "spec": {}}
    assert manifest["spec"] == {"caBundle": "y"}


def test_containers_can_be_modified_in_place() -> None:
    manifest: Object = {
        "spec": {"template": {"spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}}}
    }
    found = objects.containers(manifest)
    assert [item["name"] for item in found] == ["i", "c"]
    found[1]["image"] = "x"
    assert manifest["spec"]["template"]["spec"]["containers"] == [{"name": "c", "image": "x"}]
    assert objects.containers({"kind": "Service", "spec": {"ports": []}}) == []
    assert objects.containers({"kind": "ConfigMap"}) == []


def test_ports_of_services_get_an_explicit_protocol() -> None:
    service: Object = {"kind": "Service", "spec": {"ports": [{"port": 1}, {"port": 2, "protocol": "UDP"}]}}
    assert objects.with_port_protocols(service)["spec"]["ports"] == [
        {"port": 1, "protocol": "TCP"},
        {"port": 2, "protocol": "UDP"},
    ]
    assert service["spec"]["ports"][0] == {"port": 1}
    assert objects.with_port_protocols({"kind": "Service", "spec": {"type": "ExternalName"}})["spec"] == {
        "type": "ExternalName"
    }
    other = {"kind": "Other", "spec": {"ports": [{"port": 1}]}}
    assert objects.with_port_protocols(other) == other


def _probed(**container: Object) -> Object:
    return {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"name": "c", **container}]}}}}


METALLB = {"initialDelaySeconds": 10, "periodSeconds": 10, "failureThreshold": 3, "timeoutSeconds": 1}


def _start(probe: Object) -> int:
    return int(probe.get("initialDelaySeconds", 0) + probe.get("failureThreshold", 3) * probe["periodSeconds"])


@pytest.mark.parametrize("scale", [1, 2, 8, 30])
@pytest.mark.parametrize("probe", [METALLB, {"periodSeconds": 1}, {}])
def test_probes_are_scaled(scale: float, probe: Object) -> None:
    given = _probed(livenessProbe=dict(probe), startupProbe=dict(probe), readinessProbe=dict(probe))
    made = objects.containers(objects.scale_probes(given, scale))[0]
    had = {"periodSeconds": 10, "failureThreshold": 3, **probe}
    for name in ("livenessProbe", "startupProbe", "readinessProbe"):
        assert made[name]["timeoutSeconds"] == scale
    for name in ("livenessProbe", "startupProbe"):
        assert made[name]["periodSeconds"] >= scale, "probes overlap"
        assert made[name]["failureThreshold"] == had["failureThreshold"] * scale, "the threshold is not scaled"
        assert _start(made[name]) >= _start(had) * scale
    assert made["readinessProbe"] == {**probe, "timeoutSeconds": scale}, (
        "only the timeout of a readiness probe is scaled"
    )
    if scale == 1:
        assert made["livenessProbe"].get("initialDelaySeconds") == probe.get("initialDelaySeconds")
    assert given == _probed(livenessProbe=dict(probe), startupProbe=dict(probe), readinessProbe=dict(probe))


def test_a_unified_diff_labels_both_sides() -> None:
    assert unified_diff("/etc/x", "a\n", "b\n") == "--- /etc/x (now)\n+++ /etc/x (wanted)\n@@ -1 +1 @@\n-a\n+b\n"
    assert unified_diff("/etc/x", "a\n", "a\n") == ""
