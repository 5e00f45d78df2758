"""docs/workloads.md covers every file, lists findings that exist, and names objects that the files contain."""

from __future__ import annotations

import re
from pathlib import Path

from provisioner.checks import CHECKS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/workloads.md").read_text()


def test_every_workload_has_a_row() -> None:
    rows = set(re.findall(r"^\| [^|]+ \| `([a-z-]+)\.yaml` \|", TEXT, re.MULTILINE))
    assert rows == {path.stem for path in (ROOT / "workloads").glob("*.yaml")}


def source_of(check: str) -> str:
    """Return the source of a check and of the modules beside it that it imports."""
    folder = ROOT / "provisioner/checks"
    text = (folder / f"{check}.py").read_text()
    imported = re.findall(r"^from provisioner\.checks import (.+)$", text, re.MULTILINE)
    names = {name.strip() for line in imported for name in line.split(",")}
    return text + "".join((folder / f"{name}.py").read_text() for name in sorted(names))


def test_every_parallel_check_has_a_row_with_existing_findings() -> None:
    rows = dict(re.findall(r"^\| `([a-z]+)` \| .* \| (`[A-Z].*`) \|$", TEXT, re.MULTILINE))
    assert {check.name for check in CHECKS if check.parallel_safe} <= rows.keys()
    for name, codes in rows.items():
        source = source_of(name)
        prefix = ""
        for code in re.findall(r"`(…?[A-Z_]+)`", codes):
            prefix = code.split("_")[0] if not code.startswith("…") else prefix
            full = f"{prefix}{code.removeprefix('…')}" if code.startswith("…") else code
            assert f'"{full}"' in source, f"{name} has no finding {full}"


def test_the_objects_in_commands_are_in_the_files() -> None:
    manifests = "".join(path.read_text() for path in (ROOT / "workloads").glob("*.yaml"))
    named = set(re.findall(r"\b(?:np|hpa|ds|cm|ss)-pods\b|\blb-(?:one|two)\b|\bshared-volume\b", TEXT))
    assert len(named) == 8
    for name in named:
        assert f"name: {name}\n" in manifests
