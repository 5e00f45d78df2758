"""A damaged manifest ends in its objects or in one sentence; bounded fuzzing with fixed seeds."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from provisioner.errors import ProvisionerError
from provisioner.kube import manifests
from tests.unit.damage import damaged

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted(
    path for folder in ("workloads", "nfs", "metallb", "ingress") for path in (ROOT / folder).glob("*.yaml")
)


VALUES = {
    **dict.fromkeys(("cluster", "agnhost", "nginx", "ingress_class", "nfs_class"), "x"),
    **{"nfs_address": "192.0.2.1", "nfs_export": None, "size": 7, "names": ["a"], "labels": {"k": "v"}},
}


def copies(path: Path, count: int = 40) -> Iterable[str]:
    text = path.read_text()
    for seed in range(count):
        yield damaged(text, random.Random(f"{path.name} {seed}"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_shipped_manifests_damaged(path: Path) -> None:
    for text in copies(path):
        for values in (VALUES, None):
            with suppress(ProvisionerError):
                for item in manifests.load(text, values, path.name):
                    assert item["kind"]
                    assert item["metadata"]["name"]


@pytest.mark.parametrize(
    "text",
    [
        "a: " * 5000,
        "[" * 100_000,
        "&a [*a]",
        "? [a]\n: b",
        "!!binary x",
        "!!timestamp 2026-13-45",
        "!!timestamp x",
        "!!int x",
        "!!int ''",
        "!!float x",
        "!!bool x",
        "!!set {a: 1}",
        "!!omap x",
        "!!pairs [x]",
        "!!map x",
        "2026-99-99",
        "0o9: 1",
        "<<: {a: 1}\n<<: 7",
        "\ufeff---\n\ud7ff",
        "--- !<tag:x> {}",
        "%YAML 9.9\n---\na: 1",
        "1" * 5000 + ": 1",
        ".inf: .nan",
        "a: &x\n  <<: *x",
    ],
)
def test_odd_yaml(text: str) -> None:
    with suppress(ProvisionerError):
        manifests.load(text, {})
