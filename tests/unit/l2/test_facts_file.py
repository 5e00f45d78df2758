"""Facts files: the documented file loads, and a dump loads as the same facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.l2 import facts_file
from provisioner.l2.facts_values import pool_range
from tests.unit.l2.document import DOCUMENT, changed, load


def test_the_documented_file_loads(tmp_path: Path) -> None:
    facts = load(tmp_path, DOCUMENT)
    assert facts.metallb.version == "0.16.1"
    assert facts.nodes[0].nics is not None
    assert facts.nodes[0].nics[0].mac == "52:54:00:00:00:11"
    assert facts.services is not None
    assert facts.services[0].key == "default/web"
    assert facts.metrics is not None
    assert facts.metrics["w1"]["192.0.2.200"].gratuitous_sent == 0
    assert facts.metrics_after is None


def test_missing_keys_mean_unknown(tmp_path: Path) -> None:
    facts = load(tmp_path, {"schema": "l2facts/v1", "nodes": [{"name": "w1"}]})
    node = facts.nodes[0]
    assert (node.ready, node.speaker, node.nics, node.labels) == (None, None, None, None)
    assert (facts.pools, facts.advertisements, facts.services, facts.metrics) == (None, None, None, None)
    assert (facts.metallb.memberlist, facts.kube_proxy.mode, facts.others.kube_vip) == (None, None, None)


def test_values_are_normalized(tmp_path: Path) -> None:
    document = changed("nodes", 0, "nics", 0, "mac", to="52-54-00-00-AB-CD")
    document["services"][0]["ingress_ips"] = ["2001:DB8:0::1"]
    document["metallb"]["version"] = "v0.13.12"
    facts = load(tmp_path, document)
    assert facts.nodes[0].nics
    assert facts.nodes[0].nics[0].mac == "52:54:00:00:ab:cd"
    assert facts.services
    assert facts.services[0].ingress_ips == ("2001:db8::1",)
    assert facts.metallb.version == "0.13.12"


def test_a_dump_is_stable_and_loads_as_the_same_facts(tmp_path: Path) -> None:
    facts = load(tmp_path, DOCUMENT)
    text = facts_file.dump(facts)
    assert text == facts_file.dump(load(tmp_path, text))
    assert load(tmp_path, text) == facts
    lines = text.splitlines()
    assert lines[1] == '  "advertisements": ['
    assert '  "schema": "l2facts/v2",' in lines
    assert "null" not in text, "unknown values are omitted"


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
def test_a_pools_entry_is_parsed_as_metallb_does(text: str, size: int) -> None:
    assert pool_range(text).size == size
