"""docs/workloads.md speaks of what there is: every file, every check's findings, commands that the files bear out."""

from __future__ import annotations

import re
from pathlib import Path

from provisioner.checks import CHECKS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/workloads.md").read_text()


def test_every_workload_has_its_row() -> None:
    rows = set(re.findall(r"^\| [^|]+ \| `([a-z-]+)\.yaml` \|", TEXT, re.MULTILINE))
    assert rows == {path.stem for path in (ROOT / "workloads").glob("*.yaml")}


def source_of(check: str) -> str:
    """Return the text of a check's module, and of those of its folder that it imports."""
    folder = ROOT / "provisioner/checks"
    text = (folder / f"{check}.py").read_text()
    imported = re.findall(r"^from provisioner\.checks import (.+)$", text, re.MULTILINE)
    names = {name.strip() for line in imported for name in line.split(",")}
    return text + "".join((folder / f"{name}.py").read_text() for name in sorted(names))


def test_every_check_that_runs_beside_others_has_its_row_with_findings_that_there_are() -> None:
    rows = dict(re.findall(r"^\| `([a-z]+)` \| .* \| (`[A-Z].*`) \|$", TEXT, re.MULTILINE))
    assert {check.name for check in CHECKS if check.parallel_safe} <= rows.keys()
    for name, codes in rows.items():
        source = source_of(name)
        prefix = ""
        for code in re.findall(r"`(…?[A-Z_]+)`", codes):
            prefix = code.split("_")[0] if not code.startswith("…") else prefix
            full = f"{prefix}{code.removeprefix('…')}" if code.startswith("…") else code
            assert f'"{full}"' in source, f"{name} has no finding {full}"


def test_the_objects_that_commands_name_are_in_the_files() -> None:
    manifests = "".join(path.read_text() for path in (ROOT / "workloads").glob("*.yaml"))
    named = set(re.findall(r"\b(?:np|hpa|ds|cm|ss)-pods\b|\blb-(?:one|two)\b|\bshared-volume\b", TEXT))
    assert len(named) == 8
    for name in named:
        assert f"name: {name}\n" in manifests
