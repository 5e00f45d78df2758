"""Facts files: what the specification shows is read, what is wrong is one line with place and remedy, never more."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.errors import Inconclusive
from provisioner.l2 import facts_file
from provisioner.l2.facts import Advertisement, Endpoint, Facts, MetalLB, Nic, Node, Pool, Port, Service
from provisioner.l2.facts_values import pool_range

# The document of the specification, as l2 collect may write it.
DOCUMENT: dict[str, Any] = {
    "schema": "l2facts/v1",
    "metallb": {
        "version": "0.16.1",
        "namespace": "metallb-system",
        "memberlist": True,
        "ignore_exclude_lb": False,
        "config": "valid",
        "config_error": "",
    },
    "kube_proxy": {"mode": "iptables", "strict_arp": False},
    "others": {"kube_vip": False, "servicelb": False, "cilium_l2": False},
    "nodes": [
        {
            "name": "w1",
            "internal_ips": ["192.0.2.11"],
            "ready": True,
            "network_unavailable": False,
            "labels": {},
            "speaker": "ready",
            "nics": [
                {
                    "name": "eth1",
                    "mac": "52:54:00:00:00:11",
                    "addresses": ["192.0.2.11/24"],
                    "up": True,
                    "master": None,
                    "proxy_arp": False,
                }
            ],
        }
    ],
    "pools": [
        {"name": "lab", "addresses": ["192.0.2.200-192.0.2.210"], "auto_assign": True, "avoid_buggy_ips": False}
    ],
    "advertisements": [
        {
            "name": "lab",
            "pools": ["lab"],
            "node_selectors": [{"matchLabels": {"zone": "a"}}],
            "interfaces": [],
            "service_selectors": [],
        }
    ],
    "services": [
        {
            "namespace": "default",
            "name": "web",
            "ingress_ips": ["192.0.2.200"],
            "load_balancer_class": None,
            "external_traffic_policy": "Cluster",
            "allow_shared_ip": None,
            "source_ranges": [],
            "ports": [{"port": 80, "protocol": "TCP"}],
            "endpoints": [{"node": "w1", "ready": True}],
            "events": [{"reason": "nodeAssigned", "node": "w1", "message": ""}],
        }
    ],
    "l2_status": [{"service": "default/web", "node": "w1", "interfaces": []}],
    "speaker_log": {"w1": {"partial_join": False}},
    "metrics": {"w1": {"192.0.2.200": {"requests_received": 0, "responses_sent": 0}}},
}


def load(directory: Path, document: object) -> Facts:
    path = directory / "facts.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return facts_file.load(path)


def error(directory: Path, document: object) -> str:
    """Return the error without the file's name, after checking that it is one line."""
    with pytest.raises(Inconclusive) as caught:
        load(directory, document)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{directory}/facts.json:")
    return text.removeprefix(f"{directory}/facts.json:").strip()


def changed(*path: str | int, to: object) -> dict[str, Any]:
    """Return the document with one value set."""
    document = copy.deepcopy(DOCUMENT)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return document


def test_the_documented_file_is_read(tmp_path: Path) -> None:
    facts = load(tmp_path, DOCUMENT)
    assert facts.metallb.version == "0.16.1"
    assert facts.nodes[0].nics is not None
    assert facts.nodes[0].nics[0].mac == "52:54:00:00:00:11"
    assert facts.services is not None
    assert facts.services[0].key == "default/web"
    assert facts.metrics is not None
    assert facts.metrics["w1"]["192.0.2.200"].gratuitous_sent == 0
    assert facts.metrics_after is None


def test_what_is_missing_is_unknown_and_never_no(tmp_path: Path) -> None:
    facts = load(tmp_path, {"schema": "l2facts/v1", "nodes": [{"name": "w1"}]})
    node = facts.nodes[0]
    assert (node.ready, node.speaker, node.nics, node.labels) == (None, None, None, None)
    assert (facts.pools, facts.advertisements, facts.services, facts.metrics) == (None, None, None, None)
    assert (facts.metallb.memberlist, facts.kube_proxy.mode, facts.others.kube_vip) == (None, None, None)


def test_values_take_their_canonical_form(tmp_path: Path) -> None:
    document = changed("nodes", 0, "nics", 0, "mac", to="52-54-00-00-AB-CD")
    document["services"][0]["ingress_ips"] = ["2001:DB8:0::1"]
    document["metallb"]["version"] = "v0.13.12"
    facts = load(tmp_path, document)
    assert facts.nodes[0].nics
    assert facts.nodes[0].nics[0].mac == "52:54:00:00:ab:cd"
    assert facts.services
    assert facts.services[0].ingress_ips == ("2001:db8::1",)
    assert facts.metallb.version == "0.13.12"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("", "is empty"),
        ("[]", "holds a list, not a table"),
        ('{"schema": "l2facts/v1",\n "nodes": [\n   {"name": "w1",}\n]}', "3: is not JSON: "),
        ('{"schema": "l2facts/v1", "nodes": [], "nodes": []}', "the key 'nodes' is there twice in one table"),
        ('{"schema": "l2facts/v1", "nodes": ' + "[" * 100_000, "is nested too deeply"),
        ('{"schema": "l2facts/v1", "nodes": ' + "9" * 5000 + "}", "holds a number that is too long"),
        ('{"schema": "l2facts/v1", "nodes": [{"name": "\\ud800"}]}', "is not JSON"),
        ({"nodes": []}, 'schema is missing; the first key of a facts file is "schema": "l2facts/v1"'),
        ({"schema": "l2facts/v2", "nodes": []}, "this version reads l2facts/v1, not 'l2facts/v2'; collect again"),
        ({"schema": "l2report/v1", "results": []}, "is a report, not facts; write one with: provisioner l2 collect"),
        ({"schema": ["l2facts/v1"], "nodes": []}, "is ['l2facts/v1'], not 'l2facts/v1'"),
        ({"schema": "l2facts/v1"}, "nodes is missing; write one with: provisioner l2 collect -o FILE"),
        ({"schema": "l2facts/v1", "node": []}, "nodes is missing (is 'node' meant?)"),
        (changed("nodes", to=None), "nodes: null is not a list"),
        (changed("nodes", 0, "rady", to=True), "nodes[0].rady: is not a key that is known here; is ready meant?"),
        (
            changed("services", 0, "ports", 0, "nodePort", to=1),
            "services[0].ports[0].nodePort: is not a key that is known here; known are: port, protocol",
        ),
        (changed("shema", to=1), "shema: is not a key that is known here; is schema meant?"),
        (changed("metrics", "w1", "192.0.2.200", "request_received", to=1), "is requests_received meant?"),
        (changed("services", 0, "ports", 0, "port", to="http"), 'services[0].ports[0].port: "http" is not a whole'),
        (changed("services", 0, "ports", 0, "port", to="80"), 'services[0].ports[0].port: "80" is not a whole'),
        (changed("services", 0, "ports", 0, "port", to=70000), "services[0].ports[0].port: 70000 is wrong"),
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
        (changed("metrics", "w1", "192.0.2.200", "responses_sent", to=-1), "responses_sent: -1 is wrong"),
        (
            changed("advertisements", 0, "node_selectors", to=[{"matchlabels": {}}]),
            "advertisements[0].node_selectors[0]: 'matchlabels' is no part of a label selector",
        ),
        (
            changed(
                "advertisements",
                0,
                "node_selectors",
                to=[{"matchExpressions": [{"key": "zone", "operator": "Is", "values": ["a"]}]}],
            ),
            "'Is' is no operator; there are In, NotIn, Exists, DoesNotExist",
        ),
        (changed("services", to=DOCUMENT["services"] * 2), "services: 'default/web' is there twice"),
        (changed("nodes", to=DOCUMENT["nodes"] * 2), "nodes: 'w1' is there twice"),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_remedy(tmp_path: Path, document: object, says: str) -> None:
    assert says in error(tmp_path, document)


def test_a_byte_order_mark_and_a_family_apart_are_seen(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + json.dumps(DOCUMENT)) == load(tmp_path, DOCUMENT)
    mixed = changed("pools", 0, "addresses", to=["192.0.2.1-2001:db8::1"])
    assert "'192.0.2.1-2001:db8::1' is neither a network nor a range" in error(tmp_path, mixed)


def test_other_mistakes_are_counted(tmp_path: Path) -> None:
    document = changed("nodes", 0, "ready", to="yes")
    document["nodes"][0]["speaker"] = "down"
    assert "(and 1 more)" in error(tmp_path, document)


def test_a_key_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    text = error(tmp_path, changed("nodes", 0, "\x1b[2J", to=1))
    assert "\x1b" not in text
    assert "nodes[0].'\\x1b[2J'" in text


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(Inconclusive, match=r"there is no such file; write one with: provisioner l2 collect -o FILE"):
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


def test_a_dump_is_stable_and_comes_back(tmp_path: Path) -> None:
    facts = load(tmp_path, DOCUMENT)
    text = facts_file.dump(facts)
    assert text == facts_file.dump(load(tmp_path, text))
    assert load(tmp_path, text) == facts
    lines = text.splitlines()
    assert lines[1] == '  "advertisements": ['
    assert '  "schema": "l2facts/v1",' in lines
    assert "null" not in text, "what is unknown is left out"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("192.0.2.200-192.0.2.210", 11),
        ("192.0.2.200 - 192.0.2.200", 1),
        ("192.0.2.77/28", 16),
        ("2001:db8::/64", 2**64),
        ("2001:db8::1-2001:db8::ffff", 0xFFFF),
    ],
)
def test_a_pools_entry_is_read_as_metallb_reads_it(text: str, size: int) -> None:
    assert pool_range(text).size == size


# --- whatever it holds ----------------------------------------------------------------------------------------------

# No deadline: the machine that runs this may be busy with VMs.
quiet = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of every value in a document."""
    found = [path] if path else []
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        found += places(inner, (*path, step))
    return found


def told(path: Path) -> None:
    """Load a file: facts that dump and load again, or one printable line."""
    try:
        facts = facts_file.load(path)
    except Inconclusive as error:
        text = str(error)
        assert "\n" not in text
        assert text.startswith(f"{path}")
        text.encode()  # can be printed
        assert len(text) < 800
        return
    again = path.with_name("again.json")
    again.write_text(facts_file.dump(facts))
    assert facts_file.load(again) == facts


@quiet
@given(st.data())
def test_any_value_in_any_place_is_facts_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(places(DOCUMENT)))
    document = changed(*path, to=data.draw(JSON))
    (tmp_path / "facts.json").write_text(json.dumps(document))
    told(tmp_path / "facts.json")


@quiet
@given(st.data())
def test_any_damage_is_facts_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    body = json.dumps(DOCUMENT, indent=1).encode()
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 40)))
    (tmp_path / "facts.json").write_bytes(body[:start] + data.draw(st.binary(max_size=8)) + body[end:])
    told(tmp_path / "facts.json")


NAMES = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
IPS = st.ip_addresses().map(str)


@quiet
@given(
    st.builds(
        Facts,
        metallb=st.builds(MetalLB, version=st.sampled_from([None, "0.12.1", "0.16.1"])),
        nodes=st.lists(
            st.builds(
                Node,
                name=NAMES,
                internal_ips=st.lists(IPS, max_size=2).map(tuple),
                labels=st.none() | st.dictionaries(NAMES, st.text(max_size=5), max_size=2),
                nics=st.none() | st.lists(st.builds(Nic, name=NAMES, master=st.none() | NAMES), max_size=2).map(tuple),
            ),
            max_size=3,
            unique_by=lambda node: node.name,
        ).map(tuple),
        pools=st.none() | st.builds(Pool, name=NAMES).map(lambda pool: (pool,)),
        advertisements=st.none() | st.builds(Advertisement, name=NAMES).map(lambda item: (item,)),
        services=st.none()
        | st.lists(
            st.builds(
                Service,
                namespace=NAMES,
                name=NAMES,
                ingress_ips=st.lists(IPS, max_size=2).map(tuple),
                ports=st.lists(st.builds(Port, port=st.integers(1, 65535)), max_size=2).map(tuple),
                endpoints=st.none() | st.lists(st.builds(Endpoint, node=NAMES), max_size=2).map(tuple),
            ),
            max_size=3,
            unique_by=lambda service: service.key,
        ).map(tuple),
    )
)
def test_all_facts_come_back_from_their_dump(tmp_path: Path, facts: Facts) -> None:
    path = tmp_path / "facts.json"
    path.write_text(facts_file.dump(facts))
    assert facts_file.load(path) == facts
