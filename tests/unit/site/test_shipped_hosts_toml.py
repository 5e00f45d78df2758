"""The shipped hosts.toml: describes the Vagrant lab, and shows and explains every key with its default."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from provisioner.catalogue import default_minor
from provisioner.cli.init import template
from provisioner.site import parse_site, schema

TOP = Path(__file__).parents[3]
TEXT = template()
COMMENTED = re.compile(r"(?m)^#(?=[a-z_]+ = )")


def test_it_describes_a_lab_of_four_machines() -> None:
    lab = parse_site(TEXT)
    assert {host.name: host.address for host in lab.hosts} == {
        "master": "192.168.56.10",
        "worker1": "192.168.56.11",
        "worker2": "192.168.56.12",
        "worker3": "192.168.56.13",
    }
    assert [host.name for host in lab.control_planes] == ["master"]
    assert lab.ssh.user == "vagrant"
    (pool,) = lab.metallb.pools
    assert [str(each) for each in pool.ranges] == ["192.168.56.200-192.168.56.230"]
    assert lab.cluster.kubernetes == default_minor()


def test_uncommenting_every_default_changes_nothing() -> None:
    uncommented = COMMENTED.sub("", TEXT)
    assert len(COMMENTED.findall(TEXT)) > 40
    assert parse_site(uncommented) == parse_site(TEXT)


def test_every_key_is_listed_under_its_table_with_a_comment() -> None:
    shown: dict[str, set[str]] = {}
    header = ""
    for line in TEXT.splitlines():
        if line.startswith("["):
            header = line
        elif match := re.match(r"#?([a-z_]+) = ", line):
            first = match[1] not in shown.setdefault(header, set())
            shown[header].add(match[1])
            if header != "[[hosts]]" or first:
                assert re.search(r"\S +# .{8,}$", line), f"{line!r} has no comment"
    tables = schema.tables()
    login = next(line for line in TEXT.splitlines() if line.startswith("#ssh = "))
    assert set(re.findall(r"(\w+) = ", login)) == {"ssh", *tables.pop("[hosts.ssh]")}
    tables["[metallb]"].remove("pools")  # a table of its own, below
    assert shown == {table: set(keys) for table, keys in tables.items()}


def test_lines_fit_a_terminal() -> None:
    assert max(map(len, TEXT.splitlines())) < 120
    assert not [line for line in TEXT.splitlines() if line != line.rstrip()]


def test_the_top_level_file_equals_the_template() -> None:
    """The committed file counts too: an operator may have edited the one in the checkout."""
    committed = subprocess.run(["git", "-C", str(TOP), "show", "HEAD:./hosts.toml"], capture_output=True, check=False)
    assert TEXT in ((TOP / "hosts.toml").read_text(), committed.stdout.decode())
