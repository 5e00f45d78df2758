"""Part of the step containerd: what an operator's own config.toml has that ours keeps, and what it would lose."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULTS = {"root": "/var/lib/containerd", "state": "/run/containerd"}  # of `containerd config default`
RUNC = "io.containerd.runc.v2"
_RUNTIME_PLUGINS = ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime")  # of versions 2 and 3 of the file
_IMAGE_PLUGINS = ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images")
_GONE = ("runtime_engine", "runtime_root")  # keys that containerd 2 no longer has


@dataclass(frozen=True)
class Kept:
    """What is kept. top: keys outside all tables; runtimes: besides runc; default: the default runtime unless runc.

    lost: what is not kept, in words.
    """

    top: Mapping[str, Any] = field(default_factory=dict)
    runtimes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    default: str = ""
    lost: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Return what is kept and lost for the plan; "" for neither."""
        kept = [*self.top, *(f"the runtime {name}" for name in self.runtimes)]
        parts = [f"keeps {', '.join(kept)}"] if kept else []
        parts += [f"drops {', '.join(self.lost)}"] if self.lost else []
        return "; ".join(parts)

    def added_to(self, config: str, version: int) -> str:
        """Return a config.toml of ours with what is kept."""
        plugin = _RUNTIME_PLUGINS[version - 2]
        head, _, rest = config.partition("\n\n")
        lines = [head, *(f"{key} = {_value(value)}" for key, value in self.top.items())]
        text = "\n".join(lines) + "\n\n" + rest
        if self.default:
            text += f'\n[plugins."{plugin}".containerd]\n  default_runtime_name = {_value(self.default)}\n'
        for name, runtime in self.runtimes.items():
            table = f'plugins."{plugin}".containerd.runtimes.{_value(name)}'
            text += f"\n[{table}]\n" + _lines(runtime)
            if options := runtime.get("options"):
                text += f"\n  [{table}.options]\n" + _lines(options)
        return text


def kept(text: str) -> Kept:
    """Return what ours keeps of a config.toml, ours included: reading it again finds the same."""
    try:
        old = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return Kept(lost=("a file that is no TOML",))
    top = {key: old[key] for key, default in DEFAULTS.items() if isinstance(old.get(key), str) and old[key] != default}
    imports = [each for each in old.get("imports") or () if isinstance(each, str)]
    if imports:
        top["imports"] = imports
    runtimes: dict[str, Mapping[str, Any]] = {}
    default, lost = "", []
    for plugin in _RUNTIME_PLUGINS:
        table = _table(old, "plugins", plugin, "containerd")
        own = _table(table, "runtimes")
        runtimes |= {name: _runtime(own[name]) for name in own if name != "runc" and isinstance(own[name], dict)}
        if table.get("default_runtime_name") in runtimes:
            default = str(table["default_runtime_name"])
        if table.get("snapshotter", "overlayfs") not in ("", "overlayfs"):
            lost.append(f"the snapshotter {table['snapshotter']}")
    registries = [_table(old, "plugins", plugin, "registry") for plugin in _IMAGE_PLUGINS]
    if any(registry.get(key) for registry in registries for key in ("mirrors", "configs")):
        lost.append("its registries (they belong into /etc/containerd/certs.d)")
    if old.get("proxy_plugins"):
        lost.append("proxy_plugins")
    return Kept(top, runtimes, default, tuple(lost))


def _runtime(old: Mapping[str, Any]) -> dict[str, Any]:
    """Return a runtime's table; one of runc's kind uses systemd's cgroups, as the kubelet does."""
    new = {key: value for key, value in old.items() if key not in _GONE and _is_plain(value)}
    options = {key: value for key, value in _table(old, "options").items() if _is_plain(value)}
    if new.get("runtime_type") == RUNC:
        options["SystemdCgroup"] = True
    return new | ({"options": options} if options else {})


def _table(old: Mapping[str, Any], *path: str) -> dict[str, Any]:
    found: Any = old
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _is_plain(value: object) -> bool:
    """Return whether a value is one that JSON and TOML write alike, and not an empty default."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, str) for each in value)
    return isinstance(value, str | bool | int) and value not in ("", 0, False)


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"  {key} = {_value(value)}\n" for key, value in table.items() if not isinstance(value, dict))


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
