"""The map of a sweep: what each address looks like, where it stands, and that no name breaks the SVG."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, ip_address
from xml.etree import ElementTree

import click
import pytest

from provisioner.l2 import owners
from provisioner.l2.facts import Facts, Node, Pool, Service
from provisioner.l2.probe.arp import Kind
from provisioner.l2.probe.capture import Answer, Capture, Vantage
from provisioner.l2.result import OwnerSeen, Result
from provisioner.l2.scan import picture, picture_svg, survey, table
from provisioner.l2.scan.survey import Spot, State

W1 = OwnerSeen("52:54:00:00:00:11", "w1", "eth1", ("w1",))
W2 = OwnerSeen("52:54:00:00:00:12", "w2", "eth1", ("w2",))
STRANGE = OwnerSeen("aa:bb:cc:00:00:01", owner_class="foreign", vendor='<Printers> & "Co"')
NOBODYS = replace(STRANGE, owner_class="unknown")  # perhaps a node's, whose network cards are not known
GATEWAY = ip_address("192.0.2.1")
VANTAGE = Vantage(
    "eth1",
    "02:00:00:00:00:02",
    (IPv4Interface("192.0.2.2/24"),),
    own_addresses=frozenset({ip_address("192.0.2.2")}),
    gateways=(GATEWAY,),
)
FACTS = Facts(
    nodes=(Node(name="w1", internal_ips=("192.0.2.11",)),),
    pools=(Pool(name="lab", addresses=("192.0.2.200-192.0.2.203",)),),
    services=(Service(namespace="default", name="web", ingress_ips=("192.0.2.200",)),),
)
SITE = Facts(nodes=FACTS.nodes, pools=FACTS.pools)


def result(verdict: str, *owners: OwnerSeen) -> Result:
    return Result("", "ipv4", "", "", verdict, "certain", (), owners=owners)


def spot(last: int, state: State = State.FREE, *owners: OwnerSeen) -> Spot:
    return Spot(ip_address(f"192.0.2.{last}"), state, owners)


@pytest.mark.parametrize(
    ("ip", "facts", "verdict", "owners", "state"),
    [
        ("192.0.2.200", FACTS, "OK", [W1], State.RIGHT),
        ("192.0.2.200", FACTS, "NO_ENDPOINTS", [], State.WRONG),
        ("192.0.2.200", FACTS, "SPEAKER_DOWN", [W2], State.WRONG),
        ("192.0.2.200", FACTS, "SPLIT_BRAIN", [W1, W2], State.DUPLICATE),
        ("192.0.2.200", FACTS, "ADDRESS_CONFLICT", [STRANGE], State.STRANGER),
        ("192.0.2.200", FACTS, "ADDRESS_CONFLICT", [W1, STRANGE], State.DUPLICATE),
        ("192.0.2.200", FACTS, "UNKNOWN", [], State.UNCLEAR),
        ("192.0.2.201", FACTS, "POOL_ADDRESS_IN_USE", [STRANGE], State.STRANGER),
        ("192.0.2.201", FACTS, "", [], State.FREE),
        ("192.0.2.201", SITE, "", [W1], State.TAKEN),
        ("192.0.2.201", SITE, "", [STRANGE], State.STRANGER),
        ("192.0.2.201", SITE, "", [NOBODYS], State.UNCLEAR),
        ("192.0.2.201", SITE, "", [W1, W2], State.DUPLICATE),
        ("192.0.2.201", None, "", [STRANGE], State.TAKEN),  # nothing is known of pools: no stranger
        ("192.0.2.90", FACTS, "", [STRANGE], State.TAKEN),  # outside of the pools: somebody else's machine
        ("192.0.2.90", None, "", [W1, W2], State.DUPLICATE),
        ("192.0.2.11", FACTS, "", [W1], State.NODE),
        ("192.0.2.1", None, "", [STRANGE], State.NODE),
        ("192.0.2.2", None, "", [], State.NODE),
    ],
)
def test_what_an_address_looks_like(
    ip: str, facts: Facts | None, verdict: str, owners: list[OwnerSeen], state: State
) -> None:
    address = ip_address(ip)
    results = {address: result(verdict, *owners)} if verdict else {}
    capture = Capture(VANTAGE, (address,), asked={address: frozenset({Kind.REQUEST})})
    (found,) = survey.spots([address], capture, facts, results, {address: tuple(owners)})
    assert found.state is state


def test_silence_where_an_answer_is_due_is_wrong_on_the_map() -> None:
    address = ip_address("192.0.2.200")
    capture = Capture(VANTAGE, (address,), asked={address: frozenset({Kind.REQUEST})})
    silent = replace(result("UNKNOWN"), unanswered=True)
    (found,) = survey.spots([address], capture, FACTS, {address: silent}, {})
    assert (found.state, survey.exit_status([found])) == (State.WRONG, 1)


def test_before_there_is_a_cluster_nobody_is_called_a_stranger() -> None:
    """Of the nodes only the addresses are known, none of which answered, so any MAC may be a node's."""
    address = ip_address("192.0.2.201")
    asked = {address: frozenset({Kind.REQUEST})}
    capture = Capture(VANTAGE, (address,), (Answer(address, NOBODYS.mac, Kind.REQUEST, 1.0, 0.1, 60),), asked=asked)
    seen = survey.heard(capture, owners.from_facts(SITE, capture.answers))
    (found,) = survey.spots([address], capture, SITE, {}, seen)
    assert (found.state, survey.exit_status([found])) == (State.UNCLEAR, 2)
    assert found.note.startswith("unknown owner")
    assert "cannot be told  unknown, by <Printers>" in table.table([replace(found, owners=(NOBODYS,))])
    # The only node is heard by its own address: whoever else answers is a stranger.
    own = Answer(ip_address("192.0.2.11"), W1.mac, Kind.REQUEST, 1.0, 0.1, 60)
    seen = survey.heard(capture, owners.from_facts(SITE, (*capture.answers, own)))
    (found,) = survey.spots([address], capture, SITE, {}, seen)
    assert (found.state, survey.exit_status([found])) == (State.STRANGER, 1)


def test_an_address_that_could_not_be_asked_for_is_not_called_free() -> None:
    address = ip_address("192.0.2.90")
    (found,) = survey.spots([address], Capture(VANTAGE, (address,)), None, {}, {})
    assert found.state is State.UNCLEAR
    assert survey.exit_status([found]) == 2


def test_who_was_heard_is_told_by_address_with_kinds_and_times() -> None:
    ip = ip_address("192.0.2.200")
    answers = tuple(
        Answer(ip, mac, kind, 1.0, rtt, 60)
        for mac, kind, rtt in (
            (W1.mac, Kind.PROBE, 0.0005),
            (STRANGE.mac, Kind.PROBE, 0.001),
            (W1.mac, Kind.REQUEST, 0.0004),
        )
    )
    found = survey.heard(Capture(VANTAGE, (ip,), answers), owners.NodeMacs({W1.mac: (("w1", "eth1"),)}))
    first, second = found[ip]
    assert (first.node, first.nic, first.matched_by, first.answered) == ("w1", "eth1", "inventory", ("Z", "B"))
    assert first.rtt_us == (500, 400)
    assert (second.mac, second.node, second.nodes) == (STRANGE.mac, "", ())
    assert list(found) == [ip]


def test_only_what_can_be_judged_is_diagnosed() -> None:
    ips = [ip_address(f"192.0.2.{last}") for last in (1, 90, 200, 201, 202)]
    heard = [Answer(ips[number], "aa:bb:cc:00:00:01", Kind.REQUEST, 1.0, 0.001, 60) for number in (0, 1, 4)]
    capture = Capture(VANTAGE, tuple(ips), tuple(heard))
    assert [str(ip) for ip in survey.to_diagnose(capture, FACTS, ips)] == ["192.0.2.200", "192.0.2.202"]
    assert survey.to_diagnose(capture, SITE, ips) == ()
    assert survey.to_diagnose(capture, None, ips) == ()


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([State.FREE, State.RIGHT, State.NODE, State.TAKEN], 0),
        ([State.FREE, State.WRONG], 1),
        ([State.STRANGER, State.UNCLEAR], 1),
        ([State.DUPLICATE], 1),
        ([State.UNCLEAR, State.RIGHT], 2),
    ],
)
def test_exit_status(states: list[State], status: int) -> None:
    assert survey.exit_status([spot(last, state) for last, state in enumerate(states)]) == status


def test_the_address_can_be_read_off_row_and_column() -> None:
    found = [spot(last, State.RIGHT if last == 227 else State.FREE, W1) for last in range(208, 231)]
    lines = picture.terminal(found).splitlines()
    assert lines[0].split() == ["0", "5", "10", "15"]
    row = next(line for line in lines if line.startswith("192.0.2.220"))
    column = lines[0].index("5", lines[0].index("0")) + 2 * 3  # two to the right of the five
    assert row[column] == "o"
    first = next(line for line in lines if line.startswith("192.0.2.200"))
    assert first.count(".") == 3 + 12  # the address's own dots, and twelve free ones from 208 on
    assert first.rstrip().endswith(".  .")


def test_rows_never_mix_networks_and_families() -> None:
    found = [
        Spot(ip_address(text), State.RIGHT) for text in ("192.0.2.255", "192.0.3.0", "2001:db8::1f", "2001:db8::20")
    ]
    assert [row.label for row in picture.rows(found) if isinstance(row, picture.Row)] == [
        "192.0.2.240",
        "192.0.3.0",
        "2001:db8::10",
        "2001:db8::20",
    ]


def test_stretches_of_free_addresses_are_one_line() -> None:
    found = [spot(last, State.RIGHT if last in (3, 250) else State.FREE) for last in range(1, 255)]
    rows = picture.rows(found)
    assert rows[1] == picture.Gap("192.0.2.20", "192.0.2.239", 220)
    assert len(rows) == 3
    assert "220 free, 192.0.2.20 to 192.0.2.239" in picture.terminal(found)


def test_a_narrow_terminal_gets_shorter_rows() -> None:
    found = [Spot(ip_address(f"192.168.100.{last}"), State.RIGHT) for last in range(200, 231)]
    found += [Spot(ip_address(f"2001:db8:1234:5678:9abc:def0:1:{n:x}"), State.RIGHT) for n in range(16)]
    for width in (100, 80, 70):
        lines = picture.terminal(found, width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert (
            sum(line.split()[1:].count("o") for line in lines if "." in line or "::" in line or "def0" in line) == 47
        )
    assert picture.terminal(found[:31], width=80).count("192.168.100.") == 2
    assert picture.terminal(found[:31], width=70).count("192.168.100.") == 4


def test_letters_serve_without_colours_and_colours_change_no_letter() -> None:
    found = [spot(number, state, W1) for number, state in enumerate(State)]
    plain = picture.terminal(found)
    assert "\x1b" not in plain
    assert len({state.letter for state in State}) == len(State)
    assert plain.splitlines()[1].split()[1:] == [state.letter for state in State]
    coloured = picture.terminal(found, colour=True)
    assert "\x1b[" in coloured
    assert [line.rstrip() for line in click.unstyle(coloured).splitlines()] == [
        line.rstrip() for line in plain.splitlines()
    ]


def test_the_legend_explains_the_usual_states_always_and_the_others_when_seen() -> None:
    assert [state for state, _ in picture.legend([spot(1)])] == list(survey.ALWAYS)
    assert (State.NODE, 1) in picture.legend([spot(1, State.NODE)])


def test_the_svg_is_well_formed_whatever_a_name_holds() -> None:
    found = [
        spot(200, State.STRANGER, STRANGE),
        spot(201, State.DUPLICATE, W1, W2),
        spot(202),
        spot(203, State.RIGHT, W1),
    ]
    text = picture_svg.svg(found, 'pool "<lab>" & co', "when")
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    hovers = [element.text or "" for element in root.iter(f"{space}title")]
    assert hovers[0] == 'pool "<lab>" & co'
    assert hovers[1] == '192.0.2.200: stranger in the pool (aa:bb:cc:00:00:01 (<Printers> & "Co"))'
    assert hovers[2] == "192.0.2.201: two owners (w1 eth1, w2 eth1)"
    assert len(hovers) == 1 + len(found)
    words = [element.text for element in root.iter(f"{space}text")]
    assert "192.0.2.200" in words  # the label of a row
    assert {"S", "D", "o"} <= set(words)
    assert any((word or "").startswith("two owners: 1") for word in words)
    assert "192.0.2.201: two owners (w1 eth1, w2 eth1)" in words  # faults are told below the map


def test_nothing_in_the_svg_leaves_its_frame() -> None:
    found = [spot(last, State.STRANGER, STRANGE) for last in range(1, 255)]
    root = ElementTree.fromstring(picture_svg.svg(found, "title"))
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for element in root.iter():
        if element.get("x"):
            assert 0 <= float(element.get("x", "")) + float(element.get("width", "0")) <= width
            assert 0 <= float(element.get("y", "")) <= height


def test_the_table_names_owners_and_leaves_empty_columns_out() -> None:
    found = [spot(200, State.DUPLICATE, W1, STRANGE), spot(201), spot(202, State.TAKEN, W2)]
    text = table.table(found)
    assert text.splitlines()[0].split() == ["ADDRESS", "STATE", "OWNER", "MAC"]
    assert text.count("192.0.2.200") == 2
    assert 'unknown, by <Printers> & "Co"' in text
    assert "192.0.2.201" not in text
    assert table.table([spot(201)]) == ""


def test_the_summary_counts_silence_and_faults_and_names_the_next_command() -> None:
    assert table.summary([spot(1), spot(2)]) == "All 2 addresses are silent."
    assert table.summary([spot(1), spot(2, State.RIGHT, W1)]) == "1 of 2 addresses are silent."
    silent = Spot(ip_address("192.0.2.9"), State.UNCLEAR, service="default/web", result=result("UNKNOWN"))
    assert silent.about == "192.0.2.9: cannot be told (nobody answers), default/web, UNKNOWN"
    assert table.summary([spot(1, State.RIGHT, W1), silent]) == (
        "1 of 2 addresses are silent.\nCannot be told: 1.\nnext: provisioner l2 check 192.0.2.9"
    )
    found = [spot(1), spot(2, State.STRANGER, STRANGE), spot(3, State.STRANGER, STRANGE)]
    assert table.summary(found) == (
        "1 of 3 addresses are silent.\nFaults: stranger in the pool (2).\nnext: provisioner l2 check 192.0.2.2"
    )
