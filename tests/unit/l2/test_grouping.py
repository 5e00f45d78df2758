"""Results that share a cause are one group, with what all of them are all of; single ones stay single."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.l2 import grouping, report
from provisioner.l2.result import AddressOwner, Result

OK = Result("192.0.2.1", "ipv4", "default/web", "lab", "OK", "certain", ("w1 answers.",), predicted_leader="w1")
DOWN = replace(OK, verdict="SPEAKER_DOWN", evidence=("w1 has no speaker.",), remedy="Fix it.", culprit="node w1")
W2 = AddressOwner("52:54:00:00:00:12", "w2", "eth1", ("w2",))


def addresses(one: Result, *last: int, **changes: object) -> list[Result]:
    """Return a result for each of these addresses of 192.0.2.0/24."""
    return [replace(one, ip=f"192.0.2.{each}", service=f"default/web{each}", **changes) for each in last]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("results", "scopes"),
    [
        (addresses(DOWN, 1, 2), ["all addresses"]),
        ([*addresses(DOWN, 1, 2), *addresses(OK, 3, predicted_leader="w2")], ["all addresses of node w1"]),
        ([*addresses(DOWN, 1, 2), *addresses(OK, 3)], [""]),
        (
            [*addresses(DOWN, 1, 2, culprit="pool far", pool="far"), *addresses(OK, 3)],
            ["all addresses of pool far"],
        ),
        (
            [
                *(replace(DOWN, ip=f"2001:db8::{each}", family="ipv6", culprit="x y") for each in (1, 2)),
                *addresses(OK, 3),
            ],
            ["all IPv6 addresses"],
        ),
        ([*addresses(DOWN, 1), *addresses(DOWN, 2, culprit="node w2")], ["", ""]),
        (addresses(DOWN, 1, 2, 3, culprit=""), ["", "", ""]),
        (addresses(DOWN, 1, 2, 3, 4, culprit=""), ["all addresses"]),
    ],
)
def test_what_is_shared_by_which_addresses(results: list[Result], scopes: list[str]) -> None:
    assert [one.scope for one in grouping.causes(results)] == scopes


def test_every_result_is_in_exactly_one_group() -> None:
    results = [*addresses(DOWN, 1, 2), *addresses(OK, 3, 4, 5, 6), *addresses(OK, 7, warnings=("LEADER_MOVED",))]
    grouped = grouping.group(results)
    assert [len(one.results) for one in grouped] == [2, 4, 1]
    assert sorted(id(one) for each in grouped for one in each.results) == sorted(map(id, results))


def test_a_group_is_one_block_with_its_addresses() -> None:
    text = report.render([*addresses(DOWN, *range(1, 201)), *addresses(OK, 250, predicted_leader="w2", owners=(W2,))])
    lines = text.splitlines()
    (head,) = [line for line in lines if line.startswith("SPEAKER_DOWN")]
    assert head == "SPEAKER_DOWN  200 addresses  (all addresses of node w1)"
    assert "  addresses 192.0.2.1-192.0.2.200" in lines
    assert text.count("w1 has no speaker.") == 1
    assert lines[-1] == "1 of 201 OK: SPEAKER_DOWN 200."


def test_thousands_of_addresses_fit_a_screen() -> None:
    many = [
        replace(one, ip=f"10.{number // 256}.{number % 256}.9", service=f"default/web{number}", culprit=culprit)
        for number in range(2000)
        for one, culprit in [(OK, "") if number % 3 else (DOWN, f"node w{number % 4}")]
    ]
    assert len(report.render(many, width=100).splitlines()) < 60


def test_the_document_names_each_cause_once() -> None:
    made = report.document(None, [*addresses(DOWN, 1, 2), *addresses(OK, 3, predicted_leader="w2")], "1")
    (cause,) = made["causes"]
    assert (cause["verdict"], cause["culprit"], cause["scope"]) == (
        "SPEAKER_DOWN",
        "node w1",
        "all addresses of node w1",
    )
    assert cause["addresses"] == ["192.0.2.1", "192.0.2.2"]
    assert len(made["results"]) == 3
