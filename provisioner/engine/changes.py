"""Builders for the changes that many steps make: files, packages, units, objects.

Each compares the facts with the desired state and yields a Change only for a difference, so that a step reads as a
description of that state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from provisioner.engine import apt
from provisioner.engine.step import Change
from provisioner.kube import Cluster, node_ports
from provisioner.kube.objects import object_name
from provisioner.ssh import Host, jobs
from provisioner.text import unified_diff


def file(host: Host, path: str, content: str, *, mode: int = 0o644, then: str = "", why: str = "") -> Iterator[Change]:
    """Yield the change that writes `content` to `path` with `mode` and then runs the shell command `then`.

    The step's query must name `path` in `files`.
    """
    now = host.facts.files.get(path)
    old = now.content if now is not None and now.exists else None
    if old == content and now is not None and now.mode == mode:
        return

    def write() -> None:
        host.put(path, content, mode=mode)
        if then:
            host.run(then, timeout=120)

    verb = "write" if old is None else "change" if old != content else f"chmod {mode:04o}"
    yield Change(f"{verb} {path}{f' ({why})' if why else ''}", write, unified_diff(path, old or "", content))


def packages(host: Host, names: Sequence[str], *, why: str = "") -> Iterator[Change]:
    """Yield one change that installs the missing Debian packages among `names`.

    If an earlier run interrupted dpkg, another change precedes it that repairs this, since apt refuses to run before.
    """
    if host.facts.dpkg_interrupted:
        yield Change(
            "finish an interrupted dpkg run",
            lambda: _run_job(host, "dpkg-configure", "DEBIAN_FRONTEND=noninteractive dpkg --configure -a"),
        )
    missing = [name for name in names if name not in host.facts.packages]
    if missing:
        yield Change(
            f"install {', '.join(missing)}{f' ({why})' if why else ''}",
            lambda: apt.install(host, missing),
            "".join(f"+ package {name}\n" for name in missing),
        )


def unit(host: Host, name: str, *, restart: bool = False) -> Iterator[Change]:
    """Yield the change that enables and (re)starts a systemd unit; the step's query must name it in `units`."""
    now = host.facts.units.get(name)
    if now is not None and now.active and now.enabled and not restart:
        return
    yield Change(
        f"enable and start {name}",
        lambda: _run(host, f"systemctl enable --quiet {name} && systemctl restart {name}", timeout=120),
    )


def needs_restart(host: Host, path: str, content: str, unit_name: str) -> bool:
    """Return whether a unit that reads a file only when it starts has not read this content yet.

    This includes a run that was killed between the write and the restart. The step's query must name both.
    """
    now = host.facts.files[path]
    return now.content != content or int(now.mtime) > host.facts.units[unit_name].since


def objects(cluster: Cluster, manifests: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    """Yield one change per object that a server-side apply would create or modify, in the given order.

    Raises ClusterError if the API rejects one of them: already here if the object exists, else when applied.
    """
    wanted = list(manifests)
    with node_ports.explain_conflicts(cluster):
        diffs = cluster.diffs(wanted)
    for manifest, diff in zip(wanted, diffs, strict=True):
        if diff:
            yield Change(f"apply {object_name(manifest)}", _apply_later(cluster, manifest), diff)


def _apply_later(cluster: Cluster, manifest: Mapping[str, Any]) -> Callable[[], None]:
    def do() -> None:
        with node_ports.explain_conflicts(cluster):
            cluster.apply(manifest)

    return do


def _run(host: Host, command: str, timeout: float = 60) -> None:
    host.run(command, timeout=timeout)


def _run_job(host: Host, name: str, command: str, timeout: float = 900) -> None:
    jobs.run(host, name, command, timeout=timeout)
