"""Run commands as root: without a password if sudo needs none, else with one sent over stdin, never in argv."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.errors import HostError, ProvisionerError
from provisioner.redact import hide
from provisioner.ssh import channel, refusals, shell
from provisioner.ssh.login import login

if TYPE_CHECKING:
    from paramiko import Transport

    from provisioner.site import HostSpec, Site


_WITHOUT_PASSWORD = ("env", "LC_ALL=C", "sudo", "-n", "--")  # csh has no assignments before a command


class _WrongPassword(HostError):
    pass


class Sudo:
    """The site's sudo password, read once for all hosts, and which hosts need it.

    prompt: reads the password from the terminal for sudo_password = "prompt"; None if there is no terminal.
    """

    def __init__(self, site: Site, prompt: Callable[[], str] | None = None) -> None:
        self._site = site
        self._prompt = prompt
        self._lock = threading.Lock()
        self._password: str | None = None
        self._needs_password: dict[str, bool] = {}
        self._rejected: dict[str, HostError] = {}

    def prompt_early(self) -> None:
        """Prompt for the password now if any host will need it, rather than in the middle of the output."""
        users = {login(self._site, spec).user for spec in self._site.hosts}
        if self._site.ssh.sudo_password == "prompt" and users != {"root"}:
            self._read()

    def prefix(self, spec: HostSpec, transport: Transport, reply_timeout: float) -> tuple[tuple[str, ...], bytes]:
        """Return the words to put before a command and the bytes to put before its stdin.

        If a password is configured, one extra round trip per host finds out whether sudo needs it (if it does not,
        the command would read it instead) and whether it is correct, in a single attempt.
        """
        if login(self._site, spec).user == "root":
            return (), b""
        if self._site.ssh.sudo_password == "none":
            return _WITHOUT_PASSWORD, b""
        password = self._read()
        if spec.name in self._rejected:
            raise self._rejected[spec.name]  # another attempt would count as one more failed login
        needed = self._needs_password.get(spec.name)
        if needed is None:
            try:
                needed = self._needs_password[spec.name] = self._try(spec, transport, password, reply_timeout)
            except _WrongPassword as error:
                self._rejected[spec.name] = error
                raise
        if not needed:
            return _WITHOUT_PASSWORD, b""
        return ("env", "LC_ALL=C", "sudo", "-k", "-S", "-p", "''", "--"), password.encode() + b"\n"

    def _try(self, spec: HostSpec, transport: Transport, password: str, reply_timeout: float) -> bool:
        """Return whether sudo needs the password; raise _WrongPassword if it rejects it."""
        line = shell.line("sudo -kn true 2>/dev/null && echo free || sudo -k -S -p '' true")
        try:
            # Nothing follows the password: sudo's second attempt reads end-of-file, so that one failure is counted.
            output = channel.execute(
                transport,
                line.text,
                stdin=password.encode() + b"\n",
                timeout=30 + reply_timeout,
                reply_timeout=reply_timeout,
                marker=line.marker,
            )
        except channel.CommandTimeout as error:
            raise HostError(
                spec.name,
                "sudo does not respond",
                f"try it: provisioner ssh {spec.name} -- sudo -n true; it may wait for a name or directory service",
            ) from error
        if output.status == 0:
            return output.stdout.strip() != b"free"
        said = output.stderr if output.started else output.noise
        if not output.started or not refusals.REJECTED.search(said.decode(errors="replace")):
            # With an empty password sudo-rs and sudo both end by asking for one.
            raise self.refusal(spec, said, output.status)
        raise _WrongPassword(
            spec.name,
            "sudo rejected the password" if password else "sudo needs a password, and the one given is empty",
            f'check it (sudo_password = "{self._site.ssh.sudo_password}" under [ssh])',
            tail=said.decode(errors="replace").strip(),
        )

    def refusal(self, spec: HostSpec, said: bytes, status: int, *, timed_out: bool = False) -> HostError:
        """Return the error for a command that never began. said: what login shell and sudo printed instead."""
        user = login(self._site, spec).user
        return refusals.explain(spec.name, user, said, status, timed_out=timed_out)

    def _read(self) -> str:
        with self._lock:
            if self._password is None:
                self._password = read_password(self._site.ssh.sudo_password, self._site.directory, self._prompt)
                hide(self._password)
            return self._password


def read_password(source: str, directory: Path, prompt: Callable[[], str] | None = None) -> str:
    """Return the password from its source: "prompt", "env:NAME" or "file:PATH" (relative to hosts.toml)."""
    if source == "prompt":
        if prompt is None:
            raise ProvisionerError(
                "cannot prompt for the sudo password without a terminal",
                'set sudo_password to "env:NAME" or "file:PATH" under [ssh]',
            )
        return prompt()
    kind, _, value = source.partition(":")
    if kind == "env":
        if value not in os.environ:
            raise ProvisionerError(f"the sudo password is read from ${value}, which is not set", f"export {value}")
        return os.environ[value]
    path = directory / Path(value).expanduser()
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ProvisionerError(f"the sudo password file {path} is accessible by others", f"chmod 600 {path}")
        return path.read_text().rstrip("\n")
    except OSError as error:
        raise ProvisionerError(f"cannot read the sudo password from {path}: {error.strerror}") from error
