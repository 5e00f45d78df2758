"""Manifests: the result of substitution for each type of value, and the message for each mistake."""

import doctest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.errors import ProvisionerError
from provisioner.kube import manifests

OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"


def value_of(text: str, values: dict[str, Any] | None) -> Any:
    return manifests.load(f"{OBJECT}value: {text}\n", values)[0]["value"]


@pytest.mark.parametrize(
    ("text", "values", "wanted"),
    [
        ("${a}", {"a": ["x", 1]}, ["x", 1]),
        ("${a}", {"a": ("x",)}, ["x"]),
        ("${a}", {"a": 8080}, 8080),
        ("${a}", {"a": "8080"}, "8080"),
        ("${a}", {"a": "no"}, "no"),
        ("${a}", {"a": True}, True),
        ("${a}", {"a": None}, None),
        ("${a}", {"a": ""}, ""),
        ("'${a}'", {"a": {"k": [1]}}, {"k": [1]}),
        ("v${a}", {"a": 1}, "v1"),
        ("v${a}", {"a": True}, "vtrue"),
        ("1${a}", {"a": 1}, "11"),
        ("${a}/${b}", {"a": "x", "b": "y"}, "x/y"),
        ("${a}", {"a": "${b}: {x}\n- y"}, "${b}: {x}\n- y"),
        ("$${a}", {}, "${a}"),
        ("echo $HOME $(id)", {}, "echo $HOME $(id)"),
        ("${a}", None, "${a}"),
        ("2026-11-22", {}, "2026-11-22"),
        ("2026-99-99", {}, "2026-99-99"),
        ("10", {}, 10),
        ("[&x '$${a}', *x]", {}, ["${a}", "${a}"]),
    ],
)
def test_values(text: str, values: dict[str, Any] | None, wanted: Any) -> None:
    assert value_of(text, values) == wanted


def test_values_are_copied_for_each_placeholder() -> None:
    found = manifests.load(f"{OBJECT}a: '${{l}}'\nb: '${{l}}'\n", {"l": ["x"]})[0]
    found["a"].append("y")
    assert found["b"] == ["x"]


def test_a_key_is_substituted() -> None:
    assert manifests.load(f"{OBJECT}data: {{'x-${{a}}': 1}}", {"a": "k"})[0]["data"] == {"x-k": 1}


def test_documents_keep_their_order_and_lists_are_unrolled() -> None:
    one, two = OBJECT, OBJECT.replace("one", "two")
    first, second = (f"{{apiVersion: v1, kind: A, metadata: {{name: {name}}}}}" for name in "AB")
    unrolled = f"apiVersion: v1\nkind: List\nitems:\n- {first}\n- {second}\n"
    found = manifests.load(f"---\n{one}---\n# nothing\n---\n{two}---\n{unrolled}", {})
    assert [item["metadata"]["name"] for item in found] == ["one", "two", "A", "B"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{OBJECT}a: 1\nb: x${{ingres_class}}\n", "m.yaml:5: ${ingres_class} has no value here; "),
        (
            f"{OBJECT}a: ${{ingres_class}}\n",
            "did you mean ${ingress_class}? known names: ingress_class, list",
        ),
        (f"{OBJECT}---\n{OBJECT}a:\n- x\n- ${{}}\n", "m.yaml:10: '${}' is not of the form ${name}"),
        (f"{OBJECT}a: '${{open'\n", "m.yaml:4: '${open' is not of the form ${name}; write $${"),
        (f"{OBJECT}a: 'x ${{list}}'\n", "m.yaml:4: ${list} is a list and cannot be part of a string"),
        (f"{OBJECT}a: [1\nb: 2\n", "m.yaml:5: invalid YAML"),
        (f"{OBJECT}a: b: c\n", "m.yaml:4: invalid YAML"),
        (f"{OBJECT}a: *nobody\n", "m.yaml:4: invalid YAML"),
        (f"{OBJECT}a: !!python/object:os.system x\n", "m.yaml:4: invalid YAML"),
        (f"{OBJECT}a: 1\na: 2\n", "m.yaml:5: duplicate key 'a'"),
        (f"{OBJECT}---\n- 1\n", "m.yaml:5: a document of a manifest must be an object, not a list"),
        (f"{OBJECT}---\nkind: Service\n", "m.yaml:5: the object has no apiVersion or metadata.name"),
        ("kind: List\napiVersion: v1\n", "m.yaml:1: the object has no items"),
        ("\x01", "m.yaml: invalid YAML"),
        (f"{OBJECT}a: {'[' * 900}{']' * 900}", "m.yaml:4: not a manifest: nested more than 200 levels deep"),
    ],
)
def test_a_mistake_is_reported_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ProvisionerError) as caught:
        manifests.load(text, {"ingress_class": "nginx", "list": [1]}, "m.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def made(kind: str, rest: str = "") -> str:
    return f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: web}}\n{rest}\n"


POD = "spec: {template: {spec: {containers: [{name: a}]}}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (made("Ingress"), "m.yaml:1: there is no spec in Ingress web; add spec:"),
        (made("Service", "spec:"), "m.yaml:1: there is no spec in Service web"),
        (made("Service", "spec: {ports: [80]}"), "m.yaml:1: spec.ports must be a list of objects in Service web"),
        (made("Service", "spec: {ports: {port: 80}}"), "spec.ports must be a list of objects in Service web"),
        (made("Ingress", "spec: {tls: [course.test]}"), "spec.tls must be a list of objects in Ingress web"),
        (made("Ingress", "spec: {tls: [{hosts: course.test}]}"), "spec.tls.hosts must be a list of names"),
        (made("Deployment", "spec: {template: {}}"), "there is no spec.template.spec in Deployment web"),
        (made("DaemonSet", "spec: {template: }"), "there is no spec.template in DaemonSet web"),
        (made("Deployment", POD.replace("{name: a}", "a")), "spec.template.spec.containers must be a list of objects"),
        (made("Pod", "spec: []"), "spec must be an object in Pod web"),
        (made("ConfigMap", "data: text"), "data must be an object in ConfigMap web"),
        (made("Pod").replace("name: web", "name: web, namespace: 7"), "metadata.namespace must be a string"),
        (made("Pod").replace("name: web", "name: web, labels: [a]"), "metadata.labels must be an object"),
        ("apiVersion: v1\nkind: List\nitems:\n- \n", "m.yaml:4: a document of a manifest must be an object, not not"),
        (
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A}\n",
            "m.yaml:4: the object has no metadata.name",
        ),
        (
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: web}\n",
            "m.yaml:4: there is no spec in Service web",
        ),
    ],
)
def test_a_wrong_field_is_reported_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ProvisionerError) as caught:
        manifests.load(text, {}, "m.yaml")
    assert message in str(caught.value)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        made("Service", "spec: {type: ExternalName, externalName: example.org}"),
        made("Ingress", "spec: {defaultBackend: {service: {name: a}}}"),
        made("Deployment", POD),
        made("ConfigMap", "data:"),
        made("StorageClass"),
        made("Pod").replace("name: web", "name: web, labels: , annotations: "),
    ],
)
def test_minimal_objects_are_accepted(text: str) -> None:
    assert manifests.load(made("Service"), None), "upstream's manifests are not checked"
    (one,) = manifests.load(text, {}, "m.yaml")
    assert one["metadata"] == {"name": "web"}


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ProvisionerError, match=r"cannot read .*absent\.yaml: No such file or directory"):
        manifests.load(tmp_path / "absent.yaml", {})
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ProvisionerError, match=r"bytes\.yaml: not valid UTF-8"):
        manifests.load(tmp_path / "bytes.yaml", {})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_a_placeholder_alone_takes_the_value_as_it_is(value: Any) -> None:
    assert value_of("${a}", {"a": value}) == value


def test_examples() -> None:
    assert doctest.testmod(manifests).failed == 0
