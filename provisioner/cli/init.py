"""`provisioner init`: write a hosts.toml, for machines that it logs in to, or one that explains every key.

The commented one is site/init-template.toml; the hosts.toml at the top of a checkout is a copy for its operator to
edit.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import click

from provisioner.cli import proposal
from provisioner.cli.hints import runnable
from provisioner.cli.options import Options
from provisioner.cli.proposal import Machine, Place
from provisioner.cli.session import inspecting
from provisioner.engine.runner import parallel
from provisioner.errors import HostError, ProvisionerError
from provisioner.site import Site, parse_site
from provisioner.ssh import FactQuery, Host
from provisioner.steps import pool_conflicts

EXPORT = "/srv"  # where the volumes of [nfs] will lie
_DHCP = "Keep it outside of your router's DHCP range, which cannot be seen from here."


@dataclass(frozen=True)
class Named:
    """A host as it was named on the command line: `[user@]host`. name: what hosts.toml will call it."""

    name: str
    typed: str
    user: str


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
@click.option("--template", "commented", is_flag=True, help="Write the commented file, which explains every key.")
@click.option("--ask-sudo", is_flag=True, help="sudo asks for a password on the hosts.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.pass_obj
def command(options: Options, words: tuple[str, ...], commented: bool, ask_sudo: bool, force: bool) -> None:
    """Write a hosts.toml for the given hosts, or a commented one.

    With hosts, it logs in to them as ssh would, by ~/.ssh/config, and proposes what fits them: the segment that they
    share, roles, the NFS server, and a pool of addresses that nobody answers for. It changes nothing on them. Without
    hosts it asks for them, or without a terminal writes the commented file.

    FILE ends in .toml; the default is hosts.toml, or the file given with -f. An existing file is not overwritten.

    Example: provisioner init nuc1 nuc2 admin@192.168.1.12
    """
    hosts = [word for word in words if not _is_file(word)]
    named = [word for word in words if _is_file(word)]
    if len(named) > 1:
        raise ProvisionerError(f"{' and '.join(named)} are both files", "name one FILE; the other words are hosts")
    path = Path(named[0]) if named else options.file
    if commented and hosts:
        raise ProvisionerError(f"--template describes no {hosts[0]}", "leave out --template, or the hosts")
    refuse(path, force=force)
    if not hosts and not commented and sys.stdin.isatty() and sys.stderr.isatty():
        question = "Hosts, as you would ssh to them (Enter: a commented file)"
        hosts = click.prompt(question, default="", err=True, show_default=False).split()
    if hosts:
        content, chosen = propose(options, path, parse(hosts), ask_sudo=ask_sudo)
        write_site(path, content, force=force)
        click.echo("\n".join(chosen))
        click.echo(f"Wrote {path}. Read it before you use it.")
    else:
        write_site(path, template(), force=force)
        click.echo(f"Wrote {path}. Describe your machines in it; its comments explain every key.")
    named_file = "" if path == Path("hosts.toml") else f" -f {path}"
    click.echo(f"Next: {runnable(f'provisioner{named_file} plan')}")


def _is_file(word: str) -> bool:
    return word.endswith(".toml") or "/" in word or (Path(word).is_dir() and "@" not in word)


def parse(hosts: Sequence[str]) -> list[Named]:
    """Return the hosts by name. Raises ProvisionerError for a word that names none, or the same one twice."""
    found: list[Named] = []
    for word in hosts:
        user, _, host = word.rpartition("@")
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.:_-]*[A-Za-z0-9])?", host) or (user and not user.isprintable()):
            raise ProvisionerError(f"{word!r} is no host", "write HOST or USER@HOST, as for ssh")
        if any(one.typed == host for one in found):
            raise ProvisionerError(f"{host} is named twice", "name each host once")
        name = _name(host)
        taken = any(one.name == name for one in found)  # nuc.attic and nuc.cellar
        found.append(Named(f"host{len(found) + 1}" if taken or not name else name, host, user))
    return found


def _name(host: str) -> str:
    """Return a host's name in hosts.toml: the first label of its own, "" for an address."""
    try:
        ip_address(host)
    except ValueError:
        return re.sub(r"[^a-z0-9-]", "-", host.lower().partition(".")[0]).strip("-")
    return ""


def propose(options: Options, path: Path, named: Sequence[Named], *, ask_sudo: bool) -> tuple[str, list[str]]:
    """Return the content of a hosts.toml for these hosts, and lines that say what was chosen and why."""
    with inspecting(options, _provisional(path, named, ask_sudo), FactQuery(disks=(EXPORT,))) as hosts:
        machines = _machines(hosts, named, options.parallel)
        network, places = proposal.segment(machines)
        first, why_first = proposal.control_plane(machines)
        server, why_server = proposal.nfs_server(machines, first, EXPORT)
        asked_by = next(one for one, machine in zip(named, machines, strict=True) if machine.name == first)
        used = _in_use(hosts[asked_by.name], places[first], network)
    addresses = proposal.pool(network, {*used, *_own(places)})
    why = {"nfs": f"{server} has {why_server}.", "pool": _why_pool(network, addresses)}
    content = proposal.render(machines, places, first, server, addresses, ask_sudo=ask_sudo, why=why)
    parse_site(content, path)
    lines = [f"segment        {network}, which all hosts are on"]
    lines += [f"  {name:<12} {place.address} on {place.nic.name}" for name, place in places.items()]
    lines += [f"control plane  {first}: {why_first}", f"NFS server     {server}: {why_server}"]
    lines += [f"pool           {addresses or 'none'}: {why['pool']}"]
    return content, lines


def _why_pool(network: IPv4Network, addresses: str) -> str:
    if not addresses:
        return f"so many addresses of {network} are in use that none are left for external IPs."
    return f"nobody answered for these addresses. {_DHCP}"


def _provisional(path: Path, named: Sequence[Named], ask_sudo: bool) -> Site:
    """Return a site to log in by; the addresses are placeholders (RFC 5737)."""
    lines = ["[ssh]", f'sudo_password = "{"prompt" if ask_sudo else "none"}"', "[nfs]", "enabled = false"]
    lines += ["[metallb]", "enabled = false", "[workloads]", "enabled = []"]
    for number, host in enumerate(named):
        role = "worker" if number else "control-plane"
        lines += ["[[hosts]]", f'name = "{host.name}"', f'address = "198.51.100.{number + 1}"']
        lines += [f'ssh_address = "{host.typed}"', f'roles = ["{role}"]']
        lines += [f'ssh = {{ user = "{host.user}" }}'] if host.user else []
    return parse_site("\n".join(lines), path)


def _machines(hosts: Mapping[str, Host], named: Sequence[Named], limit: int) -> list[Machine]:
    """Return the machines in order. Raises ProvisionerError with a line for each that cannot be logged in to."""

    def look(one: Named) -> Machine | HostError:
        try:
            facts = hosts[one.name].facts
        except HostError as error:
            return error
        # A host that was named by an address is called what it calls itself.
        return Machine(one.name if _name(one.typed) else _name(facts.hostname) or one.name, one.typed, one.user, facts)

    found = parallel(list(named), look, limit)
    failed = [str(error) for error in found if isinstance(error, HostError)]
    if failed:
        raise ProvisionerError("\n".join(failed))
    machines = [one for one in found if isinstance(one, Machine)]
    if len({machine.name for machine in machines}) < len(machines):  # clones with one hostname
        return [replace(machine, name=f"node{number}") for number, machine in enumerate(machines, 1)]
    return machines


def _in_use(host: Host, place: Place, network: IPv4Network) -> set[str]:
    """Return the addresses that a host got an answer for."""
    asked = [address for address in proposal.candidates(network) if address != str(place.address)]
    return set(pool_conflicts.in_use(host, place.nic.name, asked))


def _own(places: Mapping[str, Place]) -> set[str]:
    return {str(place.address) for place in places.values()}
