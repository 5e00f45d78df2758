"""Every verdict and warning has a page of the same form, and no other page exists."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.l2 import explanations, phrases

FOLDER = Path(__file__).parents[3] / "docs" / "l2"
DOCUMENTATION = [ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32", "0.0.0.0/32")]
MAC = r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}"
IP = r"[0-9a-f.:]+"

# What tcpdump 4.99 prints with -tn, and with -tne in front.
ETHERNET = rf"{MAC} > {MAC}, ethertype \w+ \(0x[0-9a-f]{{4}}\), length \d+: "
ARP = (
    rf"Request who-has {IP}(?: \({MAC}\))? tell {IP}, length \d+",
    rf"Reply {IP} is-at {MAC}, length \d+",
)
NDP = (
    r"ICMP6, neighbor solicitation, who has [0-9a-f:]+, length 32",
    r"ICMP6, neighbor advertisement, tgt is [0-9a-f:]+, length 32",
)
TCP = r"Flags \[[SRFP.]+\],(?: seq [\d:]+,)?(?: ack \d+,)? win \d+, length \d+"
UDP = r"(?:UDP, length \d+|\d+\+? .*)"
ICMP = r"ICMP echo (?:request|reply), id \d+, seq \d+, length \d+"
VRRP = r"VRRPv[23], Advertisement, .*, length \d+"
ANY = rf"(?:{TCP}|{UDP}|{ICMP}|{VRRP}|ICMP .*)"
FRAMES = (
    *(rf"ARP, {one}" for one in ARP),
    *(rf"IP6 {IP} > {IP}: {one}" for one in NDP),
    rf"IP {IP} > {IP}: {ANY}",
    rf"IP6 {IP} > {IP}: {ANY}",
    *(ETHERNET + one for one in ARP),
    *(rf"{ETHERNET}{IP} > {IP}: {one}" for one in NDP),
    rf"{ETHERNET}{IP} > {IP}: {ANY}",
)


def page(code: str) -> str:
    return (FOLDER / f"{code}.md").read_text(encoding="utf-8")


def test_exactly_the_existing_codes_have_a_page() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} - {"README"} == {*phrases.VERDICTS, *phrases.WARNINGS}
    assert {path.suffix for path in FOLDER.iterdir()} == {".md"}


@pytest.mark.parametrize("code", explanations.codes())
def test_a_page_has_the_code_the_sentence_of_a_check_and_every_section(code: str) -> None:
    text = page(code)
    assert text.startswith(f"# {code}\n\n{explanations.summary(code)}\n"), "its first sentence is that of the check"
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert tuple(titles) == explanations.SECTIONS
    sections = re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]
    assert all(len(section.split()) >= 5 for section in sections)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert text.count("```") % 2 == 0


@pytest.mark.parametrize("code", explanations.codes())
def test_frames_are_as_tcpdump_prints_them_and_about_documentation_addresses(code: str) -> None:
    for block in re.findall(r"^```tcpdump\n(.+?)^```", page(code), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            assert any(re.fullmatch(one, line) for one in FRAMES), line
            for text in re.findall(r"\b\d+\.\d+\.\d+\.\d+|\b2001:[0-9a-f:]+", line):
                ip = ip_address(text.rstrip(":") if text.count("::") else text)
                multicast = ip.is_multicast
                assert multicast or any(ip in one for one in DOCUMENTATION if one.version == ip.version), line


@pytest.mark.parametrize("code", [*explanations.codes(), "README"])
def test_links_lead_to_pages(code: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page(code)):
        assert target.startswith("https://") or (FOLDER / target).is_file(), target


@pytest.mark.parametrize("code", explanations.codes())
def test_prose_fits_a_screen(code: str) -> None:
    prose = re.sub(r"^```.*?^```", "", page(code), flags=re.MULTILINE | re.DOTALL)
    assert max(map(len, prose.splitlines())) <= 126


def test_the_index_lists_every_page_with_its_sentence() -> None:
    listed = dict(re.findall(r"^- \[\w+\]\((\w+)\.md\): (.+)$", page("README"), re.MULTILINE))
    assert listed == {code: explanations.summary(code) for code in explanations.codes()}


@pytest.mark.parametrize("word", ["SPLIT_BRAIN", "split_brain", "split-brain", "Split Brain", " split brain "])
def test_a_code_is_found_however_it_is_written(word: str) -> None:
    assert explanations.find(word) == "SPLIT_BRAIN"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("split_brian", "no verdict or warning is called 'split_brian'; did you mean SPLIT_BRAIN?"),
        ("conflict", "did you mean ADDRESS_CONFLICT or SERVICELB_CONFLICT or CILIUM_L2_CONFLICT?"),
        ("xyzzy", "no verdict or warning is called 'xyzzy'; list them: provisioner l2 explain"),
        ("", "list them"),
        ("\x1b[2J", r"'\x1b[2J'"),
    ],
)
def test_another_word_gets_what_is_close(word: str, says: str) -> None:
    with pytest.raises(ProvisionerError) as caught:
        explanations.find(word)
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_page_is_read_from_the_folder() -> None:
    assert explanations.page("OK") == page("OK")
