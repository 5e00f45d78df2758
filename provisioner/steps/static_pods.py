"""Part of the step kubeadm_files: a control plane's static pods as kubeadm makes them, changed one at a time."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from provisioner import yaml_text
from provisioner.engine import Change
from provisioner.errors import HostError, Unreachable
from provisioner.ssh import Host
from provisioner.text import unified_diff

MANIFESTS = "/etc/kubernetes/manifests"
API_SERVER = f"{MANIFESTS}/kube-apiserver.yaml"
# Where each component says on the loopback address that it is well (kubeadm's probes); any answer is a sign of life.
HEALTH = {
    "etcd": "http://127.0.0.1:2381/health",
    "kube-apiserver": "https://127.0.0.1:6443/livez",
    "kube-controller-manager": "https://127.0.0.1:10257/healthz",
    "kube-scheduler": "https://127.0.0.1:10259/healthz",
}
NAMES = tuple(HEALTH)
# Of etcd, fixed when its member was made: kubeadm knows no other members in a dry run, and etcd reads them only once.
_ONCE = "--initial-cluster"

# The kubelet sees a new manifest within 20 seconds, and starts a container that ended again after at most some 10.
_CHANGE = """\
old=$(crictl ps -q --name '^{name}$' --state Running | head -n 1)
{action}
for _ in $(seq {tries}); do
  new=$(crictl ps -q --name '^{name}$' --state Running | head -n 1)
  if [ -n "$new" ] && [ "$new" != "$old" ] && curl -sk -o /dev/null -m 5 {url}; then exit 0; fi
  sleep 1
done
echo "{name} did not come up again"; crictl ps -a --name '^{name}$' | head -n 3
crictl logs --tail 10 "$(crictl ps -aq --name '^{name}$' | head -n 1)" 2>&1 || true
exit 1
"""
SECONDS = 120


def changes(host: Host, wanted: dict[str, str]) -> Iterator[Change]:
    """Yield the manifests that differ from the wanted ones, given by base name."""
    for name in NAMES:
        text = wanted.get(f"{name}.yaml")
        if text is None:
            continue
        path = f"{MANIFESTS}/{name}.yaml"
        now = host.facts.files.get(path)
        old = (now.content if now is not None and now.exists else None) or ""
        live = _load(old)
        new = _keeping_members(text, live)
        if _ordered(live) != _ordered(yaml.safe_load(new)):
            yield Change(
                f"{'change' if old else 'write'} {path}",
                _writing(host, name, path, old, new),
                unified_diff(path, old, new),
            )


def restart(host: Host, name: str) -> None:
    """Restart a static pod's container and wait until it answers."""
    stop = '[ -z "$old" ] || crictl stop "$old" >/dev/null'
    _run(host, name, stop)


def _writing(host: Host, name: str, path: str, old: str, new: str) -> Callable[[], None]:
    def write() -> None:
        with host.fleet[host.site.first.name].lock:
            beside = f"/etc/kubernetes/{name}.new.yaml"  # the kubelet would run what it finds in its folder
            host.put(beside, new, mode=0o600)
            try:
                _run(host, name, f"mv -f {beside} {shlex.quote(path)}")
            except Unreachable:
                raise
            except HostError as error:
                if old:
                    host.put(path, old, mode=0o600)
                    raise HostError(
                        host.name,
                        f"{name} did not come up with the manifest that kubeadm makes; the old one is back",
                        f"see provisioner ssh {host.name} -- sudo crictl ps -a; check [kubeadm] in hosts.toml",
                        tail=error.tail,
                    ) from error
                raise

    return write


def _run(host: Host, name: str, action: str) -> None:
    seconds = int(host.site.timeout(SECONDS))
    host.run(_CHANGE.format(name=name, action=action, tries=seconds, url=HEALTH[name]), timeout=6 * SECONDS)


def _load(text: str) -> Any:
    try:
        return yaml_text.load(text)
    except yaml_text.NotYaml:
        return None


def _keeping_members(text: str, live: Any) -> str:
    """Return a manifest with the live one's list of etcd members, if it has one."""
    members = [word for word in _command(live) if word.startswith(_ONCE)]
    document = yaml.safe_load(text)
    command = _command(document)
    if not members or members == [word for word in command if word.startswith(_ONCE)]:
        return text
    program, *words = [word for word in command if not word.startswith(_ONCE)]
    document["spec"]["containers"][0]["command"] = [program, *sorted([*words, *members])]
    return str(yaml.safe_dump(document, sort_keys=True, width=1000))


def _ordered(manifest: Any) -> Any:
    """Return a manifest with its flags in order: kubeadm puts them otherwise on an etcd member that joins."""
    command = _command(manifest)
    if not command:
        return manifest
    ordered = copy.deepcopy(manifest)
    ordered["spec"]["containers"][0]["command"] = [command[0], *sorted(command[1:])]
    return ordered


def _command(manifest: Any) -> list[str]:
    try:
        return [str(word) for word in manifest["spec"]["containers"][0]["command"]]
    except (TypeError, KeyError, IndexError):
        return []
