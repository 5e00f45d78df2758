"""The short hosts.toml that `provisioner init` writes: what differs from the defaults, and why."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioner.cli.proposal import Machine, Place, size
from provisioner.errors import ProvisionerError
from provisioner.text import join_words

NO_POOL = [
    "[metallb]",
    "enabled = false",
    "",
    "[workloads]",
    'enabled = ["nodeport", "configmap", "shared-volume"]',
    "",
]


@dataclass(frozen=True)
class Proposal:
    """What a hosts.toml is to say. why: the reasons, by part: nfs, pool, vip. folder: where the file will be."""

    machines: Sequence[Machine]
    places: Mapping[str, Place]
    roles: Mapping[str, tuple[str, ...]]
    server: str
    pool: str
    vip: str
    why: Mapping[str, str]
    folder: Path
    ask_sudo: bool = False


def render(plan: Proposal) -> str:
    """Return the hosts.toml."""
    shared = {key: _shared(plan, key) for key in ("user", "port", "key")}
    ssh = [f"{key} = {json.dumps(value)}" for key, value in shared.items() if value]
    if jump := jump_of(plan.machines):
        ssh.append(f"jump = {json.dumps(jump)}")
    ssh += ['sudo_password = "prompt"'] if plan.ask_sudo else []
    lines = ["# Written by provisioner init; every other key and its default: provisioner init --template", ""]
    if plan.vip:
        lines += [f"# {_sentence(plan.why['vip'])}", "[cluster]", f'vip = "{plan.vip}"', ""]
    lines += ["[ssh]", *ssh, ""] if ssh else []
    for machine in plan.machines:
        lines += [*_host(plan, machine, shared), ""]
    lines += [f"# {_sentence(plan.why['nfs'])}", "[nfs]", f'server = "{plan.server}"', 'export = "/srv/nfs"', ""]
    lines.append(f"# {_sentence(plan.why['pool'])}")
    lines += ["[[metallb.pools]]", 'name = "lab"', f'addresses = ["{plan.pool}"]', ""] if plan.pool else NO_POOL
    return "\n".join(lines)


def _host(plan: Proposal, machine: Machine, shared: Mapping[str, str | int]) -> Iterator[str]:
    place = plan.places[machine.name]
    yield "[[hosts]]"
    yield f'name = "{machine.name}"'
    yield f'address = "{place.address}"  # {place.nic.name}; {size(machine.facts)}'
    if machine.typed not in (str(place.address), machine.name):
        yield f"ssh_address = {json.dumps(machine.typed)}"
    yield f"roles = {json.dumps(plan.roles[machine.name])}"
    own = {key: _value(plan, machine, key) for key in shared if not shared[key]}
    if differing := [f"{key} = {json.dumps(value)}" for key, value in own.items() if value]:
        yield f"ssh = {{ {', '.join(differing)} }}"


def _shared(plan: Proposal, key: str) -> str | int:
    """Return what all machines have, "" if they differ."""
    values = {_value(plan, machine, key) for machine in plan.machines}
    return values.pop() if len(values) == 1 else ""


def _value(plan: Proposal, machine: Machine, key: str) -> str | int:
    value: str | int = getattr(machine.named, key)
    return key_path(value, plan.folder) if isinstance(value, str) and key == "key" else value


def key_path(key: str, folder: Path) -> str:
    """Return a key file as hosts.toml may have it: below ~ or absolute, or relative to its folder if it lies in it."""
    if not key or key.startswith("~"):
        return key
    absolute = Path(os.path.abspath(key))
    folder = folder.absolute()
    return str(absolute.relative_to(folder)) if absolute.is_relative_to(folder) else str(absolute)


def jump_of(machines: Sequence[Machine]) -> str:
    """Return the jump host that all machines are behind, "" for none. Raises ProvisionerError if they differ."""
    jumps = dict.fromkeys(machine.named.jump for machine in machines)
    if len(jumps) > 1:
        raise ProvisionerError(
            f"the hosts are behind different jump hosts: {join_words(jump or 'none' for jump in jumps)}",
            "say so in ~/.ssh/config with ProxyJump, and name the hosts: provisioner init HOST...",
        )
    return next(iter(jumps))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"
