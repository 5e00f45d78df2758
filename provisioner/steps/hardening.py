"""Part of the steps control-plane, join, kubeadm-files and kubeadm-objects: the hardening that is in force on a host.

A new cluster gets what hosts.toml says, and a cluster keeps what it was created with. The key that Secrets are
encrypted with is made once, is the same on all control planes, and goes from one to another by this machine's memory
only.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial

from provisioner.engine import Change
from provisioner.errors import HostError, Unreachable
from provisioner.kube import ApiState, Cluster, kubeadm_state
from provisioner.kube import hardening as documents
from provisioner.site import Site, hardening
from provisioner.ssh import FactQuery, Host
from provisioner.steps import kernel_settings, static_pods
from provisioner.text import join_words, unified_diff

RESTART = f"{hardening.DIRECTORY}/restart"  # a marker: the API server has not read a new file yet
MODE = 0o600
DOCUMENTATION = "docs/hardening.md says what to do"
_DIGEST = f"sha256sum {hardening.ENCRYPTION} 2>/dev/null | cut -c-64"


def query(site: Site) -> FactQuery:
    """Return the facts that this part needs."""
    del site
    return kernel_settings.QUERY | FactQuery(
        files=(kernel_settings.FILE, hardening.AUDIT_POLICY, hardening.ADMISSION, static_pods.API_SERVER),
        exists=(hardening.ENCRYPTION, RESTART),
    )


def in_force(host: Host, cluster: Cluster, site: Site) -> Site:
    """Return the site as this host has it: with the hardening of the cluster, and without what its kernel forbids."""
    state = cluster.state()
    is_node = kubeadm_state.exists(host, kubeadm_state.KUBELET_CONF)
    on: tuple[str, ...] | None = None
    if state is ApiState.READY or (state is ApiState.UNREACHABLE and not is_node):
        on = documents.created_with(cluster, site)  # raises if the API does not answer
    if on is None and is_node:
        on = _as_found(host, site)
    return kernel_settings.allowed(host, site if on is None else hardening.with_items(site, on))


def _as_found(host: Host, site: Site) -> tuple[str, ...]:
    """Return the items by this host's own files, for when the API does not answer or has lost kubeadm-config."""
    paths = {"encryption": hardening.ENCRYPTION, "audit": hardening.AUDIT_POLICY, "pod_security": hardening.ADMISSION}
    manifest = host.facts.files[static_pods.API_SERVER]
    lines = manifest.content or ""
    found = {
        item
        for item, path in paths.items()
        if kubeadm_state.exists(host, path) or f"--{hardening.mark(item)}={path}" in lines
    }
    if kernel_settings.protected(host):
        found.add("kubelet")
    lost = host.spec.is_control_plane and not manifest.exists and site.hardening.verify_kubelets
    if f"--{hardening.mark('verify_kubelets')}=" in lines or lost:
        found.add("verify_kubelets")
    return tuple(item for item in hardening.ITEMS if item in found and not hardening.replaced_by(site, item))


def differences(cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield what hosts.toml asks for and the running cluster has not, or the other way round."""
    live = documents.created_with(cluster, site)
    if live is None:
        return
    asked = hardening.asked_for(site)
    lacks = [item for item in hardening.items(site) if asked.get(item) and item not in live]
    extra = [item for item in live if asked.get(item) is False]
    for items, verb, asked_how in ((lacks, "lacks", "asks for"), (extra, "has", "turns off")):
        if items:
            yield Change(
                f"the cluster {verb} {join_words(items)}, which [hardening] in hosts.toml {asked_how}",
                lambda: None,
                by_hand=DOCUMENTATION,
            )


def notes(cluster: Cluster, site: Site) -> Iterator[str]:
    """Yield what a new cluster would have and this one has not."""
    live = documents.created_with(cluster, site)
    asked = hardening.asked_for(site)
    missing = [item for item in hardening.items(site) if live is not None and item not in (*live, *asked)]
    if missing:
        yield (
            f"the cluster was created without {join_words(missing)} of [hardening], and stays so; docs/hardening.md "
            f"says how to add them; {missing[0]} = false and the like end this note"
        )


def lay_down(host: Host, site: Site, *, create: bool = False) -> None:
    """Write what the API server is about to read. create: make the key, for a cluster that does not exist yet."""
    if not hardening.api_server_volumes(site):
        return
    _run(host, _folders(site))
    for path, text in documents.files(site).items():
        host.put(path, text, mode=MODE)
    if "encryption" in hardening.items(site):
        text = documents.new_encryption() if create else _copy_of_another(host)
        host.put(hardening.ENCRYPTION, text, mode=MODE, secret=True)


def changes(host: Host, site: Site) -> Generator[Change, None, bool]:
    """Yield the files of a control plane that differ; return whether its API server has not read all of them yet."""
    if not hardening.api_server_volumes(site):
        return False
    unread = kubeadm_state.exists(host, RESTART)
    for path, text in documents.files(site).items():
        now = host.facts.files[path]
        if (now.content or "") != text:
            unread = True
            yield Change(
                f"{'change' if now.exists else 'write'} {path}",
                partial(_write, host, site, path, text),
                unified_diff(path, now.content or "", text),
            )
        else:
            yield from _mode(host, path)
    if "encryption" in hardening.items(site):
        lost = not host.facts.files[hardening.ENCRYPTION].exists
        unread = unread or lost
        yield from _lost_key(host, site) if lost else _mode(host, hardening.ENCRYPTION)
        yield from _other_keys(host) if not lost else ()
    return unread


def restart(host: Host) -> Change:
    """Return the restart of the API server, for files that it has not read yet."""
    return Change("restart kube-apiserver, which reads its new files", lambda: _restart(host))


def _mode(host: Host, path: str) -> Iterator[Change]:
    if host.facts.files[path].mode != MODE:
        yield Change(f"chmod {MODE:04o} {path}", lambda: _run(host, f"chmod {MODE:04o} {path}"))


def _lost_key(host: Host, site: Site) -> Iterator[Change]:
    """Yield the return of the key from another control plane; raise HostError if none has it."""
    others = _keys_of_others(host)
    if not others:
        raise _key_is_lost(host)
    yield Change(
        f"copy {hardening.ENCRYPTION} from {next(iter(others))}",
        lambda: _write(host, site, hardening.ENCRYPTION, _copy_of_another(host), secret=True),
    )


def _other_keys(host: Host) -> Iterator[Change]:
    """Yield a difference from the other control planes' key, for a person to settle."""
    own, others = _digest(host), _keys_of_others(host)
    different = [name for name, digest in others.items() if digest != own]
    if different and host.name == min(host.name, *different):  # said once
        yield Change(
            f"{hardening.ENCRYPTION} is not the same on {join_words([host.name, *different])}",
            lambda: None,
            by_hand=f"copy the one that reads all Secrets to the others; {DOCUMENTATION}",
        )


def _keys_of_others(host: Host) -> dict[str, str]:
    """Return the SHA-256 of the file by name, for the other control planes that have it."""
    return {name: digest for name in _others(host) if (digest := _digest(host.fleet[name]))}


def _folders(site: Site) -> str:
    names = " ".join(volume["hostPath"] for volume in hardening.api_server_volumes(site))
    return f"mkdir -p {names}; chmod 0700 {names}"


def _key_is_lost(host: Host) -> HostError:
    return HostError(
        host.name,
        f"has no {hardening.ENCRYPTION}, and no other control plane has it: it holds the key of all Secrets",
        f"put it back from your backup of /etc/kubernetes before the API server restarts; {DOCUMENTATION}",
    )


def _others(host: Host) -> list[str]:
    known = host.reachable_facts()
    return [spec.name for spec in host.site.control_planes if spec.name != host.name and spec.name in known]


def _digest(host: Host) -> str:
    return host.read(_DIGEST).strip()


def _copy_of_another(host: Host) -> str:
    """Return the key's file of another control plane; it never leaves this process but to this host."""
    for name in _others(host):
        try:
            found = host.fleet[name].run(f"cat {hardening.ENCRYPTION}", check=False, secret=True)
        except Unreachable:
            continue
        if found.status == 0 and found.stdout.strip():
            return found.stdout
    raise _key_is_lost(host)


def _write(host: Host, site: Site, path: str, text: str, *, secret: bool = False) -> None:
    host.run(f"{_folders(site)}; touch {RESTART}; sync {RESTART}")
    host.put(path, text, mode=MODE, secret=secret)


def _restart(host: Host) -> None:
    with host.fleet[host.site.first.name].lock:
        static_pods.restart(host, "kube-apiserver")
    host.run(f"rm -f {RESTART}")


def _run(host: Host, command: str) -> None:
    host.run(command)
