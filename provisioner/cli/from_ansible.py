"""The hosts of an Ansible inventory, for `init --from-ansible`: who is what in a cluster, and how to log in.

Ansible's own groups decide: those of Kubespray, k3s-ansible, kubeadm roles and the like become roles of hosts.toml.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from provisioner.cli.ansible_inventory import load
from provisioner.cli.named import CONTROL_PLANE, WORKER, Named, checked, chosen
from provisioner.errors import ProvisionerError

# Groups, "-" written "_", by what their hosts are. `server` and `agent` mean that only beside each other.
_CLUSTERS = ("k8s_cluster", "kube_cluster", "kubernetes_cluster", "k3s_cluster", "rke2_cluster", "kubernetes", "k8s")
_CONTROL_PLANES = (
    *("kube_control_plane", "kube_master", "kube_masters", "control_plane", "control_planes", "controlplane"),
    *("controlplanes", "k8s_control_plane", "k8s_master", "k8s_masters", "kubernetes_master", "kubernetes_masters"),
    *("master", "masters", "controller", "controllers", "k3s_server", "k3s_servers", "rke2_server", "rke2_servers"),
)
_WORKERS = (
    *("kube_node", "kube_nodes", "kube_worker", "kube_workers", "k8s_node", "k8s_nodes", "k8s_worker", "k8s_workers"),
    *("kubernetes_node", "kubernetes_nodes", "worker", "workers", "node", "nodes", "k3s_agent", "k3s_agents"),
    *("rke2_agent", "rke2_agents", "minion", "minions"),
)
_PAIRS = (("server", "agent"), ("servers", "agents"))
_NFS = ("nfs", "nfs_server", "nfs_servers")
_PROXY = re.compile(r"(?:-J\s*|ProxyJump[= ]\s*)([^\s\"']+)")
# The older name of a variable, which Ansible still reads.
_NAMES = {
    "user": ("ansible_user", "ansible_ssh_user"),
    "host": ("ansible_host", "ansible_ssh_host"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "key": ("ansible_ssh_private_key_file", "ansible_private_key_file"),
}


@dataclass(frozen=True)
class Taken:
    """What was taken of an inventory. left_out: the names of other hosts. asks: it has a password for sudo."""

    hosts: list[Named]
    left_out: list[str]
    asks: bool


def machines(source: str, words: Sequence[str]) -> Taken:
    """Return the hosts of an inventory.

    words: hosts and groups to take; without any, the groups of a cluster, or all if there are none. Raises
    ProvisionerError.
    """
    inventory = load(Path(source))
    groups = {name: inventory.hosts(name) for name in inventory.groups}
    plain = {re.sub(r"[^a-z0-9]", "_", name.lower()): hosts for name, hosts in groups.items() if hosts}
    masters, workers = _union(plain, _CONTROL_PLANES), _union(plain, _WORKERS)
    for server, agent in _PAIRS:
        if server in plain and agent in plain:
            masters, workers = masters | plain[server], workers | plain[agent]
    cluster = _union(plain, _CLUSTERS) or ((masters | workers) if masters else set())
    nfs = _union(plain, _NFS)
    everyone = [
        _named(source, name, inventory.variables(name), _roles(name, masters, workers), name in nfs)
        for name in inventory.names
        if words or not cluster or name in cluster
    ]
    taken = chosen(everyone, groups, words, source)
    if not any(CONTROL_PLANE in one.roles for one in taken):  # then their sizes decide
        taken = [replace(one, roles=()) for one in taken]
    left_out = [name for name in inventory.names if name not in {one.name for one in taken}]
    passwords = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
    asks = any(word in inventory.variables(one.name) for one in taken for word in passwords)
    return Taken(checked(taken, source), left_out, asks)


def _union(groups: Mapping[str, set[str]], names: Iterable[str]) -> set[str]:
    return {host for name in names for host in groups.get(name, ())}


def _roles(name: str, masters: set[str], workers: set[str]) -> tuple[str, ...]:
    roles = [CONTROL_PLANE] if name in masters else []
    if name in workers or name not in masters:
        roles.append(WORKER)
    return tuple(roles)


def _named(source: str, name: str, variables: Mapping[str, Any], roles: tuple[str, ...], nfs: bool) -> Named:
    def value(what: str) -> str:
        found = next((str(variables[key]) for key in _NAMES[what] if variables.get(key) not in (None, "")), "")
        if "{{" in found:
            variable = next(key for key in _NAMES[what] if key in variables)
            raise ProvisionerError(
                f"{source}: {name}: {variable} is computed: {found}",
                "write its value there, or name the hosts yourself",
            )
        return found

    if variables.get("ansible_connection") == "local":
        raise ProvisionerError(
            f"{source}: {name} is this machine itself", "give it an ansible_host that ssh can reach"
        )
    port = value("port")
    if port and (not port.isdecimal() or not 0 < int(port) < 65536):
        raise ProvisionerError(f"{source}: {name}: {port!r} is no port")
    common = " ".join(str(variables.get(key, "")) for key in ("ansible_ssh_common_args", "ansible_ssh_extra_args"))
    proxy = _PROXY.search(common)
    return Named(
        name,
        value("host") or name,
        value("user"),
        0 if port in ("", "22") else int(port),
        value("key"),
        proxy[1] if proxy else _proxy_command(common),
        roles,
        nfs,
    )


def _proxy_command(arguments: str) -> str:
    """Return the jump host of `-o ProxyCommand="ssh -W %h:%p [-p PORT] USER@HOST"`, of Ansible's documentation."""
    found = re.search(r"ProxyCommand=([\"']?)(ssh .*?-W .*)\1", arguments)
    if found is None:
        return ""
    words = shlex.split(found[2].strip("\"'"))
    port = words[words.index("-p") + 1] if "-p" in words[:-1] else ""
    host = next(
        (word for word in reversed(words) if not word.startswith("-") and "%" not in word and word != port), ""
    )
    return "" if host in ("ssh", "") else f"{host}:{port}" if port else host
