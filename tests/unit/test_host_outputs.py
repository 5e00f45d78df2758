"""What parses a host's outputs, fed with damaged ones: a result or a ProvisionerError, never anything else.

Bounded fuzzing with fixed seeds: 400 damaged copies of a good output each.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provisioner import openpgp
from provisioner.checks import certificates
from provisioner.checks.dns import parse as parse_lookups
from provisioner.engine import lock
from provisioner.errors import ProvisionerError
from provisioner.kube import kubeadm_render
from provisioner.reach import filters
from provisioner.reach.probe import _on_host
from provisioner.redact import printable, redact
from provisioner.ssh import known_hosts
from provisioner.steps import pool_conflicts, vip_conflicts
from tests.unit.damage import damaged
from tests.unit.signing_key import KEY

HOLDER = lock.this_process("apply", 60.0)
CONFIG = {
    "peers": [{"name": "worker1", "ports": ["tcp/10250", "udp/8472"]}],
    "pings": [{"name": "worker1"}],
}
PROBED: dict[str, list[Any]] = {
    "listening": ["tcp/10250"],
    "taken": ["tcp/6443"],
    "ports": [["worker1", "tcp/10250", "open"], ["worker1", "udp/8472", "silent"]],
    "pings": [["worker1", "node", 1500, 40, 40, True]],
}


def reach(text: str) -> object:
    host = SimpleNamespace(name="master", run=lambda *_, **__: SimpleNamespace(stdout=text))
    return _on_host(cast(Any, host), CONFIG)


PARSERS: dict[str, tuple[Callable[[str], object], str]] = {
    "certificates": (
        certificates.parse,
        "/etc/kubernetes/pki/ca.crt\tNov 28 10:00:00 2026 GMT\tNov 25 10:00:00 2036 GMT\t\n"
        "/var/lib/kubelet/pki/kubelet.crt\t\n",
    ),
    "DNS": (
        parse_lookups,
        "== kubernetes.default\nName:\tkubernetes.default\nAddress: 10.96.0.1\nAddress 1: 10.96.0.1 a\n",
    ),
    "filters": (
        filters.sections,
        "{}\n@filter ufw\nStatus: active\n@filter nft\ntable ip f {\n chain i {\n drop\n } }\n",
    ),
    "kubeadm": (
        lambda text: kubeadm_render.parse("master", text),
        "@part file /etc/kubernetes/manifests/etcd.yaml\napiVersion: v1\n@part client admin.conf\nQUJD\n"
        "@part addon coredns\nkind: ConfigMap\nmetadata:\n  name: coredns\n@part end -\n",
    ),
    "lock": (lock._parse, f"held 12\n{json.dumps(vars(HOLDER))}\n"),
    "known_hosts": (
        known_hosts.parse,
        "@cert-authority *.lan,!x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\n|1|a=|b= ssh-rsa AAAA\n",
    ),
    "neighbors": (pool_conflicts.owners, "192.0.2.7 lladdr 02:00:00:00:00:07 STALE\n192.0.2.8  FAILED\n"),
    "package key": (openpgp.fingerprints, KEY),
    "ports": (reach, json.dumps(PROBED) + "\n@filter nft\ntable ip f {}\n"),
    "screen": (
        lambda text: (printable(text), redact(text)),
        "token: abcdef.0123456789abcdef\nkey: -----BEGIN KEY-----\n",
    ),
    "VRRP": (vip_conflicts.adverts, "vrrp 00:00:5e:00:01:33 192.0.2.9 51\nvrrp listened\n"),
}


@pytest.mark.parametrize("name", PARSERS)
def test_damage_ends_in_a_result_or_a_sentence(name: str) -> None:
    parse, good = PARSERS[name]
    assert parse(good)
    for seed in range(400):
        with suppress(ProvisionerError, *((ValueError, IndexError) if name == "package key" else ())):
            parse(damaged(good, random.Random(seed)))


@pytest.mark.parametrize("line", ["", "\t", "\t\t\t", "x"])
def test_lines_that_name_no_certificate(line: str) -> None:
    assert set(certificates.parse(f"{line}\n").values()) <= {None}


def test_a_segment_where_every_vrrp_number_is_used() -> None:
    adverts = vip_conflicts.adverts(
        "".join(f"vrrp 00:00:5e:00:01:33 192.0.2.9 {number}\n" for number in range(1, 256))
    )
    assert len(adverts) == 255


@pytest.mark.parametrize("change", [{"pid": "1"}, {"ttl": 1e9}, {"ttl": -1}, {"since": 1e30}, {"user": None}])
def test_a_lock_that_was_written_by_something_else_expires(change: dict[str, Any]) -> None:
    held = lock._parse(f"held 12\n{json.dumps({**vars(HOLDER), **change})}\n")
    assert held is not None
    assert held.holder is None
    assert held.expires_in == lock.TTL - 12


def test_what_a_host_was_not_asked_is_not_judged() -> None:
    odd = {
        **PROBED,
        "ports": [["stranger", "tcp/1", "silent"], *PROBED["ports"]],
        "pings": [["x", "node", 1, 2, 3, 1]],
    }
    answer, _ = cast(tuple[dict[str, Any], object], reach(json.dumps(odd)))
    assert answer["ports"] == [("worker1", "tcp/10250", "open"), ("worker1", "udp/8472", "silent")]
    assert answer["pings"] == []
