"""Whatever hosts.toml contains, the result is a site or a list of mistakes with lines; never a traceback."""

from __future__ import annotations

import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from provisioner.cli.init import template
from provisioner.site import SiteErrors, model, parse_site, schema
from provisioner.site.toml_lines import line_count

SHIPPED = template()
TOKENS = sorted(
    {*SHIPPED.split(), "[[hosts]]", '"', "'", '"""', "[", "]", "{", "}", "=", ".", ",", "#", "\\", "inf", "nan", "-1"}
)


def parse(content: str | bytes) -> model.Site | SiteErrors:
    """Return the site, or the mistakes after checking their form."""
    try:
        return parse_site(content)
    except SiteErrors as caught:
        found = caught
    text = content if isinstance(content, str) else content.decode("utf-8-sig", "replace")
    assert found.errors
    for error in found.errors:
        line = str(error)
        assert error.file == "hosts.toml"
        assert 1 <= error.line <= line_count(text)
        assert line.startswith(f"hosts.toml:{error.line}: ")
        assert line.isprintable()
        assert error.message
        assert error.remedy
        assert len(line) < 1000
    lines = [error.line for error in found.errors]
    assert lines == sorted(lines)
    assert str(found).splitlines() == [str(error) for error in found.errors]
    return found


@given(st.one_of(st.text(), st.binary()))
def test_arbitrary_content(content: str | bytes) -> None:
    parse(content)


@pytest.mark.parametrize(
    "content",
    [
        "a" + ".a" * 5000 + " = 1",
        "[kubeadm.kubelet_configuration]\na" + ".a" * 5000 + " = 1",
        "[[hosts]]\nlabels" + ".a" * 5000 + " = 1",
        "a = " + "[" * 5000 + "]" * 5000,
        "a = " + "{a=" * 5000,
        "a = " + "1" * 5000,
        "[ssh]\nport = " + "1" * 4000,
        "a = 1979-13-45",
        "\ufeff[cluster]",
        '[kubeadm]\nkubelet = {"' + "\\u2028" * 3 + '" = 1}',
        "[cluster]\nname = '" + "x" * 100_000 + "'",
        "[cluster]\n" + "x" * 100_000 + " = 1",
    ],
    ids=lambda content: content[:30],
)
def test_deep_or_long_content(content: str) -> None:
    assert isinstance(parse(content), SiteErrors)


mutations = st.lists(
    st.tuples(
        st.sampled_from(["delete", "insert", "replace", "repeat", "swap", "uncomment", "cut"]),
        st.integers(0, len(SHIPPED)),
        st.integers(1, 40),
        st.one_of(st.sampled_from(TOKENS), st.text(max_size=4)),
    ),
    min_size=1,
    max_size=6,
)


@given(mutations)
def test_mutations_of_the_shipped_file(changes: list[tuple[str, int, int, str]]) -> None:
    text = SHIPPED
    for kind, start, length, token in changes:
        start = min(start, len(text))  # noqa: PLW2901 - earlier changes may have shortened the text
        before, part, after = text[:start], text[start : start + length], text[start + length :]
        text = {
            "delete": before + after,
            "insert": before + token + part + after,
            "replace": before + token + after,
            "repeat": before + part + part + after,
            "swap": after + part + before,
            "uncomment": before + (part + after).replace("\n#", "\n", 1),
            "cut": before,
        }[kind]
    parse(text)


scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.dates(),
    st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=12),
    st.sampled_from(
        ["", "1.20", "1.99", "none", "env:A", "http://a@b/", "1Gi", "a=b:NoSchedule", "control-plane", "a"]
    ),
    st.sampled_from(["10.96.0.0/16", "10.244.0.0/16", "fd00::/48", "0.0.0.0/0", "192.168.56.1-192.168.56.20"]),
    st.sampled_from(["192.168.56.10", "192.168.56.11", "10.244.0.9", "fd00::1"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def tables(header: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return tables with known and unknown keys, and arbitrary values."""
    return st.dictionaries(
        st.one_of(st.sampled_from(schema.tables()[header]), st.text(max_size=6)), values, max_size=5
    )


documents = st.fixed_dictionaries(
    {"hosts": st.one_of(values, st.lists(tables("[[hosts]]"), max_size=4))},
    optional={
        name: st.one_of(values, tables(f"[{name}]"))
        for name in schema.keys(model.Site)
        if name not in ("hosts", "metallb")
    }
    | {"metallb": st.fixed_dictionaries({}, optional={"pools": st.lists(tables("[[metallb.pools]]"), max_size=3)})},
)


@given(documents)
def test_known_keys_with_arbitrary_values(document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document)
    try:
        tomllib.loads(text)
    except ValueError:
        return  # tomlkit does not escape some control characters
    parse(text)


hosts = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["a", "b", "c", "d"]),
            "address": st.sampled_from(["192.168.56.10", "192.168.56.11", "10.244.0.1", "10.96.0.1", "fd00::1"]),
            "roles": st.sampled_from([["worker"], ["control-plane"], ["control-plane", "worker"]]),
        }
    ),
    min_size=1,
    max_size=4,
)
networks = st.sampled_from(
    ["10.244.0.0/16", "10.0.0.0/8", "10.96.0.0/16", "192.168.0.0/16", "fd00::/56", "10.244.1.0/24"]
)


@given(hosts, networks, networks, st.lists(networks, max_size=2), st.sampled_from(["", "api", "192.168.56.11"]))
def test_a_site_is_accepted_if_it_obeys_the_rules(
    machines: list[dict[str, Any]], pods: str, services: str, pools: list[str], endpoint: str
) -> None:
    """State the rules a second time, over combinations of well-formed values."""
    document = {
        "cluster": {"pod_cidr": pods, "service_cidr": services, "endpoint": endpoint},
        "hosts": machines,
        "metallb": {"pools": [{"name": f"p{index}", "addresses": [pool]} for index, pool in enumerate(pools)]},
    }
    lab = parse(tomlkit.dumps(document))
    nets = [ip_network(net) for net in [pods, services, *pools]]
    ips = [ip_address(machine["address"]) for machine in machines]
    names = [machine["name"] for machine in machines]
    masters = sum("control-plane" in machine["roles"] for machine in machines)
    pods_net, services_net = nets[:2]
    bits = services_net.max_prefixlen - services_net.prefixlen
    valid = (
        len(set(ips)) == len(ips)
        and len(set(names)) == len(names)
        and masters >= 1
        and (masters == 1 or endpoint != "")
        and not any(ip in net for ip in ips for net in nets)
        and not any(
            one.version == two.version and one.overlaps(two) for index, one in enumerate(nets) for two in nets[:index]
        )
        and {ip.version for ip in ips} == {pods_net.version} == {services_net.version}
        and 4 <= bits <= 20
        and 2 ** ((64 if pods_net.version == 6 else 24) - pods_net.prefixlen) >= len(machines)
        and not (endpoint.startswith("192") and any(ip_address(endpoint) in net for net in nets))
    )
    assert isinstance(lab, model.Site) == valid, lab


def test_the_shipped_file_is_valid() -> None:
    lab = parse(SHIPPED.encode())
    assert isinstance(lab, model.Site)
    assert lab.path == Path("hosts.toml")
