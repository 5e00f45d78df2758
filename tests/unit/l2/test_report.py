"""The report for people and for programs: blocks, the summary line, colors, l2report/v1, exit statuses."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Interface

import click
import pytest

from provisioner.l2 import phrases, report, terminal
from provisioner.l2.probe.capture import Capture, Vantage
from provisioner.l2.result import AddressOwner, Result

W1 = AddressOwner("52:54:00:00:00:11", "w1", "eth1", ("w1",), "speaker", "inventory", "", ("Z", "B"), (310, 280))
W2 = AddressOwner("52:54:00:00:00:12", "w2", "", ("w2",), "speaker", "arp", "", ("Z",), (400,))
PRINTER = AddressOwner("aa:bb:cc:00:00:01", owner_class="foreign", vendor="Printers Inc")
OK = Result("192.0.2.200", "ipv4", "default/web", "lab", "OK", "certain", ("w1 answers.",), owners=(W1,))
SPLIT = Result(
    "192.0.2.201",
    "ipv4",
    "default/api",
    "lab",
    "SPLIT_BRAIN",
    "likely",
    ("w1 and w2 answer, steadily.", "w1's speaker reports a partial join."),
    "Open TCP and UDP port 7946 between the nodes.",
    "provisioner exec -- ss -lun 'sport = :7946'",
    predicted_leader="w1",
    owners=(W1, W2),
    alternatives=("SHARED_IP_SPLIT",),
)
UNKNOWN = Result("192.0.2.202", "ipv4", "", "", "UNKNOWN", "possible", ("No reply.",), "Probe again.")
PENDING = Result("", "", "default/new", "", "POOL_EXHAUSTED", "certain", ("Pool lab has 0 of 3 left.",), "Enlarge it.")


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([OK], 0),
        ([replace(OK, warnings=("LEADER_MOVED",))], 0),
        ([OK, SPLIT], 1),
        ([UNKNOWN, SPLIT], 1),
        ([OK, UNKNOWN], 2),
        ([replace(OK, verdict="INCONCLUSIVE_PROBE_LOCATION")], 2),
        ([], 2),  # nothing was checked
    ],
)
def test_exit_status(results: list[Result], status: int) -> None:
    assert report.exit_status(results) == status


def test_a_block_lists_verdict_meaning_owners_evidence_remedy_and_command() -> None:
    assert report.render([SPLIT], width=90).splitlines() == [
        "SPLIT_BRAIN  192.0.2.201  (default/api, pool lab)",
        "  Two or more MetalLB speakers answer; each considers itself the leader. (likely)",
        "  owner     w1 eth1, 52:54:00:00:00:11; MAC found on the node; replies like MetalLB's",
        "            speaker",
        "            w2, 52:54:00:00:00:12; the same MAC answers for the node's own address;",
        "            replies like MetalLB's speaker",
        "  evidence  w1 and w2 answer, steadily.",
        "            w1's speaker reports a partial join.",
        "  or        Services that share the address are announced by different nodes.",
        "            (SHARED_IP_SPLIT)",
        "  remedy    Open TCP and UDP port 7946 between the nodes.",
        "  next      provisioner exec -- ss -lun 'sport = :7946'",
        "",
        "0 of 1 OK: SPLIT_BRAIN.",
    ]


def test_faults_come_last_and_the_summary_counts_them() -> None:
    text = report.render([SPLIT, PENDING, UNKNOWN, OK])
    heads = [line.split()[0] for line in text.splitlines() if line and not line.startswith(" ")]
    assert heads == ["OK", "UNKNOWN", "SPLIT_BRAIN", "POOL_EXHAUSTED", "1"]
    assert text.splitlines()[-1] == "1 of 4 OK: SPLIT_BRAIN, POOL_EXHAUSTED, UNKNOWN."


def test_an_ok_result_has_no_remedy_and_shows_its_warnings() -> None:
    warned = replace(OK, warnings=("UNEXPECTED_LEADER",), remedy="None is needed.", command="x")
    assert "remedy" not in report.render([replace(OK, remedy="Nothing.", command="x")])
    assert f"{phrases.WARNINGS['UNEXPECTED_LEADER']} (UNEXPECTED_LEADER)" in report.render([warned], width=120)
    assert report.render([OK]).splitlines()[-1] == "1 of 1 OK."
    assert report.render([OK, warned]).splitlines()[-1] == "2 of 2 OK, 1 with warnings."


def test_foreign_owners_and_silence_are_described() -> None:
    assert report.describe_owner(PRINTER) == "not a cluster node, aa:bb:cc:00:00:01 (Printers Inc)"
    assert report.describe_owner(AddressOwner("aa:bb:cc:00:00:02")) == "unknown host, aa:bb:cc:00:00:02"
    shared = replace(W1, node="", nic="", nodes=("w1", "w2"))
    assert report.describe_owner(shared).startswith("w1 or w2, 52:54:00:00:00:11")
    assert "  owner     no reply" in report.render([UNKNOWN]).splitlines()
    assert "  owner" not in report.render([PENDING])


def test_a_command_is_never_wrapped() -> None:
    long = replace(SPLIT, command="kubectl " + "x" * 150)
    assert f"  next      {long.command}" in report.render([long], width=60).splitlines()


def test_prose_is_wrapped_at_the_width_of_the_terminal() -> None:
    text = report.render([SPLIT, PENDING, UNKNOWN, OK], width=50)
    assert max(len(line) for line in text.splitlines() if not line.startswith(("  next", "1 of"))) <= 50


@pytest.mark.parametrize(
    ("environment", "tty", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colors_need_a_terminal_that_allows_them(environment: dict[str, str], tty: bool, expected: bool) -> None:
    assert terminal.use_color(environment, tty) is expected


def test_colors_change_no_word() -> None:

    assert click.unstyle(report.render([SPLIT, OK], color=True)) == report.render([SPLIT, OK])
    assert report.render([SPLIT], color=True) != report.render([SPLIT])


def test_the_document_has_every_key_of_the_schema() -> None:
    vantage = Vantage("eth1", "02:00:00:00:00:01", (IPv4Interface("192.0.2.1/24"),))
    capture = Capture(vantage, (), started=1700000000.25, sent=4, received=3, pps=200)
    made = json.loads(json.dumps(report.document(capture, [SPLIT], "1.2.3")))
    assert made["schema"] == "l2report/v1"
    assert made["run"] == {
        "version": "1.2.3",
        "interface": "eth1",
        "source_mac": "02:00:00:00:00:01",
        "source_ip": "192.0.2.1",
        "started": "2023-11-14T22:13:20.250+00:00",
        "sent": 4,
        "received": 3,
        "dropped": 0,
        "pps": 200,
    }
    (result,) = made["results"]
    assert set(result) == {
        *("ip", "family", "service", "pool", "verdict", "confidence", "warnings", "predicted_leader"),
        *("owners", "evidence", "alternatives", "remedy", "command"),
        *("command_changes", "culprit", "covers", "notes", "services"),
    }
    assert {"mac", "node", "nic", "class", "matched_by", "answered", "rtt_us"} <= set(result["owners"][0])
    assert result["owners"][0]["rtt_us"] == [310, 280]
    assert "problem" not in made
    assert report.document(None, [], "1", "why")["problem"] == "why"


def test_every_verdict_is_described_in_one_sentence() -> None:
    assert all(sentence.endswith(".") and sentence.count(". ") == 0 for sentence in phrases.VERDICTS.values())
