"""Read an Ansible inventory, INI or YAML, with its group_vars and host_vars: groups, hosts, variables.

Source: docs.ansible.com, "How to build your inventory"; ansible.builtin.ini and ansible.builtin.yaml. Nothing is run:
inventories that are programs, vaults and templates are left to Ansible.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from provisioner.cli.named import read
from provisioner.errors import ProvisionerError

_WHAT = "an inventory of hosts, INI or YAML"
_MOST = 1000  # hosts
_DEEP = 30  # groups in groups
_ASK = "let Ansible resolve it: ansible-inventory -i {} --list --yaml >inventory.yml, and name that"
_RANGE = re.compile(r"\[([0-9]+|[A-Za-z]):([0-9]+|[A-Za-z])(?::([0-9]+))?\]")


@dataclass
class Group:
    """A group as written: its own hosts, the groups in it, and its variables."""

    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)


@dataclass
class Inventory:
    """The groups and hosts of an inventory, in its order."""

    source: str
    groups: dict[str, Group] = field(default_factory=lambda: {"all": Group()})
    own: dict[str, dict[str, Any]] = field(default_factory=dict)  # variables by host

    @property
    def names(self) -> list[str]:
        """Return the hosts."""
        return [*self.own]

    def group(self, name: str) -> Group:
        """Return a group, made if it is new."""
        return self.groups.setdefault(name, Group())

    def add(self, pattern: str, group: str, variables: Mapping[str, Any], place: str) -> None:
        """Add the hosts that a pattern names to a group."""
        for name in expand(pattern, place):
            self.own.setdefault(name, {}).update(variables)
            self.group(group).hosts[name] = None
            if len(self.own) > _MOST:
                raise ProvisionerError(f"{place}: more than {_MOST} hosts", "name the hosts or groups to take")

    def hosts(self, name: str) -> set[str]:
        """Return the hosts of a group and of the groups in it; "all" has every host."""
        return set(self.own) if name == "all" else self._below(name, ())

    def _below(self, name: str, path: tuple[str, ...]) -> set[str]:
        if name in path or len(path) > _DEEP:
            raise ProvisionerError(f"{self.source}: group {name} contains itself: {' > '.join((*path, name))}")
        group = self.groups.get(name, Group())
        found = set(group.hosts)
        for child in group.children:
            found |= self._below(child, (*path, name))
        return found

    def variables(self, host: str) -> dict[str, Any]:
        """Return a host's variables: those of all, then of its groups, the nearest last, then its own."""
        depths = {name: self._depth(name, ()) for name in self.groups if name != "all"}
        mine = sorted((name for name in depths if host in self.hosts(name)), key=lambda name: (depths[name], name))
        found: dict[str, Any] = dict(self.group("all").variables)
        for name in mine:
            found |= self.groups[name].variables
        return found | self.own.get(host, {})

    def _depth(self, name: str, path: tuple[str, ...]) -> int:
        if name in path or len(path) > _DEEP:
            raise ProvisionerError(f"{self.source}: group {name} contains itself: {' > '.join((*path, name))}")
        parents = [each for each, group in self.groups.items() if name in group.children and each != "all"]
        return 1 + max((self._depth(each, (*path, name)) for each in parents), default=0)


def load(path: Path) -> Inventory:
    """Read an inventory: a file, or a folder of files. Raises ProvisionerError, naming file and line."""
    inventory = Inventory(str(path))
    for file in _files(path):
        text = read(file, _WHAT)
        if text.startswith("#!") and os.access(file, os.X_OK):
            raise ProvisionerError(f"{file} is a program", _ASK.format(file))
        if file.suffix in (".yml", ".yaml", ".json") or re.match(r"(\s*#.*\n|\s*\n)*(---|\w+:\s*\n)", text):
            _read_yaml(inventory, text, str(file))
        else:
            _read_ini(inventory, text, str(file))
    _read_vars(inventory, path if path.is_dir() else path.parent)
    return inventory


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    skipped = (".cfg", ".ini~", ".orig", ".pyc", ".retry", ".bak", ".md")
    files = [each for each in sorted(path.iterdir()) if each.is_file() and not each.name.startswith(".")]
    if found := [each for each in files if each.suffix not in skipped]:
        return found
    raise ProvisionerError(f"{path} has no inventory in it", f"name {_WHAT}")


def expand(pattern: str, place: str) -> Iterator[str]:
    """Yield the names of a pattern with ranges.

    >>> [*expand("node[01:03].lan", ""), *expand("db-[a:c]", ""), *expand("n[0:4:2]", "")]
    ['node01.lan', 'node02.lan', 'node03.lan', 'db-a', 'db-b', 'db-c', 'n0', 'n2', 'n4']
    """
    found = _RANGE.search(pattern)
    if found is None:
        yield pattern
        return
    first, last, step = found[1], found[2], int(found[3] or 1)
    if first.isdecimal() != last.isdecimal() or not step:
        raise ProvisionerError(f"{place}: {found[0]} is no range", "write one such as [01:20] or [a:f]")
    numbers = first.isdecimal()
    begin, end = (int(first), int(last)) if numbers else (ord(first), ord(last))
    if not begin <= end < begin + _MOST * step:
        raise ProvisionerError(f"{place}: {found[0]} is no range of at most {_MOST} names")
    for value in range(begin, end + 1, step):
        name = str(value).zfill(len(first) if first.startswith("0") else 0) if numbers else chr(value)
        yield from expand(pattern[: found.start()] + name + pattern[found.end() :], place)


def _read_ini(inventory: Inventory, text: str, file: str) -> None:
    name, kind = "ungrouped", "hosts"
    for number, line in enumerate(text.splitlines(), 1):
        line, place = line.strip(), f"{file}:{number}"  # noqa: PLW2901
        if not line or line[0] in "#;":
            continue
        if header := re.fullmatch(r"\[([^\]:]+)(?::(\w+))?\]\s*(?:[#;].*)?", line):
            name, kind = header[1].strip(), header[2] or "hosts"
            if kind not in ("hosts", "children", "vars"):
                raise ProvisionerError(f"{place}: [{name}:{kind}] is unknown", "write :children or :vars")
            inventory.group(name)
        elif kind == "vars":
            key, found, value = line.partition("=")
            if not found:
                raise ProvisionerError(f"{place}: {line!r} is no variable", "write key=value")
            inventory.group(name).variables[key.strip()] = _literal(value.strip())
        else:
            words = _split(line, place)
            if kind == "children":
                inventory.group(name).children[words[0]] = None
                inventory.group(words[0])
            else:
                host, port = _host_port(words[0])
                pairs = [word.partition("=") for word in words[1:]]
                if wrong := next(
                    (word for word, (_, found, _) in zip(words[1:], pairs, strict=True) if not found), ""
                ):
                    raise ProvisionerError(f"{place}: {wrong!r} is no variable", "write key=value, one host a line")
                variables = {key: _literal(value) for key, _, value in pairs}
                inventory.add(host, name, port | variables, place)


def _split(line: str, place: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise ProvisionerError(f"{place}: {error}", "check its quotes") from None


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _host_port(word: str) -> tuple[str, dict[str, Any]]:
    """Split host:port and [IPv6]:port."""
    if found := re.fullmatch(r"\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\](?::(\d+))?", word):
        return found[1], {"ansible_port": int(found[2])} if found[2] else {}
    if (
        (found := re.fullmatch(r"(.+[^:\d].*?):(\d+)", word))
        and word.count("::") == 0
        and _outside(word).count(":") == 1
    ):
        return found[1], {"ansible_port": int(found[2])}
    return word, {}


def _outside(word: str) -> str:
    return _RANGE.sub("", word)


def _read_yaml(inventory: Inventory, text: str, file: str) -> None:
    document = _yaml(text, file)
    if isinstance(document, dict) and "_meta" in document:
        raise ProvisionerError(f"{file} is what a program printed", _ASK.format(file))
    if not isinstance(document, dict):
        raise ProvisionerError(f"{file} is no inventory", f"name {_WHAT}")
    for name, body in document.items():
        _read_group(inventory, str(name), body, file, 0)


def _read_group(inventory: Inventory, name: str, body: Any, file: str, depth: int) -> None:
    group = inventory.group(name)
    if depth > _DEEP:
        raise ProvisionerError(f"{file}: group {name} is in more than {_DEEP} groups")
    for key, value in _mapping(body, f"{file}: group {name}").items():
        entries = _mapping(value, f"{file}: {key} of group {name}") if key in ("hosts", "children", "vars") else {}
        if key == "hosts":
            for host, variables in entries.items():
                inventory.add(str(host), name, _mapping(variables, f"{file}: host {host}"), f"{file}: {host}")
        elif key == "children":
            for child, inner in entries.items():
                group.children[str(child)] = None
                _read_group(inventory, str(child), inner, file, depth + 1)
        elif key == "vars":
            group.variables.update(entries)
        else:
            raise ProvisionerError(f"{file}: group {name} has {key!r}", "a group has hosts, children and vars")


def _mapping(value: Any, place: str) -> dict[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ProvisionerError(f"{place} is {value!r:.60}", "write names with a colon, not a list")
    return value


def _yaml(text: str, file: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ProvisionerError(f"{file}{line}: {getattr(error, 'problem', None) or error}", "check its YAML") from None


class _Loader(yaml.SafeLoader):
    """YAML of Ansible: `!vault` and `!unsafe` are values that are not needed here."""


_Loader.add_constructor("!vault", lambda loader, node: "")
_Loader.add_constructor("!unsafe", lambda loader, node: str(node.value))


def _read_vars(inventory: Inventory, folder: Path) -> None:
    """Read group_vars/ and host_vars/ beside the inventory: NAME, NAME.yml, or files in a folder NAME."""
    for name in inventory.groups:
        for file in _vars_files(folder / "group_vars", name):
            inventory.group(name).variables.update(_vars(file))
    for host, own in inventory.own.items():
        for file in _vars_files(folder / "host_vars", host):
            inventory.own[host] = own | _vars(file)


def _vars_files(folder: Path, name: str) -> list[Path]:
    places = [folder / name, *(folder / f"{name}{ending}" for ending in (".yml", ".yaml", ".json"))]
    inside = sorted(each for each in places[0].iterdir() if each.is_file()) if places[0].is_dir() else []
    return [*inside, *(each for each in places if each.is_file())]


def _vars(file: Path) -> dict[str, Any]:
    text = read(file, "the inventory elsewhere")
    if text.startswith("$ANSIBLE_VAULT"):
        return {}
    return {str(key): value for key, value in _mapping(_yaml(text, str(file)), str(file)).items()}
