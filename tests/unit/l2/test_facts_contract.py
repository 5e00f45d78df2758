"""What a facts file may not hold, what stays readable, and the JSON Schema that says so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.errors import Inconclusive
from provisioner.l2 import facts_doubts, facts_file, facts_schema
from provisioner.l2.facts import SCHEMA, Facts, Node, Service, ServiceEvent
from tests.unit.l2.document import DOCUMENT, changed, load

VALIDATOR = jsonschema.Draft202012Validator(json.loads(facts_schema.PATH.read_text(encoding="utf-8")))


def refused(directory: Path, document: object) -> str:
    with pytest.raises(Inconclusive) as caught:
        load(directory, document)
    text = str(caught.value)
    assert text.isprintable()
    return text.removeprefix(f"{directory}/facts.json: ")


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Inconclusive, match=r"pipe: is a named pipe; name a facts file$"):
        facts_file.load(tmp_path / "pipe")
    with pytest.raises(Inconclusive, match=r"^/dev/zero: is a device or socket; name a facts file"):
        facts_file.load(Path("/dev/zero"))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_refused(tmp_path: Path, word: str) -> None:
    text = f'{{"schema": "l2facts/v1", "nodes": [], "speakers": {word}}}'
    assert refused(tmp_path, text) == f"{word} is not JSON; write a number, or leave the key out"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (
            changed("nodes", 0, "name", to="w\x1b[31m1"),
            "nodes[0].name: 'w\\x1b[31m1' contains the control character U+001B",
        ),
        (changed("nodes", 0, "name", to="w1\nOK  192.0.2.200"), "contains the control character U+000A; remove it"),
        (
            changed("services", 0, "namespace", to="a\u202eb"),
            "services[0].namespace: 'a\\u202eb' contains the control",
        ),
        (changed("nodes", 0, "nics", 0, "name", to="eth0\x9b"), "nodes[0].nics[0].name:"),
        (changed("nodes", 0, "labels", to={"zone\x00": "a"}), "'zone\\x00' contains the control character U+0000"),
        (changed("pools", 0, "name", to="lab\u2028"), "pools[0].name:"),
    ],
)
def test_control_characters_in_names_are_refused(tmp_path: Path, document: object, says: str) -> None:
    assert says in refused(tmp_path, document)


def test_free_text_of_an_earlier_version_is_put_on_one_line(tmp_path: Path) -> None:
    events = [{"reason": "nodeAssigned", "node": "w1", "message": "one\ntwo\x1b[2J"}]
    document = changed("services", 0, "events", to=events)
    document["metallb"] |= {"config": "invalid", "config_error": "bad\npool"}
    facts = load(tmp_path, document)
    assert facts.services is not None
    assert facts.services[0].events[0].message == "one two\\x1b[2J"
    assert facts.metallb.config_error == "bad pool"


def test_facts_of_a_cluster_are_on_one_line_too() -> None:
    """The API admits line breaks in annotations and events, and the kernel escapes in interface names."""
    service = Service(
        namespace="default",
        name="web",
        allow_shared_ip="a\nOK",
        labels={"a": "b\r"},
        events=(ServiceEvent(reason="x", message="1\n2"),),
    )
    assert (service.allow_shared_ip, service.labels, service.events[0].message) == ("a OK", {"a": "b "}, "1 2")
    facts = Facts(nodes=(Node(name="w1"),), services=(service,), speaker_log={"w\n1": {}})  # type: ignore[dict-item]
    assert list(facts.speaker_log or ()) == ["w 1"]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (
            changed("services", 0, "ports", to=[{"port": 80}, {"port": 80, "protocol": "TCP"}]),
            "services[0].ports: TCP 80 appears twice, which the API refuses; correct it, or collect again",
        ),
        (changed("nodes", 0, "nics", to=DOCUMENT["nodes"][0]["nics"] * 2), "nodes[0].nics: 'eth1' appears twice"),
        (changed("metallb", "config_error", to="overlap"), "metallb: config is valid, and config_error says why"),
        (
            {**{key: value for key, value in DOCUMENT.items() if key != "metrics"}, "metrics_after": {}},
            "metrics_after",
        ),
    ],
)
def test_facts_that_contradict_themselves_are_refused(tmp_path: Path, document: object, says: str) -> None:
    assert says in refused(tmp_path, document)


def test_ports_of_two_protocols_are_no_contradiction(tmp_path: Path) -> None:
    load(tmp_path, changed("services", 0, "ports", to=[{"port": 53}, {"port": 53, "protocol": "UDP"}]))


def test_a_node_that_is_named_and_not_known_is_a_doubt(tmp_path: Path) -> None:
    facts = load(tmp_path, changed("services", 0, "endpoints", to=[{"node": "w9", "ready": True}, {"ready": True}]))
    assert facts_doubts.doubts(facts) == ("endpoints of the facts name the node w9, which is not among their nodes",)
    assert facts_doubts.doubts(load(tmp_path, DOCUMENT)) == ()


def test_a_file_of_the_first_version_is_read_and_written_as_the_current_one(tmp_path: Path) -> None:
    assert DOCUMENT["schema"] == "l2facts/v1"
    facts = load(tmp_path, DOCUMENT)
    written = facts_file.dump(facts)
    assert json.loads(written)["schema"] == SCHEMA == "l2facts/v2"
    (tmp_path / "again.json").write_text(written)
    assert facts_file.load(tmp_path / "again.json") == facts


def test_the_schema_file_is_made_from_the_types() -> None:
    assert facts_schema.PATH.read_text(encoding="utf-8") == facts_schema.text(), (
        "write it anew: python -m provisioner.l2.facts_schema"
    )
    jsonschema.Draft202012Validator.check_schema(facts_schema.make())


def test_the_schema_admits_the_documented_file() -> None:
    assert not list(VALIDATOR.iter_errors(DOCUMENT))


@pytest.mark.parametrize(
    "document",
    [
        changed("nodes", 0, "ready", to="yes"),
        changed("nodes", 0, "rady", to=True),
        changed("nodes", 0, "nics", 0, "mac", to="52:54"),
        changed("pools", 0, "addresses", to=["lab"]),
        changed("services", 0, "ports", 0, "port", to=0),
        changed("schema", to="l2facts/v9"),
        {"schema": "l2facts/v2"},
    ],
)
def test_what_the_schema_refuses_the_reader_refuses_too(tmp_path: Path, document: Any) -> None:
    assert list(VALIDATOR.iter_errors(document))
    refused(tmp_path, document)


IPS = st.ip_addresses().map(str)
NAMES = st.text(min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(
    st.builds(
        Facts,
        nodes=st.lists(
            st.builds(Node, name=NAMES, internal_ips=st.lists(IPS, max_size=2).map(tuple)),
            max_size=2,
            unique_by=lambda node: node.name,
        ).map(tuple),
        services=st.none() | st.builds(Service, namespace=NAMES, name=NAMES).map(lambda one: (one,)),
    )
)
def test_any_facts_that_are_written_fit_the_schema_and_hold_nothing_invisible(facts: Facts) -> None:
    text = facts_file.dump(facts)
    document = json.loads(text)
    assert not list(VALIDATOR.iter_errors(document))
    assert all(node["name"].isprintable() for node in document.get("nodes", ()))
