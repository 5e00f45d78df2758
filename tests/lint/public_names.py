"""A contract for import-linter: what a package does not name in `__all__` is imported within that package only."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class PublicNames(Contract):
    """Refuse imports that reach past the public names of a package they do not belong to.

    package: the root package. Each of its packages lists names and modules in `__all__`; a package without the list
    has no public names. A name with a leading underscore is its module's own.
    """

    package = fields.StringField()

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Return the offending imports in the metadata of a broken contract."""
        del graph, verbose
        found = sorted(violations(str(self.package)))
        return ContractCheck(kept=not found, metadata={"violations": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each import: where it is, what it imports, whose list lacks it."""
        for line in check.metadata["violations"]:
            output.print_error(line)


def violations(package: str) -> Iterator[str]:
    """Yield "FILE:LINE imports NAME, which PACKAGE does not name in __all__" for every offending import."""
    files = _files(package)
    public = {name: _exported(path) for name, path in files.items() if path.name == "__init__.py"}
    for importer, path in files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                continue
            for target in targets:
                if owner := _owner(importer, target, public):
                    yield f"{path}:{node.lineno} imports {target}, which {owner} does not name in __all__"


def _owner(importer: str, target: str, public: Mapping[str, Sequence[str]]) -> str:
    """Return the outermost package that `importer` is outside of and whose public names lack `target`, or ""."""
    words = target.split(".")
    for depth in range(1, len(words)):
        package = ".".join(words[:depth])
        if package not in public or f"{importer}.".startswith(f"{package}."):
            continue
        if words[depth] not in public[package] or words[-1].startswith("_"):
            return package
    return ""


def _files(package: str) -> dict[str, Path]:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(package)
    root = Path(spec.origin).parent
    found = {}
    for path in root.rglob("*.py"):
        words = (package, *path.relative_to(root).with_suffix("").parts)
        found[".".join(words).removesuffix(".__init__")] = path
    return found


def _exported(path: Path) -> list[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []
