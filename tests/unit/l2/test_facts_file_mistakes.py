"""A mistake in a facts file is one line with its place and a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provisioner.errors import Inconclusive
from provisioner.l2 import facts_file
from tests.unit.l2.document import DOCUMENT, changed, load


def error(directory: Path, document: object) -> str:
    """Return the error without the file's name, after checking that it is one line."""
    with pytest.raises(Inconclusive) as caught:
        load(directory, document)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{directory}/facts.json:")
    return text.removeprefix(f"{directory}/facts.json:").strip()


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("", "is empty"),
        ("[]", "holds a list, not an object"),
        ('{"schema": "l2facts/v1",\n "nodes": [\n   {"name": "w1",}\n]}', "3: is not JSON: "),
        ('{"schema": "l2facts/v1", "nodes": [], "nodes": []}', "the key 'nodes' appears twice in one object"),
        ('{"schema": "l2facts/v1", "nodes": ' + "[" * 100_000, "is nested too deeply"),
        ('{"schema": "l2facts/v1", "nodes": ' + "9" * 5000 + "}", "contains a number that is too long"),
        ('{"schema": "l2facts/v1", "nodes": [{"name": "\\ud800"}]}', "is not JSON"),
        ({"nodes": []}, 'schema is missing; the first key of a facts file is "schema": "l2facts/v2"'),
        (
            {"schema": "l2facts/v9", "nodes": []},
            "this version reads l2facts/v1 and l2facts/v2, not 'l2facts/v9'; collect again",
        ),
        ({"schema": "l2report/v1", "results": []}, "is a report, not facts; write one with: provisioner l2 collect"),
        ({"schema": ["l2facts/v1"], "nodes": []}, "is ['l2facts/v1'], not 'l2facts/v2'"),
        ({"schema": "l2facts/v1"}, "nodes is missing; write one with: provisioner l2 collect -o FILE"),
        ({"schema": "l2facts/v1", "node": []}, "nodes is missing (did you mean 'node'?)"),
        (changed("nodes", to=None), "nodes: null is not a list"),
        (changed("nodes", 0, "rady", to=True), "nodes[0].rady: unknown key; did you mean ready?"),
        (
            changed("services", 0, "ports", 0, "nodePort", to=1),
            "services[0].ports[0].nodePort: unknown key; known keys: port, protocol",
        ),
        (changed("shema", to=1), "shema: unknown key; did you mean schema?"),
        (changed("metrics", "w1", "192.0.2.200", "request_received", to=1), "did you mean requests_received?"),
        (changed("services", 0, "ports", 0, "port", to="http"), 'services[0].ports[0].port: "http" is not an integer'),
        (changed("services", 0, "ports", 0, "port", to="80"), 'services[0].ports[0].port: "80" is not an integer'),
        (changed("services", 0, "ports", 0, "port", to=70000), "services[0].ports[0].port: 70000 is invalid"),
        (changed("nodes", 0, "ready", to="yes"), 'nodes[0].ready: "yes" is neither true nor false'),
        (changed("nodes", 0, "ready", to=1), "nodes[0].ready: 1 is neither true nor false"),
        (changed("nodes", 0, "name", to=""), 'nodes[0].name: "" is empty'),
        (changed("nodes", 0, "speaker", to="down"), "nodes[0].speaker: \"down\" is not one of 'ready', 'missing' or"),
        (changed("nodes", 0, "internal_ips", to="192.0.2.11"), 'nodes[0].internal_ips: "192.0.2.11" is not a list'),
        (changed("nodes", 0, "internal_ips", to=["192.0.2.256"]), "[0]: '192.0.2.256' is not an IP address"),
        (changed("nodes", 0, "internal_ips", to=["fe80::1%eth0"]), "'fe80::1%eth0' is not an IP address"),
        (changed("nodes", 0, "nics", 0, "mac", to="52:54:00:00:00"), "nics[0].mac: '52:54:00:00:00' is not a MAC"),
        (changed("nodes", 0, "nics", 0, "addresses", to=["192.0.2.11"]), "is not an address with its prefix length"),
        (changed("services", 0, "ingress_ips", to=["web.example"]), "services[0].ingress_ips[0]: 'web.example' is"),
        (changed("services", 0, "source_ranges", to=["192.0.2.1"]), "'192.0.2.1' is not a network in CIDR form"),
        (changed("pools", 0, "addresses", to=["192.0.2.9"]), "pools[0].addresses[0]: '192.0.2.9' is neither a netw"),
        (changed("pools", 0, "addresses", to=["192.0.2.9-192.0.2.1"]), "'192.0.2.9-192.0.2.1' ends before it begins"),
        (changed("metallb", "version", to="latest"), "metallb.version: 'latest' is not a version, such as 0.16.1"),
        (changed("metrics", to={"w1": {"nowhere": {}}}), "metrics.w1.nowhere: 'nowhere' is not an IP address"),
        (changed("metrics", "w1", "192.0.2.200", "responses_sent", to=-1), "responses_sent: -1 is invalid"),
        (
            changed("advertisements", 0, "node_selectors", to=[{"matchlabels": {}}]),
            "node_selectors[0]: a label selector has matchLabels and matchExpressions, not 'matchlabels'",
        ),
        (
            changed(
                "advertisements",
                0,
                "node_selectors",
                to=[{"matchExpressions": [{"key": "zone", "operator": "Is", "values": ["a"]}]}],
            ),
            "'Is' is not an operator; use In, NotIn, Exists, DoesNotExist",
        ),
        (changed("services", to=DOCUMENT["services"] * 2), "services: 'default/web' appears twice"),
        (changed("nodes", to=DOCUMENT["nodes"] * 2), "nodes: 'w1' appears twice"),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_remedy(tmp_path: Path, document: object, says: str) -> None:
    assert says in error(tmp_path, document)


def test_a_byte_order_mark_is_accepted_and_mixed_families_are_not(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + json.dumps(DOCUMENT)) == load(tmp_path, DOCUMENT)
    mixed = changed("pools", 0, "addresses", to=["192.0.2.1-2001:db8::1"])
    assert "'192.0.2.1-2001:db8::1' is neither a network nor a range" in error(tmp_path, mixed)


def test_further_mistakes_are_counted(tmp_path: Path) -> None:
    document = changed("nodes", 0, "ready", to="yes")
    document["nodes"][0]["speaker"] = "down"
    assert "(and 1 more)" in error(tmp_path, document)


def test_a_key_cannot_send_escapes_to_the_terminal(tmp_path: Path) -> None:
    text = error(tmp_path, changed("nodes", 0, "\x1b[2J", to=1))
    assert "\x1b" not in text
    assert "nodes[0].'\\x1b[2J'" in text


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Inconclusive, match=r"no such file; write one with: provisioner l2 collect -o FILE"):
        facts_file.load(tmp_path / "none.json")
    with pytest.raises(Inconclusive, match=r"is a directory; name a facts file"):
        facts_file.load(tmp_path)
    with pytest.raises(Inconclusive, match=r"cannot be read"):
        facts_file.load(tmp_path / "a\0b")
    (tmp_path / "latin").write_bytes(b'{"schema":\n "\xe9"}')
    with pytest.raises(Inconclusive, match=r"latin:2: is not UTF-8 text"):
        facts_file.load(tmp_path / "latin")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_file, "MAX_BYTES", 2**20)
    (tmp_path / "large").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(Inconclusive, match=r"is larger than 1 MiB"):
        facts_file.load(tmp_path / "large")
