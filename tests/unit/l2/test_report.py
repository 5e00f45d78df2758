"""What a person and a program are told: blocks, the last line, colours, l2report/v1, exit statuses."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from provisioner.l2 import phrases, report
from provisioner.l2.probe.capture import Capture, Vantage
from provisioner.l2.result import OwnerSeen, Result

W1 = OwnerSeen("52:54:00:00:00:11", "w1", "eth1", ("w1",), "speaker", "inventory", "", ("Z", "B"), (310, 280))
W2 = OwnerSeen("52:54:00:00:00:12", "w2", "", ("w2",), "speaker", "arp", "", ("Z",), (400,))
PRINTER = OwnerSeen("aa:bb:cc:00:00:01", owner_class="foreign", vendor="Printers Inc")
FINE = Result("192.0.2.200", "ipv4", "default/web", "lab", "OK", "certain", ("w1 answers.",), owners=(W1,))
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
UNKNOWN = Result("192.0.2.202", "ipv4", "", "", "UNKNOWN", "possible", ("Nobody answered.",), "Measure again.")
PENDING = Result("", "", "default/new", "", "POOL_EXHAUSTED", "certain", ("Pool lab has 0 of 3 left.",), "Enlarge it.")


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([FINE], 0),
        ([replace(FINE, warnings=("ICMP_SILENT",))], 0),
        ([FINE, SPLIT], 1),
        ([UNKNOWN, SPLIT], 1),
        ([FINE, UNKNOWN], 2),
        ([replace(FINE, verdict="INCONCLUSIVE_PROBE_LOCATION")], 2),
        ([], 2),  # nothing was looked at, so nothing is well
    ],
)
def test_exit_status(results: list[Result], status: int) -> None:
    assert report.exit_status(results) == status


def test_a_block_reads_verdict_sentence_owners_evidence_remedy_command() -> None:
    assert report.text([SPLIT], width=90).splitlines() == [
        "SPLIT_BRAIN  192.0.2.201  (default/api, pool lab)",
        "  Two or more MetalLB speakers answer; each believes that it is the leader. (likely, not",
        "  certain)",
        "  owner     w1 eth1, 52:54:00:00:00:11; known from the node's list of network cards;",
        "            answers as MetalLB does",
        "            w2, 52:54:00:00:00:12; known because the same one answers for the node's own",
        "            address; answers as MetalLB does",
        "  evidence  w1 and w2 answer, steadily.",
        "            w1's speaker reports a partial join.",
        "  or        Services that share the address are announced by different nodes.",
        "            (SHARED_IP_SPLIT)",
        "  remedy    Open TCP and UDP port 7946 between the nodes.",
        "  next      provisioner exec -- ss -lun 'sport = :7946'",
        "",
        "It is not as it should be: SPLIT_BRAIN.",
    ]


def test_faults_stand_last_and_the_last_line_counts_them() -> None:
    text = report.text([SPLIT, PENDING, UNKNOWN, FINE])
    heads = [line.split()[0] for line in text.splitlines() if line and not line.startswith(" ")]
    assert heads == ["OK", "UNKNOWN", "SPLIT_BRAIN", "POOL_EXHAUSTED", "1"]
    assert text.splitlines()[-1] == "1 of 4 are as they should be: SPLIT_BRAIN, POOL_EXHAUSTED, UNKNOWN."


def test_what_is_well_needs_no_remedy_and_a_warning_is_told() -> None:
    warned = replace(FINE, warnings=("UNEXPECTED_LEADER",), remedy="None is needed.", command="x")
    assert "remedy" not in report.text([replace(FINE, remedy="Nothing.", command="x")])
    assert "another node than predicted answers; it serves all the same (UNEXPECTED_LEADER)" in report.text([warned])
    assert report.text([FINE]).splitlines()[-1] == "It is as it should be."
    assert report.text([FINE, warned]).splitlines()[-1] == "All 2 are as they should be, with warnings for 1."


def test_strangers_and_silence_in_words() -> None:
    assert report.owner_words(PRINTER) == ("no node of the cluster, made by Printers Inc, aa:bb:cc:00:00:01")
    assert report.owner_words(OwnerSeen("aa:bb:cc:00:00:02")) == "unknown machine, aa:bb:cc:00:00:02"
    shared = replace(W1, node="", nic="", nodes=("w1", "w2"))
    assert report.owner_words(shared).startswith("w1 or w2, 52:54:00:00:00:11")
    assert "nobody answered" in report.text([UNKNOWN])
    assert "nobody answered" not in report.text([PENDING])


def test_a_command_is_never_wrapped() -> None:
    long = replace(SPLIT, command="kubectl " + "x" * 150)
    assert f"  next      {long.command}" in report.text([long], width=60).splitlines()


def test_no_line_of_prose_is_wider_than_the_terminal() -> None:
    text = report.text([SPLIT, PENDING, UNKNOWN, FINE], width=50)
    assert max(len(line) for line in text.splitlines() if not line.startswith(("  next", "1 of"))) <= 50


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_when_there_are_colours(environment: dict[str, str], terminal: bool, expected: bool) -> None:
    assert report.colours(environment, terminal) is expected


def test_colours_change_no_word() -> None:
    import click

    assert click.unstyle(report.text([SPLIT, FINE], colour=True)) == report.text([SPLIT, FINE])
    assert report.text([SPLIT], colour=True) != report.text([SPLIT])


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
    }
    assert {"mac", "node", "nic", "class", "matched_by", "answered", "rtt_us"} <= set(result["owners"][0])
    assert result["owners"][0]["rtt_us"] == [310, 280]
    assert "problem" not in made
    assert report.document(None, [], "1", "why")["problem"] == "why"


def test_every_verdict_is_one_whole_sentence() -> None:
    assert all(sentence.endswith(".") and sentence.count(". ") == 0 for sentence in phrases.VERDICTS.values())
