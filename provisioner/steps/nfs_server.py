"""Export a directory of the NFS server to the cluster's hosts and to nobody else."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import file, needs_restart, packages, unit
from provisioner.kube import Cluster
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host
from provisioner.steps.prepare import SERVER_PACKAGE

EXPORTS = "/etc/exports.d/provisioner.exports"
ETAB = "/var/lib/nfs/etab"  # what the kernel was really told (exports(5), exportfs(8))
UNIT = "nfs-server.service"
CONFIG = "/etc/nfs.conf.d/provisioner.conf"  # read after nfs.conf (nfs.conf(5))
# Debian's nfs.conf has the server look up a user's groups by itself (--manage-gids in rpc.mountd(8)). It knows none of
# the users that pods run as, and so would take their fsGroup from them.
_CONFIG = "# Written by provisioner.\n[mountd]\nmanage-gids = n\n"
SQUASHED = "nobody:nogroup"  # what root_squash makes of root on Debian (exports(5): 65534)


def volume_name(number: int) -> str:
    """Return the name of the static volume with this number, from 1: its PV and its directory."""
    return f"nfs-{number:02d}"


def volume_paths(site: Site) -> list[str]:
    """Return the directories of the static volumes under the export; with csi-driver-nfs it makes its own."""
    if site.nfs.provisioner == "csi":
        return []
    return [f"{site.nfs.export}/{volume_name(number)}" for number in range(1, site.nfs.volumes + 1)]


def exports(site: Site) -> str:
    """Return the exports file: one line, each host of the cluster by address, root squashed unless asked."""
    clients = " ".join(f"{client}({','.join(options(site))})" for client in clients_of(site))
    return f"# Written by provisioner from hosts.toml.\n{site.nfs.export} {clients}\n"


def options(site: Site) -> tuple[str, ...]:
    """Return the export's options, in the words of exports(5)."""
    return "rw", "sync", "no_subtree_check", "root_squash" if site.nfs.root_squash else "no_root_squash"


def clients_of(site: Site) -> list[str]:
    """Return who may mount: the cluster's hosts, then nfs.clients."""
    return list(dict.fromkeys([*(spec.address for spec in site.hosts), *site.nfs.clients]))


def exported(etab: str, path: str) -> dict[str, set[str]]:
    """Return the clients that the kernel's export table holds for `path`, each with its options."""
    found = {}
    for line in etab.splitlines():
        export, _, rest = line.partition("\t")
        if export == path:
            client, _, words = rest.partition("(")
            found[client.strip()] = set(words.rstrip(") ").split(","))
    return found


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield what the NFS server lacks: package, directories, exports, and the kernel's knowing of them."""
    del cluster
    facts = host.facts
    yield from packages(host, (SERVER_PACKAGE,))
    missing = [
        path
        for path in volume_paths(site)
        if path not in facts.files or not facts.files[path].exists or facts.files[path].mode != 0o777
    ]
    if missing:
        # World-writable inside, reachable only through the export: root is squashed to nobody, and pods write
        # under user ids that no host knows.
        paths = " ".join(map(shlex.quote, missing))
        yield Change(
            f"make {len(missing)} volume directories under {site.nfs.export}",
            lambda: _run(host, f"mkdir -p {paths}; chmod 0777 {paths}"),
            "".join(f"+ {path}/\n" for path in missing),
        )
    if site.nfs.provisioner == "csi":
        # csi-driver-nfs makes the directories itself, as root, which the export turns into nobody unless asked not to.
        root, path = facts.files.get(site.nfs.export), shlex.quote(site.nfs.export)
        there = root is not None and root.exists
        if site.nfs.root_squash and (root is None or not there or root.owner != SQUASHED):
            yield Change(
                f"give {site.nfs.export} to {SQUASHED}, as whom csi-driver-nfs makes directories",
                lambda: _run(host, f"mkdir -p {path}; chown {SQUASHED} {path}"),
            )
        elif not there:
            yield Change(f"make {site.nfs.export}", lambda: _run(host, f"mkdir -p {path}"))
    wanted = exports(site)
    yield from file(host, EXPORTS, wanted)
    yield from file(host, CONFIG, _CONFIG)
    yield from unit(host, UNIT, restart=needs_restart(host, CONFIG, _CONFIG, UNIT))
    etab = facts.files.get(ETAB)
    known = exported((etab.content if etab is not None else None) or "", site.nfs.export)
    now = facts.files.get(EXPORTS)
    # A run that was killed between the file and the kernel's table leaves the table with other clients or options.
    right = known.keys() == set(clients_of(site)) and all(set(options(site)) <= have for have in known.values())
    if not right or now is None or now.content != wanted:
        yield Change(
            f"export {site.nfs.export} to {', '.join(clients_of(site))}",
            lambda: _run(host, "exportfs -ra"),
        )


def _run(host: Host, command: str) -> None:
    host.run(command, timeout=60)


STEP = Step(
    name="nfs",
    summary="the NFS export, for the cluster's hosts only",
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
