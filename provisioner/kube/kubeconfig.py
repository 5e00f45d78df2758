"""The administrator's kubeconfig: renamed after the cluster, and merged into another file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from provisioner import ownership, yaml_text
from provisioner.errors import ProvisionerError

_LISTS = {"clusters": "cluster", "contexts": "context", "users": "user"}


def renamed(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a kubeconfig whose cluster, user and context are named after the cluster.

    kubeadm names every cluster "kubernetes", so that two would overwrite each other in a merged file.
    """
    user = f"{name}-admin"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": config["clusters"][0]["cluster"]}],
        "users": [{"name": user, "user": config["users"][0]["user"]}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return `old` with the entries of `new` in place of those of the same name, and the current context of `new`."""
    result = {"apiVersion": "v1", "kind": "Config", "preferences": {}, **old}
    for key in _LISTS:
        names = {entry["name"] for entry in new[key]}
        result[key] = [entry for entry in old.get(key) or [] if entry.get("name") not in names] + new[key]
    result["current-context"] = new["current-context"]
    return result


def merge_into(path: Path, new: dict[str, Any]) -> None:
    """Merge into a file, atomically and readable only by its owner; keep the old file as PATH.before."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        text = ""
    try:
        old = yaml_text.load_mapping(text)
    except yaml_text.NotYaml as error:
        raise ProvisionerError(f"{path} is {error}, so nothing was merged", "fix or move it") from None
    ownership.make_folder(path.parent, 0o700)
    if text:
        _write(path.with_name(path.name + ".before"), text)
    _write(path, yaml.safe_dump(merged(old, new), sort_keys=False))


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    ownership.give_back(temporary)
    temporary.replace(path)
