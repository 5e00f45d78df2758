"""Read the YAML manifests that an operator edits, with one strict substitution.

What depends on the site stands in the file as ${name}. A name that nobody gives a value is an error with file
and line, never an empty string: a manifest with a hole in it is worse than none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.representer import SafeRepresenter

from provisioner.catalogue import Download
from provisioner.errors import ProvisionerError
from provisioner.kube.download import fetch
from provisioner.kube.objects import Object, object_name
from provisioner.site import Site

# libyaml reads a file of definitions ten times faster, where it is there.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING = "tag:yaml.org,2002:str"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_PLACEHOLDER = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")


# What this program itself reads in an object. A mistake elsewhere is the API's to tell; one in these would end as a
# defect of the program, without file and line.
_POD = ("spec", "spec.template", "spec.template.spec")
_CONTAINERS = ("spec.template.spec.containers", "spec.template.spec.initContainers")
_NEEDED = {
    "Service": ("spec",),
    "Ingress": ("spec",),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet"), _POD),
}
_OBJECTS = ("spec", "metadata.labels", "metadata.annotations", "data", "stringData")
_LISTS = {
    "Service": ("spec.ports",),
    "Ingress": ("spec.rules", "spec.tls"),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet"), _CONTAINERS),
}


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Dates stay text: JSON, and therefore Kubernetes, has none."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [pair for pair in pairs if pair[0] != _TIMESTAMP]
        for first, pairs in _SafeLoader.yaml_implicit_resolvers.items()
    }


def load(source: Path | str, values: Mapping[str, Any] | None = None, name: str = "") -> list[Object]:
    """Return the objects of a manifest in their order, with ${name} replaced by `values[name]`.

    source: a file, or the YAML text itself; `name` then stands for the file in errors. A scalar that is
    nothing but one placeholder takes the value's own type (a list stays a list, the text "1" stays text);
    inside longer text the value is written out. `$${` stands for `${` itself. values=None substitutes nothing
    (manifests of others). Raises ProvisionerError as `file:line: …` for broken YAML, a key given twice, an
    unknown name, and a document that is no Kubernetes object.

    >>> load("{apiVersion: v1, kind: Namespace, metadata: {name: '${course}'}}", {"course": "c1"})
    [{'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': 'c1'}}]
    """
    if isinstance(source, Path):
        name, text = name or str(source), _read(source)
    else:
        name, text = name or "manifest", source
    try:
        return list(_documents(text, values, name))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise ProvisionerError(f"{place}: not YAML: {problem}", "check indentation and quotes there") from error
    except yaml.YAMLError as error:  # characters that YAML does not admit carry no mark
        raise ProvisionerError(f"{name}: not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise ProvisionerError(f"{name}: not a manifest: it is nested too deeply") from error


def fetch_manifest(site: Site, download: Download) -> list[Object]:
    """Return the objects of a project's released manifest. Raises ProvisionerError where it cannot be had."""
    return load(fetch(site, download).decode(), name=download.url)


def placeholders(source: Path) -> set[str]:
    """Return the names that a manifest wants values for; comments count too."""
    found = (match[1] for match in _PLACEHOLDER.finditer(_read(source)))
    return {name for name in found if name is not None}


def _read(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProvisionerError(f"cannot read {source}: it is not UTF-8 text") from error
    except OSError as error:
        raise ProvisionerError(f"cannot read {source}: {error.strerror}") from error


def _documents(text: str, values: Mapping[str, Any] | None, name: str) -> Iterator[Object]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = _Walk(values, name).visit(loader.get_node())
            document = loader.construct_document(node)
            if document is None:
                continue
            yield from _objects(document, node, name, ours=values is not None)
    finally:
        loader.dispose()


def _place(node: yaml.Node, name: str) -> str:
    return f"{name}:{node.start_mark.line + 1}" if node.start_mark else name


def _objects(document: Any, node: yaml.Node, name: str, *, ours: bool) -> Iterator[Object]:
    """Yield the object that a document is, or those of a List, each checked. ours: as an operator may have edited it.

    What a project has released is taken as it is.
    """
    place = _place(node, name)
    _check_object(document, place)
    if document["kind"] != "List":
        if ours:
            _check_shape(document, place)
            for key in [key for key in ("labels", "annotations") if document["metadata"].get(key, {}) is None]:
                del document["metadata"][key]  # left empty, which the API takes for left out
        yield document
        return
    nodes = next(value.value for key, value in node.value if key.value == "items")
    for item, own in zip(document["items"], nodes, strict=True):
        yield from _objects(item, own, name, ours=ours)


def _check_object(document: Any, place: str) -> None:
    if not isinstance(document, dict):
        kind = "nothing" if document is None else f"a {type(document).__name__}"
        raise ProvisionerError(
            f"{place}: a document of a manifest must be an object, not {kind}",
            "write one with apiVersion, kind and metadata.name, or take it out",
        )
    missing = [key for key in ("apiVersion", "kind") if not isinstance(document.get(key), str)]
    metadata = document.get("metadata")
    if document.get("kind") == "List":
        if not isinstance(document.get("items"), list):
            missing.append("items")
    elif not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        missing.append("metadata.name")
    if missing:
        wanted = " and no ".join(missing)
        raise ProvisionerError(f"{place}: this object has no {wanted}", "every object needs them")


def _check_shape(document: Object, place: str) -> None:
    wrong, remedy = _misshapen(document)
    if wrong:
        raise ProvisionerError(f"{place}: {wrong} in {object_name(document)}", remedy)


def _misshapen(document: Object) -> tuple[str, str]:
    """Return what is not of the form that is read on from here, and a remedy; "" for an object that is well."""
    kind = document["kind"]
    for path in _NEEDED.get(kind, ()):
        if not isinstance(_at(document, path), dict):
            return f"there is no {path}", f"write {path.rpartition('.')[2]}: and below it, indented, what it holds"
    for path in (*_OBJECTS, *_NEEDED.get(kind, ())):
        if not isinstance(_at(document, path), dict | None):
            return f"{path} must be an object", "write it as key: value, each on a line of its own"
    for path in _LISTS.get(kind, ()):
        entries = _at(document, path, absent=[])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            return f"{path} must be a list of objects", f'write it as "- key: value" lines below {path}:'
    if not isinstance(document["metadata"].get("namespace"), str | None):
        return "metadata.namespace must be text", "put it into quotes"
    tls = _at(document, "spec.tls", absent=[]) if kind == "Ingress" else []
    hosts = [entry.get("hosts") or [] for entry in tls]
    if not all(isinstance(some, list) and all(isinstance(host, str) for host in some) for some in hosts):
        return "spec.tls.hosts must be a list of names", "write it as hosts: [NAME]"
    return "", ""


def _at(document: Object, path: str, absent: Any = None) -> Any:
    """Return what stands at a path such as "spec.template", `absent` where a key of it is not there."""
    found: Any = document
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            return absent
        found = found[key]
    return found


class _Walk:
    """One pass over a document's nodes, each visited once however many aliases point to it."""

    def __init__(self, values: Mapping[str, Any] | None, name: str) -> None:
        self.values = values
        self.name = name
        self.done: dict[int, yaml.Node] = {}

    def visit(self, node: yaml.Node) -> yaml.Node:
        if id(node) in self.done:
            return self.done[id(node)]
        self.done[id(node)] = node
        if isinstance(node, yaml.SequenceNode):
            node.value = [self.visit(item) for item in node.value]
        elif isinstance(node, yaml.MappingNode):
            node.value = [(self.visit(key), self.visit(value)) for key, value in node.value]
            self._refuse_twins(node)
        elif isinstance(node, yaml.ScalarNode) and self.values is not None and "${" in node.value:
            self.done[id(node)] = _scalar(node, self.values, _place(node, self.name))
        return self.done[id(node)]

    def _refuse_twins(self, node: yaml.MappingNode) -> None:
        """Refuse a key given twice, of which YAML readers silently keep the last."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    place = _place(key, self.name)
                    raise ProvisionerError(f"{place}: the key {key.value!r} is given twice", "keep one of them")
                seen.add(key.value)


def _scalar(node: yaml.ScalarNode, values: Mapping[str, Any], place: str) -> yaml.Node:
    whole = _PLACEHOLDER.fullmatch(node.value)
    if whole and whole[1] is not None:
        typed: yaml.Node = SafeRepresenter().represent_data(_value(whole, values, place))
        return typed

    def written(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${"
        value = _value(match, values, place)
        if isinstance(value, list | dict) or value is None:
            kind = type(value).__name__
            raise ProvisionerError(
                f"{place}: ${{{match[1]}}} is a {kind} and cannot stand inside text",
                "let it be the whole value",
            )
        return str(value).lower() if isinstance(value, bool) else str(value)

    return yaml.ScalarNode(_STRING, _PLACEHOLDER.sub(written, node.value), node.start_mark, node.end_mark)


def _value(match: re.Match[str], values: Mapping[str, Any], place: str) -> Any:
    wanted = match[1]
    if not match[0].endswith("}") or not _NAME.fullmatch(wanted):
        raise ProvisionerError(
            f"{place}: {match[0]!r} is not of the form ${{name}}", "write $${ where the text itself is meant"
        )
    if wanted not in values:
        close = difflib.get_close_matches(wanted, values, 1)
        meant = f"did you mean ${{{close[0]}}}? " if close else ""
        known = ", ".join(sorted(values)) or "none"
        raise ProvisionerError(f"{place}: ${{{wanted}}} has no value here", f"{meant}known names: {known}")
    value = values[wanted]
    return list(value) if isinstance(value, tuple) else value
