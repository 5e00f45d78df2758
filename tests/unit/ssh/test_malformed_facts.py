"""Facts of a damaged or malicious host: parsed, or one of the errors that Host words; never anything else."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tracemalloc
from contextlib import suppress

import pytest

from provisioner.ssh import facts_parser, facts_script
from provisioner.ssh.facts import FactQuery
from provisioner.ssh.host import _MALFORMED

QUERY = FactQuery(
    files=("/etc/a",), exists=("/srv/*",), packages=("kubelet",), units=("a.service",), links=("/srv/a",)
)
TOKEN = "0" * 32
GOOD = {
    "clock": b"1700000000.5",
    "proc": b"/etc/os-release\0ID=debian\n/proc/meminfo\0MemTotal: 2048 kB\n"
    b"/proc/mounts\0a /sys/fs/cgroup cgroup2 rw 0 0\n"
    b"/proc/net/route\0Iface\n/proc/net/route\0eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    b"/sys/devices/system/cpu/online\0" + b"0-3\n",
    "listening": b"   0: 00000000:0016 00000000:0000 0A\n",
    "processes": b"kubelet\n",
    "modules": b"overlay\n",
    "nics": b'[{"ifname":"eth0","flags":["UP"],"addr_info":[{"local":"192.0.2.1","prefixlen":24}]}]',
    "packages": b"dpkg\t1\tii \tamd64\n",
    "dpkg": b"",
    "disks": b"Avail File\n  100 /\n",
    "units": b"Id=a.service\nLoadState=loaded\nActiveState=active\nActiveEnterTimestamp=Sun 2026-11-22 15:52:11 UTC\n",
    "paths": b"f 644 root:root 1700000000.0 /etc/a\0",
    "links": b"/srv/a\0",
}


def archive(size: int = 5, sparse: int = 0) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo("/etc/a")
        member.size = size
        tar.addfile(member, io.BytesIO(b"x" * size))
    return stream.getvalue()


def output(sections: dict[str, bytes]) -> bytes:
    return b"".join(f"\n@{TOKEN} {name}\n".encode() + body for name, body in sections.items())


def parse(data: bytes) -> None:
    facts_parser.parse(QUERY, TOKEN, data, 1.0, 2.0)


def test_the_sample_is_whole() -> None:
    facts = facts_parser.parse(QUERY, TOKEN, output({**GOOD, "contents": archive()}), 1.0, 2.0)
    assert facts.files["/etc/a"].content == "xxxxx"
    assert facts.links == {"/srv/a"}
    assert facts.default_gateway == "192.168.0.1"


def test_random_damage_ends_in_a_known_error() -> None:
    """Bounded fuzzing with a fixed seed: bytes changed, cut, repeated, sections exchanged."""
    chance = random.Random(15)
    whole = {**GOOD, "contents": archive()}
    for _ in range(4000):
        sections = dict(whole)
        for name in chance.sample(sorted(sections), chance.randint(1, 3)):
            body = bytearray(sections[name])
            for _ in range(chance.randint(1, 4)):
                place = chance.randrange(len(body) + 1)
                kind = chance.randrange(5)
                if kind == 0:
                    body[place:place] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
                elif kind == 1:
                    del body[place : place + chance.randint(1, 20)]
                elif kind == 2:
                    body[place:] = b""
                elif kind == 3:
                    body[place:place] = chance.choice(
                        [b"\0", b"\n", b"\t", b"=", b"-1", b"9" * 400, b"nan", b"[[", b"{}"]
                    )
                else:
                    body[:] = whole[chance.choice(sorted(whole))]
            sections[name] = bytes(body)
        with suppress(*_MALFORMED):
            parse(output(sections))


@pytest.mark.parametrize("clock", [b"nan", b"inf", b"-inf", b""])
def test_a_clock_that_is_none(clock: bytes) -> None:
    with pytest.raises(ValueError, match=r"is not a time|could not convert"):
        parse(output({**GOOD, "clock": clock}))


def test_few_bytes_never_become_many() -> None:
    bomb = gzip.compress(archive(200 * 1024 * 1024), 9)
    assert len(bomb) < 1024 * 1024
    large = archive(facts_script.MAX_CONTENT + 1)
    tracemalloc.start()
    try:
        with pytest.raises(tarfile.TarError):
            parse(output({**GOOD, "contents": bomb}))
        parse(output({**GOOD, "contents": large}))
        assert tracemalloc.get_traced_memory()[1] < 20 * 1024 * 1024
    finally:
        tracemalloc.stop()
