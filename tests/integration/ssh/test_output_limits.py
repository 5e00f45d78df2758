"""Output of a host that is meant to harm: without end, without newlines, with terminal escapes."""

from __future__ import annotations

import resource

import pytest

from provisioner.errors import HostError
from provisioner.redact import MASK
from provisioner.ssh import jobs
from tests.integration.ssh.conftest import MakeSite, Open, provisioner
from tests.integration.ssh.nodes import Machine

ESCAPES = r"printf '\033]52;c;cm0gLXJm\007\033[2J\233H'"


def _peak() -> int:
    """Return the largest size of this process so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_endless_output_is_cut_off(make_site: MakeSite, open_site: Open) -> None:
    one = open_site(make_site())["one"]
    one.run("true")
    before = _peak()
    with pytest.raises(HostError, match="one: a command printed more than 32 MiB"):
        one.run("head -c 300000000 /dev/zero")
    with pytest.raises(HostError, match="printed more than 32 MiB"):
        one.run("head -c 300000000 /dev/zero >&2")
    assert _peak() - before < 300 * 1024
    assert one.run("echo next").stdout == "next\n"


def test_a_job_that_prints_much_ends_all_the_same(
    make_site: MakeSite, open_site: Open, machines: dict[str, Machine]
) -> None:
    opened = open_site(make_site())
    before = _peak()
    result = jobs.run(opened["one"], "much", "yes $(printf %0500d 7) | head -c 40000000; echo; echo end", timeout=300)
    assert result.stdout.endswith("end\n")
    assert len(result.stdout) <= 2 * jobs.MAX_KEPT
    assert opened.output()[-1] == "(printed more than 4 MiB; the rest is not shown)"
    opened.events.clear()
    jobs.run(opened["one"], "line", "head -c 3000000 /dev/zero | tr '\\0' x", timeout=300)
    assert max(map(len, opened.output())) <= jobs.MAX_LINE
    assert _peak() - before < 600 * 1024


def test_terminal_escapes_are_shown_not_sent(make_site: MakeSite, open_site: Open) -> None:
    site = make_site()
    opened = open_site(site)
    with pytest.raises(HostError) as caught:
        opened["one"].run(f"{ESCAPES}; false")
    jobs.run(opened["one"], "escapes", ESCAPES + "; echo", timeout=60)
    ran = provisioner(site, "exec", "--limit", "one", "--", ESCAPES)
    for text in (str(caught.value), caught.value.tail, str(opened.output()), opened.log, ran.stdout):
        assert "\x1b" not in text
        assert "\x9b" not in text
        assert r"\x1b]52;c;" in text.replace("\\\\", "\\")
    assert MASK not in ran.stdout
