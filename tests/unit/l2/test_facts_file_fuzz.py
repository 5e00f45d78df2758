"""Any facts file either loads as facts that survive a dump, or fails with one printable line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.errors import Inconclusive
from provisioner.l2 import facts_file
from provisioner.l2.facts import Advertisement, Endpoint, Facts, MetalLB, Nic, Node, Pool, Port, Service
from tests.unit.l2.document import DOCUMENT, changed

# No deadline: the machine may be busy with VMs.
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


def load_or_explain(path: Path) -> None:
    """Load a file as facts that survive a dump, or expect one printable line."""
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
def test_any_value_anywhere_loads_or_is_one_line(tmp_path: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(places(DOCUMENT)))
    document = changed(*path, to=data.draw(JSON))
    (tmp_path / "facts.json").write_text(json.dumps(document))
    load_or_explain(tmp_path / "facts.json")


@quiet
@given(st.data())
def test_any_damage_loads_or_is_one_line(tmp_path: Path, data: st.DataObject) -> None:
    body = json.dumps(DOCUMENT, indent=1).encode()
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 40)))
    (tmp_path / "facts.json").write_bytes(body[:start] + data.draw(st.binary(max_size=8)) + body[end:])
    load_or_explain(tmp_path / "facts.json")


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
                labels=st.none() | st.dictionaries(NAMES, NAMES, max_size=2),
                nics=st.none()
                | st.lists(
                    st.builds(Nic, name=NAMES, master=st.none() | NAMES), max_size=2, unique_by=lambda nic: nic.name
                ).map(tuple),
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
                ports=st.lists(
                    st.builds(Port, port=st.integers(1, 65535)), max_size=2, unique_by=lambda port: port.port
                ).map(tuple),
                endpoints=st.none() | st.lists(st.builds(Endpoint, node=NAMES), max_size=2).map(tuple),
            ),
            max_size=3,
            unique_by=lambda service: service.key,
        ).map(tuple),
    )
)
def test_any_facts_survive_a_dump(tmp_path: Path, facts: Facts) -> None:
    path = tmp_path / "facts.json"
    path.write_text(facts_file.dump(facts))
    assert facts_file.load(path) == facts
