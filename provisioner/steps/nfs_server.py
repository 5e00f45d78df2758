"""Export a directory of the NFS server to the cluster's hosts and nfs.clients only."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import file, needs_restart, packages, unit
from provisioner.kube import Cluster
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host
from provisioner.steps.prepare import SERVER_PACKAGE
from provisioner.text import pluralize

EXPORTS = "/etc/exports.d/provisioner.exports"
ETAB = "/var/lib/nfs/etab"  # the exports in effect (exportfs(8))
UNIT = "nfs-server.service"
CONFIG = "/etc/nfs.conf.d/provisioner.conf"  # read after nfs.conf (nfs.conf(5))
# Debian's nfs.conf makes the server look up a user's groups itself (--manage-gids in rpc.mountd(8)). It does not know
# the users of pods, so their fsGroup would be lost.
_CONFIG = "# Written by provisioner.\n[mountd]\nmanage-gids = n\n"
SQUASHED = "nobody:nogroup"  # what root_squash maps root to on Debian (exports(5): 65534)


def volume_name(number: int) -> str:
    """Return the name of a static volume and of its directory; number: from 1."""
    return f"nfs-{number:02d}"


def volume_paths(site: Site) -> list[str]:
    """Return the directories of the static volumes; none with csi-driver-nfs, which creates its own."""
    if site.nfs.provisioner == "csi":
        return []
    return [f"{site.nfs.export}/{volume_name(number)}" for number in range(1, site.nfs.volumes + 1)]


def exports(site: Site) -> str:
    """Return the exports file: one line with the address of every client."""
    clients = " ".join(f"{client}({','.join(options(site))})" for client in clients_of(site))
    return f"# Written by provisioner from hosts.toml.\n{site.nfs.export} {clients}\n"


def options(site: Site) -> tuple[str, ...]:
    """Return the export's options (exports(5))."""
    return "rw", "sync", "no_subtree_check", "root_squash" if site.nfs.root_squash else "no_root_squash"


def clients_of(site: Site) -> list[str]:
    """Return the clients that may mount: the cluster's hosts, then nfs.clients."""
    return list(dict.fromkeys([*(spec.address for spec in site.hosts), *site.nfs.clients]))


def exported(etab: str, path: str) -> dict[str, set[str]]:
    """Return the clients of an export in etab, each with its options."""
    found = {}
    for line in etab.splitlines():
        export, _, rest = line.partition("\t")
        if export == path:
            client, _, words = rest.partition("(")
            found[client.strip()] = set(words.rstrip(") ").split(","))
    return found


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the package, directories, configuration and exports that are missing or differ."""
    del cluster
    facts = host.facts
    yield from packages(host, (SERVER_PACKAGE,))
    missing = [
        path
        for path in volume_paths(site)
        if path not in facts.files or not facts.files[path].exists or facts.files[path].mode != 0o777
    ]
    if missing:
        # World-writable, but reachable only through the export: root is squashed to nobody, and pods write with user
        # ids that no host knows.
        paths = " ".join(map(shlex.quote, missing))
        yield Change(
            f"create directories for {pluralize(len(missing), 'volume')} under {site.nfs.export}",
            lambda: _run(host, f"mkdir -p {paths}; chmod 0777 {paths}"),
            "".join(f"+ {path}/\n" for path in missing),
        )
    if site.nfs.provisioner == "csi":
        # csi-driver-nfs creates directories as root, which root_squash maps to nobody.
        root, path = facts.files.get(site.nfs.export), shlex.quote(site.nfs.export)
        exists = root is not None and root.exists
        if site.nfs.root_squash and (root is None or not exists or root.owner != SQUASHED):
            yield Change(
                f"chown {SQUASHED} {site.nfs.export}, for csi-driver-nfs",
                lambda: _run(host, f"mkdir -p {path}; chown {SQUASHED} {path}"),
            )
        elif not exists:
            yield Change(f"create {site.nfs.export}", lambda: _run(host, f"mkdir -p {path}"))
    wanted = exports(site)
    yield from file(host, EXPORTS, wanted)
    yield from file(host, CONFIG, _CONFIG)
    yield from unit(host, UNIT, restart=needs_restart(host, CONFIG, _CONFIG, UNIT))
    etab = facts.files.get(ETAB)
    known = exported((etab.content if etab is not None else None) or "", site.nfs.export)
    now = facts.files.get(EXPORTS)
    # A run that was killed before exportfs leaves the old clients and options in effect.
    in_effect = known.keys() == set(clients_of(site)) and all(set(options(site)) <= have for have in known.values())
    if not in_effect or now is None or now.content != wanted:
        yield Change(
            f"export {site.nfs.export} to {', '.join(clients_of(site))}",
            lambda: _run(host, "exportfs -ra"),
        )


def _run(host: Host, command: str) -> None:
    host.run(command, timeout=60)


STEP = Step(
    name="nfs",
    summary="NFS export to the cluster's hosts",
    scope=Scope.NFS_SERVER,
    changes=changes,
    query=lambda site: FactQuery(
        files=(CONFIG, EXPORTS, ETAB),
        exists=(site.nfs.export, *volume_paths(site)),
        packages=(SERVER_PACKAGE,),
        units=(UNIT,),
    ),
    after=("prepare",),
    enabled=lambda site: site.nfs.enabled,
)
