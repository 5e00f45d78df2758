"""`provisioner init`: write a hosts.toml, for machines that it logs in to, or one that explains every key.

The commented one is site/init-template.toml; the hosts.toml at the top of a checkout is a copy for its operator to
edit.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from ipaddress import IPv4Network
from pathlib import Path

import click

from provisioner.cli import from_ansible, from_vagrant, proposal
from provisioner.cli.hints import runnable
from provisioner.cli.named import CONTROL_PLANE, Named, name_of, parse
from provisioner.cli.options import Options
from provisioner.cli.proposal import Machine, Place
from provisioner.cli.proposed_file import Proposal, key_path, render
from provisioner.cli.session import inspecting
from provisioner.engine.runner import parallel
from provisioner.errors import HostError, ProvisionerError
from provisioner.site import Site, parse_site
from provisioner.ssh import FactQuery, Host, login
from provisioner.steps import pool_conflicts

EXPORT = "/srv"  # where the volumes of [nfs] will lie
_DHCP = "Keep it outside of your router's DHCP range, which cannot be seen from here."
_ASKS = "sudo           asks for a password, as the inventory has one; hosts.toml has none and prompts for it"
_PLACEHOLDERS = IPv4Network("198.18.0.0/15")  # of hosts that are not known yet: for benchmarks only (RFC 2544)
_LOCAL = ("127.0.0.1", "localhost", "::1")
_CONNECT = 3.0  # seconds


def template() -> str:
    """Return the commented hosts.toml, which describes a Vagrant lab of four machines."""
    return files("provisioner.site").joinpath("init-template.toml").read_text(encoding="utf-8")


def write_site(path: Path, content: str, *, force: bool = False) -> None:
    """Write a hosts.toml to `path`; raise ProvisionerError if it exists, unless `force`."""
    refuse(path, force=force)
    try:
        if force:
            # Through a temporary file, so that the old one is kept if writing fails.
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                temporary.write_text(content, encoding="utf-8")
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        else:
            with path.open("x", encoding="utf-8") as file:
                file.write(content)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise ProvisionerError(
            f"cannot write {path}: {error.strerror}", "choose a file in an existing, writable folder"
        ) from error


def refuse(path: Path, *, force: bool) -> None:
    """Raise ProvisionerError if a hosts.toml cannot be written to `path`, before anybody is asked anything."""
    if path.is_dir():
        raise ProvisionerError(f"{path} is a folder", f"provisioner init {path / 'hosts.toml'}")
    if not force and os.path.lexists(path):
        raise _exists(path)


def _exists(path: Path) -> ProvisionerError:
    return ProvisionerError(f"{path} already exists", "edit it, or replace it with --force")


@click.command("init")
@click.argument("words", nargs=-1, metavar="[FILE] [[USER@]HOST]...")
@click.option(
    "--from-vagrant",
    "vagrant",
    is_flag=False,
    flag_value=".",
    metavar="[PATH]",
    help="Take the machines of a folder's Vagrantfile, or of a saved output of vagrant ssh-config, - for stdin.",
)
@click.option("--from-ansible", "ansible", metavar="INVENTORY", help="Take the hosts of an inventory, INI or YAML.")
@click.option("--control-planes", type=click.IntRange(1, 7), help="How many; several share a VIP.  [default: 1]")
@click.option("--template", "commented", is_flag=True, help="Write the commented file, which explains every key.")
@click.option("--ask-sudo", is_flag=True, help="sudo asks for a password on the hosts.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.pass_obj
def command(
    options: Options,
    *,
    words: tuple[str, ...],
    vagrant: str | None,
    ansible: str | None,
    control_planes: int | None,
    commented: bool,
    ask_sudo: bool,
    force: bool,
) -> None:
    """Write a hosts.toml for the given hosts, or a commented one.

    With hosts, it logs in to them as ssh would, by ~/.ssh/config, and proposes what fits them: the segment that they
    share, roles, the NFS server, a pool of addresses that nobody answers for, and a VIP for several control planes. It
    changes nothing on them. Without hosts it asks for them, or without a terminal writes the commented file.

    From an Ansible inventory, groups such as kube_control_plane, masters, server and agent become roles, and words
    name the hosts or groups to take. A Vagrantfile is asked by vagrant ssh-config, or read without Vagrant.

    FILE ends in .toml; the default is hosts.toml, or the file given with -f. An existing file is not overwritten.

    Example: provisioner init nuc1 nuc2 admin@192.168.1.12
    """
    if vagrant is not None and vagrant.endswith(".toml"):  # --from-vagrant FILE, without a path of its own
        words, vagrant = (vagrant, *words), "."
    hosts = [word for word in words if not _is_file(word)]
    named = [word for word in words if _is_file(word)]
    if len(named) > 1:
        raise ProvisionerError(f"{' and '.join(named)} are both files", "name one FILE; the other words are hosts")
    path = Path(named[0]) if named else options.file
    _refuse_mixture(hosts, commented=commented, vagrant=vagrant, ansible=ansible)
    refuse(path, force=force)
    found, notes = _named(hosts, vagrant, ansible, commented=commented)
    if found:
        wanted = Wanted(found, control_planes, ask_sudo or _ASKS in notes)
        content, chosen = propose(options, path, wanted)
        write_site(path, content, force=force)
        click.echo("\n".join([*notes, *chosen]))
        click.echo(f"Wrote {path}. Read it before you use it.")
    else:
        write_site(path, template(), force=force)
        click.echo(f"Wrote {path}. Describe your machines in it; its comments explain every key.")
    named_file = "" if path == Path("hosts.toml") else f" -f {path}"
    click.echo(f"Next: {runnable(f'provisioner{named_file} plan')}")


def _is_file(word: str) -> bool:
    """Return whether a word names the file to write; a bare word is a host, whatever folders are here."""
    return word.endswith(".toml") or "/" in word


def _refuse_mixture(hosts: Sequence[str], *, commented: bool, vagrant: str | None, ansible: str | None) -> None:
    given = [
        name
        for name, used in (
            ("--template", commented),
            ("--from-vagrant", vagrant is not None),
            ("--from-ansible", ansible is not None),
        )
        if used
    ]
    if len(given) > 1:
        raise ProvisionerError(f"{' and '.join(given)} exclude each other", "use one of them")
    if commented and hosts:
        raise ProvisionerError(f"--template describes no {hosts[0]}", "leave out --template, or the hosts")


def _named(
    hosts: Sequence[str], vagrant: str | None, ansible: str | None, *, commented: bool
) -> tuple[list[Named], list[str]]:
    """Return the hosts that were named, none for the commented file, and lines to show about them."""
    if vagrant is not None:
        return from_vagrant.machines(vagrant, hosts), []
    if ansible is not None:
        taken = from_ansible.machines(ansible, hosts)
        notes = [_ASKS] if taken.asks else []
        if taken.left_out:
            some = ", ".join(taken.left_out[:6]) + (", ..." if len(taken.left_out) > 6 else "")
            notes.append(f"left out       {some}: in no group of a cluster that was taken")
        return taken.hosts, notes
    if not hosts and not commented and sys.stdin.isatty() and sys.stderr.isatty():
        question = "Hosts, as you would ssh to them (Enter: a commented file)"
        hosts = click.prompt(question, default="", err=True, show_default=False).split()
    return parse(hosts), []


@dataclass(frozen=True)
class Wanted:
    """What a hosts.toml is wanted for. control_planes: how many, None for what fits."""

    named: Sequence[Named]
    control_planes: int | None = None
    ask_sudo: bool = False


def propose(options: Options, path: Path, wanted: Wanted) -> tuple[str, list[str]]:
    """Return the content of a hosts.toml for these hosts, and lines that say what was chosen and why."""
    wanted = _with_users(path, wanted)
    named = wanted.named
    with inspecting(options, _provisional(path, wanted), FactQuery(disks=(EXPORT,))) as hosts:
        machines = _machines(hosts, named, options.parallel)
        network, places = proposal.segment(machines)
        roles, why_roles = proposal.roles(machines, wanted.control_planes or 1)
        planes = [name for name, found in roles.items() if CONTROL_PLANE in found]
        server, why_server = proposal.nfs_server(machines, planes[0], EXPORT)
        asked_by = next(one for one, machine in zip(named, machines, strict=True) if machine.name == planes[0])
        used = {*_in_use(hosts[asked_by.name], places[planes[0]], network), *_own(places)}
    machines = [_directly(machine, places[machine.name]) for machine in machines]
    addresses = proposal.pool(network, used)
    vip = proposal.vip(network, used, addresses) if len(planes) > 1 else ""
    why = {"nfs": f"{server} has {why_server}.", "pool": _why_pool(network, addresses), "vip": _why_vip(planes)}
    if len(planes) > 1 and not vip:
        raise ProvisionerError(
            f"no address of {network} is free for the API of {len(planes)} control planes",
            "free one, or describe them by hand: provisioner init --template",
        )
    plan = Proposal(machines, places, roles, server, addresses, vip, why, path.absolute().parent, wanted.ask_sudo)
    content = render(plan)
    parse_site(content, path)
    lines = [f"segment        {network}, which all hosts are on"]
    lines += [f"  {name:<12} {place.address} on {place.nic.name}" for name, place in places.items()]
    label = "control plane " if len(planes) == 1 else "control planes"
    lines += [f"{label} {why_roles}", f"NFS server     {server}: {why_server}"]
    lines += [f"pool           {addresses or 'none'}: {why['pool']}"]
    lines += [f"VIP            {vip}: {why['vip']}"] if vip else []
    return content, lines


def _why_pool(network: IPv4Network, addresses: str) -> str:
    if not addresses:
        return f"so many addresses of {network} are in use that none are left for external IPs."
    return f"nobody answered for these addresses. {_DHCP}"


def _why_vip(planes: Sequence[str]) -> str:
    even = " An even number of control planes stands no more losses than one less." if len(planes) % 2 == 0 else ""
    return f"nobody answered for this address beside the pool; the API's, on whichever control plane is ready.{even}"


def _provisional(path: Path, wanted: Wanted) -> Site:
    """Return a site to log in by; the addresses are placeholders."""
    jumps = {host.jump for host in wanted.named if host.jump}
    lines = ["[ssh]", f'sudo_password = "{"prompt" if wanted.ask_sudo else "none"}"']
    lines += [f"jump = {json.dumps(jumps.pop())}"] if len(jumps) == 1 else []
    lines += ["[nfs]", "enabled = false", "[metallb]", "enabled = false", "[workloads]", "enabled = []"]
    for number, host in enumerate(wanted.named):
        role = "worker" if number else "control-plane"
        lines += ["[[hosts]]", f'name = "{host.name}"', f'address = "{_PLACEHOLDERS[number + 1]}"']
        lines += [f"ssh_address = {json.dumps(host.typed)}", f'roles = ["{role}"]']
        key = key_path(host.key, path.absolute().parent)
        own = {"user": host.user, "port": host.port, "key": key}
        lines += [f"ssh = {{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in own.items() if value)} }}"]
    return parse_site("\n".join(lines), path)


def _with_users(path: Path, wanted: Wanted) -> Wanted:
    """Return what is wanted with a user for each host; where nobody names one it is this one's, as for ssh."""
    site = _provisional(path, wanted)
    here = os.environ.get("SUDO_USER") or getpass.getuser()
    named = [
        one if one.user or login.configured_user(site, site.host(one.name)) else replace(one, user=here)
        for one in wanted.named
    ]
    return replace(wanted, named=named)


def _machines(hosts: Mapping[str, Host], named: Sequence[Named], limit: int) -> list[Machine]:
    """Return the machines in order. Raises ProvisionerError with a line for each that cannot be logged in to."""

    def look(one: Named) -> Machine | HostError:
        try:
            facts = hosts[one.name].facts
        except HostError as error:
            if Path(one.typed).is_dir():
                error.remedy += f"; {one.typed} is also a folder here: to write into it, {one.typed}/hosts.toml"
            return error
        # A host that was named by an address is called what it calls itself.
        return Machine((one.guessed and name_of(facts.hostname)) or one.name, one, facts)

    found = parallel(list(named), look, limit)
    failed = [str(error) for error in found if isinstance(error, HostError)]
    if failed:
        raise ProvisionerError("\n".join(failed))
    machines = [one for one in found if isinstance(one, Machine)]
    if len({machine.name for machine in machines}) < len(machines):  # clones with one hostname
        return [replace(machine, name=f"node{number}") for number, machine in enumerate(machines, 1)]
    return machines


def _directly(machine: Machine, place: Place) -> Machine:
    """Return a machine that was reached by a forwarded port of this machine with its own address, if that answers.

    Vagrant forwards a port of 127.0.0.1 to each machine, another one after the next `vagrant up`.
    """
    if machine.typed not in _LOCAL:
        return machine
    try:
        with socket.create_connection((str(place.address), 22), _CONNECT):
            pass
    except OSError:
        return machine
    return replace(machine, named=replace(machine.named, typed=str(place.address), port=0))


def _in_use(host: Host, place: Place, network: IPv4Network) -> set[str]:
    """Return the addresses that a host got an answer for."""
    asked = [address for address in proposal.candidates(network) if address != str(place.address)]
    return set(pool_conflicts.in_use(host, place.nic.name, asked))


def _own(places: Mapping[str, Place]) -> set[str]:
    return {str(place.address) for place in places.values()}
