"""Export a directory of the NFS server to the cluster's hosts and nfs.clients only."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from provisioner.engine import Change, Scope, Step
from provisioner.engine.changes import file, needs_restart, packages, unit
from provisioner.errors import HostError
from provisioner.kube import Cluster
from provisioner.site import Site
from provisioner.ssh import FactQuery, File, Host
from provisioner.steps.prepare import SERVER_PACKAGE
from provisioner.text import join_words, pluralize

EXPORTS = "/etc/exports.d/provisioner.exports"
ETAB = "/var/lib/nfs/etab"  # the exports in effect (exportfs(8))
UNIT = "nfs-server.service"
CONFIG = "/etc/nfs.conf.d/provisioner.conf"  # read after nfs.conf (nfs.conf(5))
# Debian's nfs.conf makes the server look up a user's groups itself (--manage-gids in rpc.mountd(8)). It does not know
# the users of pods, so their fsGroup would be lost.
_CONFIG = "# Written by provisioner.\n[mountd]\nmanage-gids = n\n"
# The export's root is root's, so that no client can put a link in a volume's place. Volumes below it are
# world-writable; its mode keeps the server's own users away from them. The group is the one that root_squash maps the
# kubelets' root to on Debian (exports(5): 65534). It has to pass: with mode 0700 an NFSv4 mount, which walks down from
# the export's root, would be refused. With csi-driver-nfs it creates directories there.
ROOT_OWNER = "root:nogroup"


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


def foreign_lines(files: Mapping[str, File], path: str) -> list[tuple[str, str]]:
    """Return (file, client) for each client to which another exports file gives the export, a part of it or all above.

    files: the host's exports files. Lines go on after a backslash, and options are no part of a client (exports(5)).
    """
    found = []
    for name, found_file in files.items():
        if (
            name == EXPORTS
            or not found_file.exists
            or not (name == "/etc/exports" or name.startswith("/etc/exports.d/"))
        ):
            continue
        for line in (found_file.content or "").replace("\\\n", " ").splitlines():
            words = line.partition("#")[0].split()
            if words and _overlap(words[0].strip('"'), path):
                found += [(name, word.partition("(")[0] or "*") for word in words[1:] if not word.startswith("-")]
    return found


def _overlap(one: str, other: str) -> bool:
    one, other = f"{one.rstrip('/')}/", f"{other.rstrip('/')}/"
    return one.startswith(other) or other.startswith(one)


def exports_in_effect(etab: str, path: str) -> dict[str, set[str]]:
    """Return the clients in etab of an export, a part of it or all above, each with its options."""
    found = {}
    for line in etab.splitlines():
        export, _, rest = line.partition("\t")
        if rest and _overlap(export, path):
            client, _, words = rest.partition("(")
            found[client.strip()] = set(words.rstrip(") ").split(","))
    return found


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the package, directories, configuration and exports that are missing or differ."""
    del cluster
    facts = host.facts
    yield from packages(host, (SERVER_PACKAGE,))
    _refuse_links(host, site)
    root, mode = facts.files.get(site.nfs.export), root_mode(site)
    if root is None or not root.exists or (root.owner, root.mode) != (ROOT_OWNER, mode):
        yield Change(
            f"make {site.nfs.export} a directory of {ROOT_OWNER} with mode {mode:04o}",
            lambda: _run(host, root_script(site)),
        )
    missing = [
        path
        for path in volume_paths(site)
        if path not in facts.files or not facts.files[path].exists or facts.files[path].mode != 0o777
    ]
    if missing:
        yield Change(
            f"create directories for {pluralize(len(missing), 'volume')} under {site.nfs.export}",
            lambda: _run(host, volumes_script(site, missing)),
            "".join(f"+ {path}/\n" for path in missing),
        )
    wanted = exports(site)
    yield from file(host, EXPORTS, wanted)
    yield from file(host, CONFIG, _CONFIG)
    yield from unit(host, UNIT, restart=needs_restart(host, CONFIG, _CONFIG, UNIT))
    others = foreign_lines(facts.files, site.nfs.export)
    for name, client in others:
        yield Change(
            f"{name} exports {site.nfs.export}, or a part of it, to {client} too",
            lambda: None,
            by_hand=f"remove the line from {name} on {host.name}, or add {client} to clients under [nfs]",
        )
    etab = facts.files.get(ETAB)
    exports_now = exports_in_effect((etab.content if etab is not None else None) or "", site.nfs.export)
    by_others = {client for _, client in others}
    known = {client: have for client, have in exports_now.items() if client not in by_others}
    missing_clients = set(clients_of(site)) - by_others - known.keys()
    now = facts.files.get(EXPORTS)
    # A run that was killed before exportfs leaves the old clients and options in effect.
    unwanted = known.keys() - set(clients_of(site))
    in_effect = not missing_clients | unwanted and all(set(options(site)) <= have for have in known.values())
    if not in_effect or now is None or now.content != wanted:
        yield Change(
            f"export {site.nfs.export} to {', '.join(clients_of(site))}",
            lambda: _run(host, "exportfs -ra"),
        )


def root_mode(site: Site) -> int:
    """Return the mode of the export's root: csi-driver-nfs creates directories in it as the squashed root."""
    return 0o1770 if site.nfs.provisioner == "csi" else 0o750


def root_script(site: Site) -> str:
    """Return the commands that make the export's root. Its parents are root's, so links among them are the operator's.

    Each new parent may be entered by everybody, as the script's umask says: NFSv4 clients walk through them.
    """
    root = shlex.quote(site.nfs.export)
    return f"mkdir -p {root}; cd -P {root}; chown {ROOT_OWNER} .; chmod {root_mode(site):04o} ."


def volumes_script(site: Site, paths: Sequence[str]) -> str:
    """Return the commands that make volumes' directories and open them, without following a link under the root.

    Pods write with user ids that no host knows, so they are world-writable. `chmod .` changes what has been entered
    and is where it should be, whoever replaces its name meanwhile.
    """
    names = " ".join(shlex.quote(path.rpartition("/")[2]) for path in paths)
    return (
        f"cd -P {shlex.quote(site.nfs.export)}; root=$(pwd -P)\n"
        f"for name in {names}; do\n"
        '  [ -d "$root/$name" ] || mkdir "$root/$name"\n'
        '  cd -P "$root/$name"\n'
        '  if [ "$(pwd -P)" != "$root/$name" ]; then echo "$root/$name is a link to $(pwd -P)"; exit 1; fi\n'
        "  chmod 0777 .\n"
        "done"
    )


def _refuse_links(host: Host, site: Site) -> None:
    """Raise HostError if a volume's directory is a symbolic link, as a client or a user of the server may plant."""
    links = [path for path in volume_paths(site) if path in host.facts.links]
    if links:
        raise HostError(
            host.name,
            f"{join_words(links)} must be a directory and not a symbolic link",
            f"see where it leads (provisioner ssh {host.name} -- sudo ls -l {site.nfs.export}), then remove it; "
            "to have volumes on another disk, mount that at the export itself",
        )


def _run(host: Host, command: str) -> None:
    host.run(command, timeout=60)


STEP = Step(
    name="nfs",
    summary="NFS export to the cluster's hosts",
    scope=Scope.NFS_SERVER,
    changes=changes,
    query=lambda site: FactQuery(
        files=(CONFIG, EXPORTS, ETAB, "/etc/exports", "/etc/exports.d/*.exports"),
        exists=(site.nfs.export, *volume_paths(site)),
        links=tuple(volume_paths(site)),
        packages=(SERVER_PACKAGE,),
        units=(UNIT,),
    ),
    enabled=lambda site: site.nfs.enabled,
)
