"""Keep what kubeadm wrote on each node as kubeadm makes it: the kubelet's configuration, static pods, certificates.

hosts.toml wins over what somebody edited on a node. Control planes are changed one at a time, and the next one only
once the component is healthy again.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Any

from provisioner import yaml_text
from provisioner.engine import Change, Scope, Step
from provisioner.errors import NotYet
from provisioner.kube import Cluster, kubeadm_render, kubeadm_state
from provisioner.site import Site
from provisioner.ssh import FactQuery, Host
from provisioner.steps import hardening, kernel_settings, static_pods
from provisioner.steps.expiry import expiring
from provisioner.text import join_words, unified_diff

KUBELET = "/var/lib/kubelet"
CONFIG, INSTANCE, FLAGS = f"{KUBELET}/config.yaml", f"{KUBELET}/instance-config.yaml", f"{KUBELET}/kubeadm-flags.env"
UNIT = "kubelet.service"
PKI = "/etc/kubernetes/pki"
_ARGUMENTS = "KUBELET_KUBEADM_ARGS"
_AT_REGISTRATION = "--register-with-taints"  # of a joined control plane; later the step nodes has the taints


def changes(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield the files that differ from what kubeadm would write, the restarts, and the certificates to renew."""
    if not is_node(host):
        raise NotYet(f"{host.name} is not a node yet", "provisioner apply")
    yield from mends(host, cluster, hardening.in_force(host, cluster, site))


def is_node(host: Host) -> bool:
    """Return whether kubeadm has finished on this host."""
    return kubeadm_state.exists(host, kubeadm_state.KUBELET_CONF) and not any(
        kubeadm_state.exists(host, marker) for marker in (kubeadm_state.INIT_STARTED, kubeadm_state.JOIN_STARTED)
    )


def mends(host: Host, cluster: Cluster, site: Site) -> Iterator[Change]:
    """Yield what `changes` does, for a host that is a node; needs no API. site: with the hardening in force."""
    unread = (yield from hardening.changes(host, site)) if host.spec.is_control_plane else False
    yield from kernel_settings.before_protection(host, site)
    rendering = kubeadm_render.render(host, site)
    yield from _kubelet(host, rendering.files)
    if host.spec.is_control_plane:
        yield from static_pods.changes(host, rendering.files)
        if unread:
            yield hardening.restart(host)
        yield from _certificates(host, cluster, rendering.clients)


def _kubelet(host: Host, wanted: dict[str, str]) -> Iterator[Change]:
    """Yield the files that differ, each with a restart, or a restart for a kubelet that is down or has old ones."""
    kubelet = host.facts.units[UNIT]
    differs, stale = False, False
    for path, load in ((CONFIG, yaml_text.load), (INSTANCE, yaml_text.load), (FLAGS, flags)):
        name = path.rpartition("/")[2]
        if name not in wanted:
            continue
        now = host.facts.files.get(path)
        text = (now.content if now is not None and now.exists else None) or ""
        if _loaded(load, text) != load(wanted[name]):
            differs = True
            new = with_registration(text, wanted[name]) if path == FLAGS else wanted[name]
            summary = f"{'change' if text else 'write'} {path}, restart the kubelet"
            yield Change(summary, _writing(host, path, new), unified_diff(path, text, new))
        # A run that was killed before the restart leaves a kubelet with the old file.
        stale = stale or (now is not None and int(now.mtime) > kubelet.since)
    if not differs and (stale or not kubelet.active):
        yield Change("restart the kubelet" if kubelet.active else "start the kubelet", lambda: _restart(host))


def _loaded(load: Callable[[str], Any], text: str) -> Any:
    """Return a file's content as values; None for what cannot be parsed, which differs from everything."""
    try:
        return load(text)
    except ValueError:  # NotYaml is one
        return None


def flags(text: str) -> dict[str, str]:
    """Return the kubelet's flags in a kubeadm-flags.env, without those that only count when a node registers."""
    return {name: value for name, value in _flags(text).items() if name != _AT_REGISTRATION}


def with_registration(old: str, new: str) -> str:
    """Return the new kubeadm-flags.env with the registration's flag of the old one."""
    try:
        value = _flags(old).get(_AT_REGISTRATION)
    except ValueError:
        value = None
    return new.replace('="', f'="{_AT_REGISTRATION}={value} ', 1) if value else new


def _flags(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        for word in shlex.split("".join(shlex.split(value))) if name == _ARGUMENTS else ():
            flag, _, argument = word.partition("=")
            found[flag] = argument
    return found


def _writing(host: Host, path: str, text: str) -> Callable[[], None]:
    def write() -> None:
        host.put(path, text)
        _restart(host)

    return write


def _restart(host: Host) -> None:
    host.run(f"systemctl reset-failed {UNIT} || true; systemctl restart {UNIT}", timeout=60)


def _certificates(host: Host, cluster: Cluster, clients: dict[str, bytes]) -> Iterator[Change]:
    """Yield the renewal of kubeadm's certificates that expire soon; a CA is nobody's to replace in passing."""
    found = {
        path.removeprefix(f"{PKI}/").removesuffix(".crt").replace("/", "-"): file.content.encode()
        for path, file in host.facts.files.items()
        if path.startswith(f"{PKI}/") and path.endswith(".crt") and file.content is not None
    } | clients
    soon = expiring(found, host.facts.clock)
    authorities = {name: when for name, when in soon.items() if name in ("ca", "front-proxy-ca", "etcd-ca")}
    if authorities:
        when = min(authorities.values())
        yield Change(
            f"{join_words(sorted(authorities))} expires on {when:%Y-%m-%d}",
            lambda: None,
            by_hand='kubernetes.io, "Manual Rotation of CA Certificates"',
        )
    names = sorted(soon.keys() - authorities.keys())
    if names:
        when = min(soon[name] for name in names)
        yield Change(
            f"renew certificate {', '.join(names)} (expires on {when:%Y-%m-%d})", lambda: _renew(host, cluster, names)
        )


def _renew(host: Host, cluster: Cluster, names: list[str]) -> None:
    with host.fleet[host.site.first.name].lock:
        host.run("\n".join(f"kubeadm certs renew {shlex.quote(name)}" for name in names), timeout=120)
        for name in static_pods.NAMES:
            static_pods.restart(host, name)
    cluster.disconnect()  # it may have used a certificate that was renewed


def query(site: Site) -> FactQuery:
    """Return the facts that `changes` and `mends` need."""
    return hardening.query(site) | FactQuery(
        files=(CONFIG, INSTANCE, FLAGS, f"{static_pods.MANIFESTS}/*.yaml", f"{PKI}/*.crt", f"{PKI}/etcd/*.crt"),
        exists=(kubeadm_state.KUBELET_CONF, kubeadm_state.INIT_STARTED, kubeadm_state.JOIN_STARTED),
        units=(UNIT,),
    )


STEP = Step(
    name="kubeadm-files",
    summary="kubelet configuration, static pods and certificates as kubeadm makes them",
    scope=Scope.ALL,
    changes=changes,
    query=query,
    after=("kubernetes", "control-plane", "join"),
)
