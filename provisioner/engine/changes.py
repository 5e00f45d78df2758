"""Builders of the changes that many steps make: files, packages, units, objects.

Each compares facts with what is wanted and yields a Change only where they differ, so that a step reads as a
list of what a host should look like.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from provisioner.engine.step import Change
from provisioner.kube import Cluster, node_ports
from provisioner.kube.objects import object_name
from provisioner.ssh import Host, jobs
from provisioner.text import unified_diff

# One apt call for all: no questions, wait for another apt (unattended-upgrades), keep an operator's config files.
APT = (
    "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 "
    "-o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef"
)


def file(host: Host, path: str, content: str, *, mode: int = 0o644, then: str = "", why: str = "") -> Iterator[Change]:
    """Yield the change that makes `path` hold `content` with `mode`, then runs the shell command `then`.

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
    """Yield one change that installs the Debian packages of `names` that are missing.

    A dpkg that was interrupted by an earlier run is mended first, since apt refuses to work until then.
    """
    if host.facts.dpkg_interrupted:
        yield Change(
            "finish an interrupted dpkg run",
            lambda: _work(host, "dpkg-configure", "DEBIAN_FRONTEND=noninteractive dpkg --configure -a"),
        )
    missing = [name for name in names if name not in host.facts.packages]
    if missing:
        yield Change(
            f"install {', '.join(missing)}{f' ({why})' if why else ''}",
            lambda: apt_install(host, missing),
            "".join(f"+ package {name}\n" for name in missing),
        )


def apt_install(host: Host, names: Sequence[str], options: str = "--no-install-recommends") -> None:
    """Install packages (each a name or `name=version`) after refreshing the lists, as one surviving command.

    Never at the cost of another package (Docker's containerd.io for Debian's containerd): no plan showed that.
    """
    command = f"{APT} update\n{APT} install --no-remove {options} {' '.join(map(shlex.quote, names))}"
    _work(host, "apt-install", command)


def unit(host: Host, name: str, *, restart: bool = False) -> Iterator[Change]:
    """Yield the change that enables and starts a systemd unit; the step's query must name it in `units`."""
    now = host.facts.units.get(name)
    if now is not None and now.active and now.enabled and not restart:
        return
    yield Change(
        f"enable and start {name}",
        lambda: _run(host, f"systemctl enable --quiet {name} && systemctl restart {name}", timeout=120),
    )


def needs_restart(host: Host, path: str, content: str, unit_name: str) -> bool:
    """Return whether a unit that reads a file at its start only has yet to read it with this content.

    Also after a run that was killed between the write and the restart. The step's query must name both.
    """
    now = host.facts.files[path]
    return now.content != content or int(now.mtime) > host.facts.units[unit_name].since


def objects(cluster: Cluster, manifests: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    """Yield one change for each object that a server-side apply would create or alter, in the given order.

    Raises ClusterError where the API refuses one of them, here already where it has an object of that name.
    """
    wanted = list(manifests)
    with node_ports.holder_told(cluster):
        diffs = cluster.diffs(wanted)
    for manifest, diff in zip(wanted, diffs, strict=True):
        if diff:
            yield Change(f"apply {object_name(manifest)}", _applying(cluster, manifest), diff)


def _applying(cluster: Cluster, manifest: Mapping[str, Any]) -> Callable[[], None]:
    def do() -> None:
        with node_ports.holder_told(cluster):
            cluster.apply(manifest)

    return do


def _run(host: Host, command: str, timeout: float = 60) -> None:
    host.run(command, timeout=timeout)


def _work(host: Host, name: str, command: str, timeout: float = 900) -> None:
    jobs.run(host, name, command, timeout=timeout)
