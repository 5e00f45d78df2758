"""A user's kubeconfig: which files, merged as kubectl does, and the one context of them that is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner import yaml_text
from provisioner.errors import Inconclusive

Entry = dict[str, Any]
_LISTS = {"clusters": "cluster", "contexts": "context", "users": "user"}
# Keys that name files, relative to the file they are written in (client-go, clientcmd, ResolveLocalPaths).
_PATHS = {
    "clusters": ("certificate-authority",),
    "contexts": (),
    "users": ("client-certificate", "client-key", "tokenFile"),
}
# Where distributions leave a kubeconfig on a server: k3s, RKE2, MicroK8s, kubeadm.
_ELSEWHERE = (
    "/etc/rancher/k3s/k3s.yaml",
    "/etc/rancher/rke2/rke2.yaml",
    "/var/snap/microk8s/current/credentials/client.config",
    "/etc/kubernetes/admin.conf",
)


@dataclass(frozen=True)
class Kubeconfig:
    """One context of a kubeconfig. paths: the files; cluster, user: the entries that the context names."""

    paths: tuple[Path, ...]
    context: str
    cluster: Entry
    user: Entry

    @property
    def server(self) -> str:
        """Return the API's URL."""
        return str(self.cluster["server"]).rstrip("/")

    @property
    def files(self) -> str:
        """Return the files' names, for messages."""
        return os.pathsep.join(map(str, self.paths))


def default_paths(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files that kubectl would read: those of $KUBECONFIG that exist, else ~/.kube/config; may be empty."""
    named = [Path(text).expanduser() for text in environment.get("KUBECONFIG", "").split(os.pathsep) if text]
    return tuple(path for path in named or [Path("~/.kube/config").expanduser()] if _exists(path))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # in a folder that this user may not enter
        return False


def elsewhere(environment: Mapping[str, str]) -> Path | None:
    """Return a kubeconfig that exists here but is not read by default: a distribution's, or that of sudo's caller."""
    sudo_user = environment.get("SUDO_USER", "")
    own = [f"~{sudo_user}/.kube/config"] if sudo_user.isalnum() else []
    for text in (*own, *_ELSEWHERE):
        path = Path(os.path.expanduser(text))
        try:
            if path.is_file():
                return path
        except OSError:  # a folder that this user may not enter
            continue
    return None


def load(paths: Sequence[Path], context: str = "") -> Kubeconfig:
    """Read files and return a context of them, the current one by default.

    The first file that has a name wins, as with kubectl. Raises Inconclusive, naming file and key.
    """
    merged: dict[str, dict[str, Entry]] = {kind: {} for kind in _LISTS}
    current = ""
    for path in paths:
        document = _read(path)
        current = current or str(document.get("current-context") or "")
        for kind in _LISTS:
            for name, entry in _entries(document, kind, path).items():
                merged[kind].setdefault(name, entry)
    where = os.pathsep.join(map(str, paths))
    name = context or current
    if not name:
        raise Inconclusive(f"{where}: no current-context", f"choose one with --context: {_names(merged['contexts'])}")
    chosen = merged["contexts"].get(name)
    if chosen is None:
        raise Inconclusive(f"{where}: no context {name!r}", f"the contexts are {_names(merged['contexts'])}")
    cluster = merged["clusters"].get(str(chosen.get("cluster") or ""))
    if cluster is None:
        raise Inconclusive(
            f"{where}: context {name!r} names the cluster {chosen.get('cluster')!r}, which is missing",
            f"the clusters are {_names(merged['clusters'])}",
        )
    if not str(cluster.get("server") or "").startswith(("https://", "http://")):
        raise Inconclusive(f"{where}: cluster {chosen['cluster']!r} has no server URL", "write https://HOST:PORT")
    user: Entry = {}
    if chosen.get("user"):
        found = merged["users"].get(str(chosen["user"]))
        if found is None:
            raise Inconclusive(
                f"{where}: context {name!r} names the user {chosen['user']!r}, which is missing",
                f"the users are {_names(merged['users'])}",
            )
        user = found
    return Kubeconfig(tuple(paths), name, cluster, user)


def _read(path: Path) -> Entry:
    remedy = "name another file with --kubeconfig"
    try:
        if not path.is_file():
            kind = "is not a regular file" if path.exists() else "no such file"
            raise Inconclusive(f"{path}: {kind}", remedy)
        document = yaml_text.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Inconclusive(f"{path}: {error.strerror}", remedy) from error
    except UnicodeDecodeError as error:
        raise Inconclusive(f"{path}: is not UTF-8 text", remedy) from error
    except yaml_text.NotYaml as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise Inconclusive(f"{place}: is not YAML", remedy) from None
    if not isinstance(document, dict) or not any(kind in document for kind in _LISTS):
        raise Inconclusive(f"{path}: is not a kubeconfig", remedy)
    return document


def _entries(document: Mapping[str, Any], kind: str, path: Path) -> dict[str, Entry]:
    """Return the named entries of a list, with paths made absolute."""
    found: dict[str, Entry] = {}
    listed = document.get(kind) or []
    if not isinstance(listed, list):
        raise Inconclusive(f"{path}: {kind} is not a list", "correct it")
    for number, item in enumerate(listed):
        value = item.get(_LISTS[kind]) if isinstance(item, dict) else None
        if not isinstance(item, dict) or not item.get("name") or not isinstance(value, dict | None):
            raise Inconclusive(f"{path}: {kind}[{number}] is not a named {_LISTS[kind]}", "correct it")
        entry = dict(value or {})
        for key in _PATHS[kind]:
            if entry.get(key):
                entry[key] = str(path.absolute().parent / str(entry[key]))
        found.setdefault(str(item["name"]), entry)
    return found


def _names(entries: Mapping[str, Entry]) -> str:
    return ", ".join(sorted(entries)[:10]) or "none"
