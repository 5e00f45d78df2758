"""Read the YAML manifests that an operator edits, with strict substitution.

Values that depend on the site are written as ${name}. A name without a value is an error with file and line, never an
empty string.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from yaml.representer import SafeRepresenter

from provisioner.catalogue import Download
from provisioner.errors import ProvisionerError
from provisioner.kube.download import fetch
from provisioner.kube.objects import Object, object_name
from provisioner.text import join_words

if TYPE_CHECKING:
    from provisioner.site import Site


# libyaml, if available, reads CustomResourceDefinitions ten times faster.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEEPEST = 200  # levels; no manifest that MetalLB or an ingress controller releases has more than 30
_STRING = "tag:yaml.org,2002:str"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_PLACEHOLDER = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")

# The fields that this program reads. The API reports mistakes in other fields; in these they would cause a traceback.
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
    """Dates stay strings: JSON, and so Kubernetes, has none."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [pair for pair in pairs if pair[0] != _TIMESTAMP]
        for first, pairs in _SafeLoader.yaml_implicit_resolvers.items()
    }


def load(source: Path | str, values: Mapping[str, Any] | None = None, name: str = "") -> list[Object]:
    """Return the objects of a manifest in order, with ${name} replaced by `values[name]`.

    source: a file, or YAML text, for which `name` is the file name in errors. A scalar that is one placeholder takes
    the type of the value (a list stays a list, the string "1" a string); within a longer string the value is
    formatted. `$${` is a literal `${`. values=None substitutes nothing (upstream's manifests). Raise ProvisionerError
    as `file:line: …` for invalid YAML, a duplicate key, an unknown name, and a document that is not an object.

    >>> load("{apiVersion: v1, kind: Namespace, metadata: {name: '${course}'}}", {"course": "c1"})
    [{'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': 'c1'}}]
    """
    if isinstance(source, Path):
        name, text = name or str(source), _read(source)
    else:
        name, text = name or "manifest", source
    try:
        _limit_depth(text, name)
        return list(_documents(text, values, name))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise ProvisionerError(f"{place}: invalid YAML: {problem}", "check indentation and quotes") from error
    except yaml.YAMLError as error:  # no mark for characters that YAML forbids
        raise ProvisionerError(f"{name}: invalid YAML: {str(error).splitlines()[0]}") from error


def fetch_manifest(site: Site, download: Download) -> list[Object]:
    """Return the objects of a pinned upstream manifest; raise ProvisionerError if it cannot be downloaded."""
    return load(fetch(site, download).decode(), name=download.url)


def placeholders(source: Path) -> set[str]:
    """Return the names that a manifest needs values for, including those in comments."""
    found = (match[1] for match in _PLACEHOLDER.finditer(_read(source)))
    return {name for name in found if name is not None}


def _read(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProvisionerError(f"cannot read {source}: not valid UTF-8") from error
    except OSError as error:
        raise ProvisionerError(f"cannot read {source}: {error.strerror}") from error


def _documents(text: str, values: Mapping[str, Any] | None, name: str) -> Iterator[Object]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = _Substitution(values, name).visit(loader.get_node())
            try:
                document = loader.construct_document(node)
            except (ValueError, LookupError, OverflowError, TypeError, AttributeError) as error:
                place = _location(node, name)
                raise ProvisionerError(
                    f"{place}: invalid YAML in this document: a value does not fit its tag ({error})"
                ) from error
            if document is None:
                continue
            yield from _objects(document, node, name, edited=values is not None)
    finally:
        loader.dispose()


def _limit_depth(text: str, name: str) -> None:
    """Raise ProvisionerError for nesting at which libyaml, which builds nodes by recursion, would crash Python."""
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                place = f"{name}:{event.start_mark.line + 1}" if event.start_mark else name
                raise ProvisionerError(f"{place}: not a manifest: nested more than {DEEPEST} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _location(node: yaml.Node, name: str) -> str:
    return f"{name}:{node.start_mark.line + 1}" if node.start_mark else name


def _objects(document: Any, node: yaml.Node, name: str, *, edited: bool) -> Iterator[Object]:
    """Yield the object of a document, or those of a List, each checked.

    edited: whether an operator may have edited it; upstream's manifests are not checked as closely.
    """
    place = _location(node, name)
    _check_object(document, place)
    if document["kind"] != "List":
        if edited:
            _check_shape(document, place)
            for key in [key for key in ("labels", "annotations") if document["metadata"].get(key, {}) is None]:
                del document["metadata"][key]  # empty, which the API treats as absent
        yield document
        return
    nodes = next(value.value for key, value in node.value if key.value == "items")
    for item, own in zip(document["items"], nodes, strict=True):
        yield from _objects(item, own, name, edited=edited)


def _check_object(document: Any, place: str) -> None:
    if not isinstance(document, dict):
        kind = "nothing" if document is None else f"a {type(document).__name__}"
        raise ProvisionerError(
            f"{place}: a document of a manifest must be an object, not {kind}",
            "add apiVersion, kind and metadata.name, or remove the document",
        )
    missing = [key for key in ("apiVersion", "kind") if not isinstance(document.get(key), str)]
    metadata = document.get("metadata")
    if document.get("kind") == "List":
        if not isinstance(document.get("items"), list):
            missing.append("items")
    elif not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        missing.append("metadata.name")
    if missing:
        raise ProvisionerError(f"{place}: the object has no {join_words(missing, 'or')}", "add what is missing")


def _check_shape(document: Object, place: str) -> None:
    wrong, remedy = _shape_error(document)
    if wrong:
        raise ProvisionerError(f"{place}: {wrong} in {object_name(document)}", remedy)


def _shape_error(document: Object) -> tuple[str, str]:
    """Return which field has the wrong type, and a remedy; "" for a well-formed object."""
    kind = document["kind"]
    for path in _NEEDED.get(kind, ()):
        if not isinstance(_value_at(document, path), dict):
            return f"there is no {path}", f"add {path.rpartition('.')[2]}: with its fields indented below it"
    for path in (*_OBJECTS, *_NEEDED.get(kind, ())):
        if not isinstance(_value_at(document, path), dict | None):
            return f"{path} must be an object", "write it as key: value lines"
    for path in _LISTS.get(kind, ()):
        entries = _value_at(document, path, absent=[])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            return f"{path} must be a list of objects", f'write it as "- key: value" lines below {path}:'
    if not isinstance(document["metadata"].get("namespace"), str | None):
        return "metadata.namespace must be a string", "put it in quotes"
    tls = _value_at(document, "spec.tls", absent=[]) if kind == "Ingress" else []
    hosts = [entry.get("hosts") or [] for entry in tls]
    if not all(isinstance(some, list) and all(isinstance(host, str) for host in some) for some in hosts):
        return "spec.tls.hosts must be a list of names", "write it as hosts: [NAME]"
    return "", ""


def _value_at(document: Object, path: str, absent: Any = None) -> Any:
    """Return the value at a path such as "spec.template", `absent` if there is none."""
    found: Any = document
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            return absent
        found = found[key]
    return found


class _Substitution:
    """Replace the placeholders of a document; visit each node once, however many aliases refer to it."""

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
            self._refuse_duplicates(node)
        elif isinstance(node, yaml.ScalarNode) and self.values is not None and "${" in node.value:
            self.done[id(node)] = _substitute(node, self.values, _location(node, self.name))
        return self.done[id(node)]

    def _refuse_duplicates(self, node: yaml.MappingNode) -> None:
        """Refuse a duplicate key, of which YAML parsers silently keep the last."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    place = _location(key, self.name)
                    raise ProvisionerError(f"{place}: duplicate key {key.value!r}", "remove one")
                seen.add(key.value)


def _substitute(node: yaml.ScalarNode, values: Mapping[str, Any], place: str) -> yaml.Node:
    whole = _PLACEHOLDER.fullmatch(node.value)
    if whole and whole[1] is not None:
        represented: yaml.Node = SafeRepresenter().represent_data(_value(whole, values, place))
        return represented

    def formatted(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${"
        value = _value(match, values, place)
        if isinstance(value, list | dict) or value is None:
            kind = type(value).__name__
            raise ProvisionerError(
                f"{place}: ${{{match[1]}}} is a {kind} and cannot be part of a string",
                "use it as the whole value",
            )
        return str(value).lower() if isinstance(value, bool) else str(value)

    return yaml.ScalarNode(_STRING, _PLACEHOLDER.sub(formatted, node.value), node.start_mark, node.end_mark)


def _value(match: re.Match[str], values: Mapping[str, Any], place: str) -> Any:
    wanted = match[1]
    if not match[0].endswith("}") or not _NAME.fullmatch(wanted):
        raise ProvisionerError(f"{place}: {match[0]!r} is not of the form ${{name}}", "write $${ for a literal ${")
    if wanted not in values:
        close = difflib.get_close_matches(wanted, values, 1)
        meant = f"did you mean ${{{close[0]}}}? " if close else ""
        known = ", ".join(sorted(values)) or "none"
        raise ProvisionerError(f"{place}: ${{{wanted}}} has no value here", f"{meant}known names: {known}")
    value = values[wanted]
    return list(value) if isinstance(value, tuple) else value
