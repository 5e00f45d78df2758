"""How commands become root's: no password where sudo wants none, else one password over stdin, never in argv."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.errors import HostError, ProvisionerError
from provisioner.redact import hide
from provisioner.site import HostSpec, Site
from provisioner.ssh import channel, connect

if TYPE_CHECKING:
    from paramiko import Transport


_REMEDY = (
    'set sudo_password under [ssh] to "prompt", "env:NAME" or "file:PATH", or allow the user sudo without a password'
)


class _WrongPassword(HostError):
    pass


class Sudo:
    """The site's sudo password, asked for once for all hosts, and which hosts want it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._password: str | None = None
        self._wanted: dict[str, bool] = {}
        self._wrong: dict[str, HostError] = {}

    def prompt(self) -> None:
        """Ask for the password now, if it is to be asked for at all."""
        users = {connect.login(self._site, spec).user for spec in self._site.hosts}
        if self._site.ssh.sudo_password == "prompt" and users != {"root"}:
            self._get()

    def prefix(self, spec: HostSpec, transport: Transport, patience: float) -> tuple[list[str], bytes]:
        """Return the words before a command, and what sudo reads from stdin before the command does.

        Where a password is configured, one extra round trip per host finds out whether sudo wants it (it is sent
        only then, or the command would read it) and whether it is right, with a single attempt.
        """
        if connect.login(self._site, spec).user == "root":
            return [], b""
        if self._site.ssh.sudo_password == "none":
            return ["LC_ALL=C", "sudo", "-n", "--"], b""
        password = self._get()
        if spec.name in self._wrong:
            raise self._wrong[spec.name]  # asking again would count as one more failure against the account
        wanted = self._wanted.get(spec.name)
        if wanted is None:
            try:
                wanted = self._wanted[spec.name] = self._ask(spec, transport, password, patience)
            except _WrongPassword as error:
                self._wrong[spec.name] = error
                raise
        if not wanted:
            return ["LC_ALL=C", "sudo", "-n", "--"], b""
        return ["LC_ALL=C", "sudo", "-k", "-S", "-p", "''", "--"], password.encode() + b"\n"

    def _ask(self, spec: HostSpec, transport: Transport, password: str, patience: float) -> bool:
        command = "export LC_ALL=C; sudo -kn true 2>/dev/null && echo free || sudo -k -S -p '' true"
        try:
            # Nothing follows the password: sudo's second attempt meets end-of-file, so one attempt is counted.
            output = channel.execute(
                transport, command, stdin=password.encode() + b"\n", timeout=30 + patience, patience=patience
            )
        except (channel.ConnectionLost, channel.CommandTimeout) as error:
            raise HostError(spec.name, f"sudo does not answer ({error})", "check sudo on the host") from error
        self.refused(spec, output)
        if output.status != 0:
            raise _WrongPassword(
                spec.name,
                "sudo refuses the password given" if password else "needs a sudo password, and none was given",
                f'check it (sudo_password = "{self._site.ssh.sudo_password}" under [ssh])',
                tail=output.stderr.decode(errors="replace").strip(),
            )
        return output.stdout.strip() != b"free"

    def refused(self, spec: HostSpec, output: channel.Output) -> None:
        """Raise HostError when what a command said is sudo's refusal to run it."""
        if output.status not in (1, 127):
            return
        said = output.stderr.decode(errors="replace")
        if "sudo: a password is required" in said or "sudo: a terminal is required" in said:
            raise HostError(spec.name, "needs a sudo password", _REMEDY)
        if "is not in the sudoers file" in said or "may not run sudo" in said:
            user = connect.login(self._site, spec).user
            raise HostError(spec.name, f"{user} may not use sudo", "add the user to the group sudo, or log in as root")
        if output.status == 127 and "sudo: " in said and "not found" in said:
            raise HostError(spec.name, "has no sudo", 'install it, or set user = "root" under [ssh]')

    def _get(self) -> str:
        with self._lock:
            if self._password is None:
                self._password = read_password(self._site.ssh.sudo_password, self._site.directory)
                hide(self._password)
            return self._password


def read_password(source: str, directory: Path) -> str:
    """Return the password from its source: "prompt", "env:NAME" or "file:PATH" (relative to hosts.toml)."""
    if source == "prompt":
        import click

        if not sys.stdin.isatty():
            raise ProvisionerError(
                "there is no terminal to ask for the sudo password on",
                'set sudo_password to "env:NAME" or "file:PATH" under [ssh]',
            )
        return str(click.prompt("sudo password for the hosts", hide_input=True, err=True))
    kind, _, value = source.partition(":")
    if kind == "env":
        if value not in os.environ:
            raise ProvisionerError(f"the sudo password should be in ${value}, which is not set", f"export {value}")
        return os.environ[value]
    path = directory / Path(value).expanduser()
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ProvisionerError(f"others may read the sudo password in {path}", f"chmod 600 {path}")
        return path.read_text().rstrip("\n")
    except OSError as error:
        raise ProvisionerError(f"cannot read the sudo password from {path}: {error.strerror}") from error
