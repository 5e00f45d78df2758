"""The map of a sweep: the state of each address, its place on the map, and an SVG that no name can break."""

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
from provisioner.l2.result import AddressOwner, Result
from provisioner.l2.scan import picture, picture_svg, survey, table
from provisioner.l2.scan.survey import AddressState, SweptAddress

W1 = AddressOwner("52:54:00:00:00:11", "w1", "eth1", ("w1",))
W2 = AddressOwner("52:54:00:00:00:12", "w2", "eth1", ("w2",))
FOREIGN = AddressOwner("aa:bb:cc:00:00:01", owner_class="foreign", vendor='<Printers> & "Co"')
UNMATCHED = replace(FOREIGN, owner_class="unknown")  # perhaps a node whose interfaces are unknown
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


def result(verdict: str, *owners: AddressOwner) -> Result:
    return Result("", "ipv4", "", "", verdict, "certain", (), owners=owners)


def swept(last: int, state: AddressState = AddressState.FREE, *owners: AddressOwner) -> SweptAddress:
    return SweptAddress(ip_address(f"192.0.2.{last}"), state, owners)


@pytest.mark.parametrize(
    ("ip", "facts", "verdict", "owners", "state"),
    [
        ("192.0.2.200", FACTS, "OK", [W1], AddressState.RIGHT),
        ("192.0.2.200", FACTS, "NO_ENDPOINTS", [], AddressState.WRONG),
        ("192.0.2.200", FACTS, "SPEAKER_DOWN", [W2], AddressState.WRONG),
        ("192.0.2.200", FACTS, "SPLIT_BRAIN", [W1, W2], AddressState.DUPLICATE),
        ("192.0.2.200", FACTS, "ADDRESS_CONFLICT", [FOREIGN], AddressState.STRANGER),
        ("192.0.2.200", FACTS, "ADDRESS_CONFLICT", [W1, FOREIGN], AddressState.DUPLICATE),
        ("192.0.2.200", FACTS, "UNKNOWN", [], AddressState.UNCLEAR),
        ("192.0.2.201", FACTS, "POOL_ADDRESS_IN_USE", [FOREIGN], AddressState.STRANGER),
        ("192.0.2.201", FACTS, "", [], AddressState.FREE),
        ("192.0.2.201", SITE, "", [W1], AddressState.TAKEN),
        ("192.0.2.201", SITE, "", [FOREIGN], AddressState.STRANGER),
        ("192.0.2.201", SITE, "", [UNMATCHED], AddressState.UNCLEAR),
        ("192.0.2.201", SITE, "", [W1, W2], AddressState.DUPLICATE),
        ("192.0.2.201", None, "", [FOREIGN], AddressState.TAKEN),  # the pools are unknown, so it is not a fault
        ("192.0.2.90", FACTS, "", [FOREIGN], AddressState.TAKEN),  # outside the pools
        ("192.0.2.90", None, "", [W1, W2], AddressState.DUPLICATE),
        ("192.0.2.11", FACTS, "", [W1], AddressState.NODE),
        ("192.0.2.1", None, "", [FOREIGN], AddressState.NODE),
        ("192.0.2.2", None, "", [], AddressState.NODE),
    ],
)
def test_the_state_of_an_address(
    ip: str, facts: Facts | None, verdict: str, owners: list[AddressOwner], state: AddressState
) -> None:
    address = ip_address(ip)
    results = {address: result(verdict, *owners)} if verdict else {}
    capture = Capture(VANTAGE, (address,), asked={address: frozenset({Kind.REQUEST})})
    (found,) = survey.classify([address], capture, facts, results, {address: tuple(owners)})
    assert found.state is state


def test_silence_where_a_reply_is_due_is_faulty_on_the_map() -> None:
    address = ip_address("192.0.2.200")
    capture = Capture(VANTAGE, (address,), asked={address: frozenset({Kind.REQUEST})})
    silent = replace(result("UNKNOWN"), unanswered=True)
    (found,) = survey.classify([address], capture, FACTS, {address: silent}, {})
    assert (found.state, survey.exit_status([found])) == (AddressState.WRONG, 1)


def test_without_a_cluster_no_owner_is_called_foreign() -> None:
    """Only the nodes' addresses are known, and none replied, so any MAC may be a node's."""
    address = ip_address("192.0.2.201")
    asked = {address: frozenset({Kind.REQUEST})}
    capture = Capture(VANTAGE, (address,), (Answer(address, UNMATCHED.mac, Kind.REQUEST, 1.0, 0.1, 60),), asked=asked)
    seen = survey.owners_by_address(capture, owners.from_facts(SITE, capture.answers))
    (found,) = survey.classify([address], capture, SITE, {}, seen)
    assert (found.state, survey.exit_status([found])) == (AddressState.UNCLEAR, 2)
    assert found.note.startswith("unknown owner")
    assert "inconclusive  unknown (<Printers>" in table.render([replace(found, owners=(UNMATCHED,))])
    # The only node replies for its own address, so any other owner is foreign.
    own = Answer(ip_address("192.0.2.11"), W1.mac, Kind.REQUEST, 1.0, 0.1, 60)
    seen = survey.owners_by_address(capture, owners.from_facts(SITE, (*capture.answers, own)))
    (found,) = survey.classify([address], capture, SITE, {}, seen)
    assert (found.state, survey.exit_status([found])) == (AddressState.STRANGER, 1)


def test_an_address_that_was_not_probed_is_not_called_free() -> None:
    address = ip_address("192.0.2.90")
    (found,) = survey.classify([address], Capture(VANTAGE, (address,)), None, {}, {})
    assert found.state is AddressState.UNCLEAR
    assert survey.exit_status([found]) == 2


def test_owners_are_grouped_by_address_with_kinds_and_times() -> None:
    ip = ip_address("192.0.2.200")
    answers = tuple(
        Answer(ip, mac, kind, 1.0, rtt, 60)
        for mac, kind, rtt in (
            (W1.mac, Kind.PROBE, 0.0005),
            (FOREIGN.mac, Kind.PROBE, 0.001),
            (W1.mac, Kind.REQUEST, 0.0004),
        )
    )
    found = survey.owners_by_address(Capture(VANTAGE, (ip,), answers), owners.NodeMacs({W1.mac: (("w1", "eth1"),)}))
    first, second = found[ip]
    assert (first.node, first.nic, first.matched_by, first.answered) == ("w1", "eth1", "inventory", ("Z", "B"))
    assert first.rtt_us == (500, 400)
    assert (second.mac, second.node, second.nodes) == (FOREIGN.mac, "", ())
    assert list(found) == [ip]


def test_only_external_ips_and_answering_pool_addresses_are_diagnosed() -> None:
    ips = [ip_address(f"192.0.2.{last}") for last in (1, 90, 200, 201, 202)]
    heard = [Answer(ips[number], "aa:bb:cc:00:00:01", Kind.REQUEST, 1.0, 0.001, 60) for number in (0, 1, 4)]
    capture = Capture(VANTAGE, tuple(ips), tuple(heard))
    assert [str(ip) for ip in survey.to_diagnose(capture, FACTS, ips)] == ["192.0.2.200", "192.0.2.202"]
    assert survey.to_diagnose(capture, SITE, ips) == ()
    assert survey.to_diagnose(capture, None, ips) == ()


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([AddressState.FREE, AddressState.RIGHT, AddressState.NODE, AddressState.TAKEN], 0),
        ([AddressState.FREE, AddressState.WRONG], 1),
        ([AddressState.STRANGER, AddressState.UNCLEAR], 1),
        ([AddressState.DUPLICATE], 1),
        ([AddressState.UNCLEAR, AddressState.RIGHT], 2),
    ],
)
def test_exit_status(states: list[AddressState], status: int) -> None:
    assert survey.exit_status([swept(last, state) for last, state in enumerate(states)]) == status


def test_the_address_can_be_read_off_row_and_column() -> None:
    found = [swept(last, AddressState.RIGHT if last == 227 else AddressState.FREE, W1) for last in range(208, 231)]
    lines = picture.render(found).splitlines()
    assert lines[0].split() == ["0", "5", "10", "15"]
    row = next(line for line in lines if line.startswith("192.0.2.220"))
    column = lines[0].index("5", lines[0].index("0")) + 2 * 3  # two columns to the right of 5
    assert row[column] == "o"
    first = next(line for line in lines if line.startswith("192.0.2.200"))
    assert first.count(".") == 3 + 12  # the dots of the address, and twelve free addresses from 208
    assert first.rstrip().endswith(".  .")


def test_rows_never_mix_networks_and_families() -> None:
    found = [
        SweptAddress(ip_address(text), AddressState.RIGHT)
        for text in ("192.0.2.255", "192.0.3.0", "2001:db8::1f", "2001:db8::20")
    ]
    assert [row.label for row in picture.rows(found) if isinstance(row, picture.Row)] == [
        "192.0.2.240",
        "192.0.3.0",
        "2001:db8::10",
        "2001:db8::20",
    ]


def test_a_run_of_free_addresses_is_one_line() -> None:
    found = [swept(last, AddressState.RIGHT if last in (3, 250) else AddressState.FREE) for last in range(1, 255)]
    rows = picture.rows(found)
    assert rows[1] == picture.Gap("192.0.2.20", "192.0.2.239", 220)
    assert len(rows) == 3
    assert "220 free, 192.0.2.20 to 192.0.2.239" in picture.render(found)


def test_a_narrow_terminal_gets_shorter_rows() -> None:
    found = [SweptAddress(ip_address(f"192.168.100.{last}"), AddressState.RIGHT) for last in range(200, 231)]
    found += [SweptAddress(ip_address(f"2001:db8:1234:5678:9abc:def0:1:{n:x}"), AddressState.RIGHT) for n in range(16)]
    for width in (100, 80, 70):
        lines = picture.render(found, width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert (
            sum(line.split()[1:].count("o") for line in lines if "." in line or "::" in line or "def0" in line) == 47
        )
    assert picture.render(found[:31], width=80).count("192.168.100.") == 2
    assert picture.render(found[:31], width=70).count("192.168.100.") == 4


def test_colors_change_no_letter() -> None:
    found = [swept(number, state, W1) for number, state in enumerate(AddressState)]
    plain = picture.render(found)
    assert "\x1b" not in plain
    assert len({state.letter for state in AddressState}) == len(AddressState)
    assert plain.splitlines()[1].split()[1:] == [state.letter for state in AddressState]
    colored = picture.render(found, color=True)
    assert "\x1b[" in colored
    assert [line.rstrip() for line in click.unstyle(colored).splitlines()] == [
        line.rstrip() for line in plain.splitlines()
    ]


def test_the_legend_lists_the_usual_states_and_those_that_occur() -> None:
    assert [state for state, _ in picture.legend([swept(1)])] == list(survey.ALWAYS)
    assert (AddressState.NODE, 1) in picture.legend([swept(1, AddressState.NODE)])


def test_names_cannot_break_the_svg() -> None:
    found = [
        swept(200, AddressState.STRANGER, FOREIGN),
        swept(201, AddressState.DUPLICATE, W1, W2),
        swept(202),
        swept(203, AddressState.RIGHT, W1),
    ]
    text = picture_svg.render(found, 'pool "<lab>" & co', "when")
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    hovers = [element.text or "" for element in root.iter(f"{space}title")]
    assert hovers[0] == 'pool "<lab>" & co'
    assert hovers[1] == '192.0.2.200: foreign host in a pool (aa:bb:cc:00:00:01 (<Printers> & "Co"))'
    assert hovers[2] == "192.0.2.201: duplicate owners (w1 eth1, w2 eth1)"
    assert len(hovers) == 1 + len(found)
    words = [element.text for element in root.iter(f"{space}text")]
    assert "192.0.2.200" in words  # the label of a row
    assert {"S", "D", "o"} <= set(words)
    assert any((word or "").startswith("duplicate owners: 1") for word in words)
    assert "192.0.2.201: duplicate owners (w1 eth1, w2 eth1)" in words  # faults are listed below the map


def test_the_svg_stays_within_its_frame() -> None:
    found = [swept(last, AddressState.STRANGER, FOREIGN) for last in range(1, 255)]
    root = ElementTree.fromstring(picture_svg.render(found, "title"))
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for element in root.iter():
        if element.get("x"):
            assert 0 <= float(element.get("x", "")) + float(element.get("width", "0")) <= width
            assert 0 <= float(element.get("y", "")) <= height


def test_the_table_names_owners_and_omits_empty_columns() -> None:
    found = [swept(200, AddressState.DUPLICATE, W1, FOREIGN), swept(201), swept(202, AddressState.TAKEN, W2)]
    text = table.render(found)
    assert text.splitlines()[0].split() == ["ADDRESS", "STATE", "OWNER", "MAC"]
    assert text.count("192.0.2.200") == 2
    assert 'unknown (<Printers> & "Co")' in text
    assert "192.0.2.201" not in text
    assert table.render([swept(201)]) == ""


def test_the_summary_counts_silent_addresses_and_faults_and_names_the_next_command() -> None:
    assert table.summary([swept(1), swept(2)]) == "2 of 2 addresses silent."
    assert table.summary([swept(1), swept(2, AddressState.RIGHT, W1)]) == "1 of 2 addresses silent."
    silent = SweptAddress(
        ip_address("192.0.2.9"), AddressState.UNCLEAR, service="default/web", result=result("UNKNOWN")
    )
    assert silent.summary == "192.0.2.9: inconclusive (no reply), default/web, UNKNOWN"
    assert table.summary([swept(1, AddressState.RIGHT, W1), silent]) == (
        "1 of 2 addresses silent.\nInconclusive: 1.\nnext: provisioner l2 check 192.0.2.9"
    )
    found = [swept(1), swept(2, AddressState.STRANGER, FOREIGN), swept(3, AddressState.STRANGER, FOREIGN)]
    assert table.summary(found) == (
        "1 of 3 addresses silent.\nFaults: foreign host in a pool (2).\nnext: provisioner l2 check 192.0.2.2"
    )
