"""What a damaged or malicious host says ends in a sentence: every step, with files and outputs that make no sense.

Bounded fuzzing with fixed seeds. A ProvisionerError is an answer; any other exception would be shown as a defect.
"""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from provisioner.engine import Step
from provisioner.errors import ProvisionerError
from provisioner.site import Site
from provisioner.ssh.command import CommandResult
from provisioner.ssh.facts import File, Package, Unit
from provisioner.steps import STEPS, removal
from tests.unit.fake_cluster import FakeCluster
from tests.unit.steps.doubles import RecordingHost, blank, carry_out, site_at

ROUNDS = 25
ODDITIES = (
    "", "\0", "\n", "nan", "inf", "-1", "9" * 400, "0x", "{", "[[", "]", "{}", "[]", "null", "true", "- - -",
    "a: b: c", "\x1b]52;c;AAAA\x07", "٣", "é" * 40, "%", "\\", '"', "1.2.3", "v", "v1.99.0-rc.0", "256.1.1.1/99",
    "::/129", "fe80::1%eth0", "02:00:00:00:00:0g", "2026-13-45T99:99:99Z", "Jan  1 00:00:00 2026 GMT", "sha256:",
    "active", "inactive", "no", "yes", "&a [*a]", "!!python/object:os.system x", "<<: 1", "key = [",
    "/dev/sda1 / ext4", "::", "/srv/nfs *(rw", "# ",
)  # fmt: skip
KEYS = (
    "apiVersion", "kind", "metadata", "name", "namespace", "spec", "containers", "command", "image", "clusters",
    "cluster", "server", "users", "user", "contexts", "certificate-authority-data", "client-certificate-data",
    "items", "status", "data", "version", "plugins", "imports", "root", "subnet", "evictionHard", "clusterDNS",
    "ClusterConfiguration", "networking", "listening", "taken", "ports", "pings", "addr_info", "local", "ifname",
)  # fmt: skip


def shape(chance: random.Random, depth: int = 3) -> Any:
    """Return a value of a random shape, with keys that parsers look for."""
    kind = chance.randrange(7 if depth else 4)
    if kind < 2:
        return chance.choice(ODDITIES)
    if kind < 4:
        return chance.choice([None, True, -1, 0, 10**30, 1.5, "", "x"])
    if kind == 4:
        return [shape(chance, depth - 1) for _ in range(chance.randint(0, 3))]
    return {chance.choice(KEYS): shape(chance, depth - 1) for _ in range(chance.randint(0, 4))}


def nonsense(chance: random.Random) -> str:
    """Return an output or a file's content."""
    kind = chance.randrange(6)
    if kind == 0:
        return chance.choice(ODDITIES)
    if kind == 1:
        return json.dumps(shape(chance))
    if kind == 2:
        return str(yaml.safe_dump_all([shape(chance) for _ in range(chance.randint(1, 3))], allow_unicode=True))
    if kind == 3:
        return "".join(chr(chance.choice([chance.randrange(32), chance.randrange(0x250)])) for _ in range(30))
    separators = " ", "\n", "\t", "=", ":", "\n\n", ","
    return "".join(chance.choice(ODDITIES) + chance.choice(separators) for _ in range(chance.randint(1, 30)))


@dataclass
class LyingHost(RecordingHost):
    """A host of whose outputs none makes sense; every file that may exist holds nonsense."""

    chance: random.Random = field(default_factory=random.Random)
    share: float = 1.0

    def run(self, command: str, *, check: bool = True, **_: Any) -> CommandResult:
        status = 0 if check else self.chance.choice([0, 0, 1, 127, 255])
        if self.chance.random() > self.share:
            return CommandResult("", "", 0, 0.0)
        if "@part" in command:  # what kubeadm renders, well framed
            parts = [
                f"{kind} /etc/kubernetes/manifests/etcd.yaml\n{nonsense(self.chance)}" for kind in ("file", "addon")
            ]
            return CommandResult("".join(f"@part {part}\n" for part in parts) + "@part end -\n", "", 0, 0.0)
        return CommandResult(nonsense(self.chance), nonsense(self.chance), status, 0.0)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> list[Site]:
    folder = tmp_path_factory.mktemp("sites")
    return [site_at(folder, line) for line in ("", 'vip = "192.168.56.5"', 'kubernetes = "1.20.2"')]


def lying_fleet(step: Step, site: Site, chance: random.Random) -> dict[str, RecordingHost]:
    """Return hosts with nonsense for some of what the step queries, or for all of it."""
    share = chance.choice([0.1, 0.5, 1.0])
    hosts: dict[str, RecordingHost] = {}
    query = step.query(site)
    for number, spec in enumerate(site.hosts, start=1):
        host = LyingHost(spec, site, blank(spec, query, number), hosts, chance=chance, share=share)
        files = {
            path: File(True, 0o600, chance.choice(["root:root", "x"]), nonsense(chance), mtime=chance.uniform(0, 2e9))
            for path in (*query.files, *query.exists)
            if "*" not in path and chance.random() < share
        }
        units = {
            name: Unit(
                chance.random() < 0.5, chance.random() < 0.5, True, nonsense(chance)[:20], nonsense(chance)[:20]
            )
            for name in query.units
        }
        host.know(
            files=files,
            units=units,
            packages={
                name: Package(nonsense(chance)[:30], chance.random() < 0.5)
                for name in query.packages
                if chance.random() < share
            },
            sysctls={name: nonsense(chance)[:30] for name in query.sysctls if chance.random() < share},
            modules=frozenset(nonsense(chance).split()),
            mounts={},
            hostname=nonsense(chance)[:30] if chance.random() < share else spec.name,
        )
        hosts[spec.name] = host
    return hosts


@pytest.mark.parametrize(
    "step", [*STEPS, *removal.remove("worker1"), *removal.rebuild("worker2", STEPS)[:3]], ids=lambda step: step.name
)
def test_nonsense_ends_in_a_sentence(step: Step, sites: list[Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    for seed in range(ROUNDS):
        chance = random.Random(f"{step.name} {seed}")
        site = chance.choice(sites)
        hosts = lying_fleet(step, site, chance)
        if not step.enabled(site):
            continue
        for spec in step.scope.hosts(site):
            with suppress(ProvisionerError):
                carry_out(step, hosts[spec.name], FakeCluster())
