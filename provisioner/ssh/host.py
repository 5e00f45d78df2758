"""Host: a machine of the site, its facts, and the few ways in which steps act on it."""

from __future__ import annotations

import re
import secrets
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from provisioner.errors import HostError, Unreachable
from provisioner.redact import redact
from provisioner.report import Report
from provisioner.site import HostSpec, Site
from provisioner.ssh import channel, connect, facts_parser, facts_script
from provisioner.ssh.command import PROLOGUE, CommandResult, failure
from provisioner.ssh.facts import FactQuery, HostFacts
from provisioner.ssh.sudo import Sudo
from provisioner.ssh.tunnel import Tunnel

if TYPE_CHECKING:
    from fabric import Connection
    from paramiko import Transport


# sudo says so before every command on a host whose own name does not resolve, and carries on.
_SUDO_NOISE = re.compile(rb"^sudo: unable to resolve host .*\n?", re.MULTILINE)


class Host:
    """A site host and its connection, which opens at first use and may be used from several threads."""

    def __init__(
        self,
        spec: HostSpec,
        site: Site,
        *,
        fleet: Mapping[str, Host],
        report: Report,
        sudo: Sudo,
        query: FactQuery | None = None,
    ) -> None:
        self.spec = spec
        self.site = site
        self.name: str = spec.name
        self.fleet = fleet
        self.report = report
        self.query = query or FactQuery()
        self.step = ""
        self.running_job = ""  # the name of the job under way, which goes on if we end
        self._sudo = sudo
        self._connection: Connection | None = None
        self._connecting = threading.Lock()
        self._facts: HostFacts | None = None
        self._gathering = threading.Lock()
        self.closed = threading.Event()
        self.lock = threading.Lock()  # for what other hosts do through this one, one of them at a time

    def __repr__(self) -> str:
        return f"Host({self.name!r})"

    # --- connection ----------------------------------------------------------------------------------------

    def transport(self) -> Transport:
        """Return the live SSH transport, logging in (again) where there is none; raise Unreachable."""
        with self._connecting:
            if self.closed.is_set():
                raise Unreachable(self.name, "the run was stopped")
            if self._connection is not None and not self._connection.is_connected:
                self._connection.close()
                self._connection = None
            if self._connection is None:
                self._connection = connect.connect(self.site, self.spec, self._tell)
            return cast("Transport", self._connection.transport)

    def _tell(self, sentence: str) -> None:
        self.report.emit("note", f"{self.name}: {sentence}", host=self.name)

    def close(self) -> None:
        """Close the connection for good; commands that run through it end with an error."""
        self.closed.set()
        connection = self._connection
        if connection is not None:
            connection.close()
            if connection.gateway is not None:
                connection.gateway.close()

    # --- facts ---------------------------------------------------------------------------------------------

    @property
    def facts(self) -> HostFacts:
        """What is known of the host: gathered in one round trip at first use, kept until `forget`."""
        with self._gathering:
            if self._facts is None:
                self._facts = self._gather()
            return self._facts

    def reachable_facts(self) -> dict[str, HostFacts]:
        """Return the facts of every host of the fleet that answers, by name.

        One that does not answer and is part of the run stops it by itself; one that is not must not stop the others.
        """
        found = {}
        for name, host in self.fleet.items():
            try:
                found[name] = host.facts
            except Unreachable as error:
                self.report.detail(f"without {name}", str(error))
        return found

    def forget_facts(self) -> None:
        """Drop the facts: the host has changed."""
        with self._gathering:
            self._facts = None

    def _gather(self) -> HostFacts:
        token = facts_parser.new_token()
        sent = time.time()
        output = self._execute(facts_script.script(self.query, token), b"", 120, loggable="(facts)")
        if output.status != 0:
            self._fail("reading facts", output)
        try:
            return facts_parser.parse(self.query, token, output.stdout, sent, output.first)
        except (ValueError, KeyError) as error:
            raise HostError(self.name, f"its facts cannot be read: {error!r}", "see the log") from error

    # --- acting --------------------------------------------------------------------------------------------

    def run(
        self,
        command: str,
        *,
        stdin: str | None = None,
        timeout: float = 60,
        check: bool = True,
        secret: bool = False,
        root: bool = True,
    ) -> CommandResult:
        """Run a shell command by `sh -euc` as root (or, with root=False, as the login user).

        timeout: seconds, scaled by the site; the command is killed on the host then. check: raise HostError when
        it fails. secret: neither command, stdin nor output reach argv, log or errors.
        """
        started = time.monotonic()
        output = self._execute(
            command, (stdin or "").encode(), timeout, root=root, secret=secret, loggable="" if secret else command
        )
        result = CommandResult(
            output.stdout.decode(errors="replace"),
            output.stderr.decode(errors="replace"),
            output.status,
            time.monotonic() - started,
        )
        if check and result.status != 0:
            shown = "(a command with a secret)" if secret else command
            self._fail(shown, output, hide=secret)
        return result

    def put(
        self, path: str, content: str, *, mode: int = 0o644, owner: str = "root:root", secret: bool = False
    ) -> None:
        """Write a file so that a reader or a crash sees the old or the new one, never half; make its folders."""
        body = content.encode()
        place = PurePosixPath(path)
        beside = shlex.quote(str(place.with_name(f".{place.name}.{secrets.token_hex(4)}")))
        folder = shlex.quote(str(place.parent))
        # A connection that breaks ends our stdin early: the size tells a whole file from a part of one.
        command = (
            f"[ -d {folder} ] || mkdir -p {folder}; umask 077; t={beside}; trap 'rm -f \"$t\"' EXIT\n"
            f'cat >"$t"; [ "$(wc -c <"$t")" -eq {len(body)} ]\n'
            f'chown {shlex.quote(owner)} "$t"; chmod {mode:04o} "$t"; sync "$t"\n'
            f'mv -fT "$t" {shlex.quote(path)}; trap - EXIT\n'
        )
        output = self._execute(command, body, 60, loggable=f"(write {path}, {len(body)} bytes)")
        if output.status != 0:
            self._fail(f"write {path}", output, hide=secret)

    def follow(self, name: str, script: str, seconds: float, on_output: Callable[[bytes], None]) -> channel.Output:
        """Run a script that follows something, passing its output on; seconds are real, not scaled."""
        scaled = max(1.0, seconds) / self.site.timeout(1)
        return self._execute(script, b"", scaled, loggable=name, on_output=on_output, kill=False)

    @contextmanager
    def tunnel(self, address: str, port: int) -> Iterator[Tunnel]:
        """Forward a local port on 127.0.0.1 to address:port as seen from the host; give the Tunnel."""
        with Tunnel(self.transport, address, port) as tunnel:
            yield tunnel

    def forward(self, address: str, port: int) -> Tunnel:
        """Return a Tunnel to address:port through the host; the caller closes it."""
        return Tunnel(self.transport, address, port)

    # --- below ---------------------------------------------------------------------------------------------

    def _execute(
        self,
        command: str,
        stdin: bytes,
        timeout: float,
        *,
        root: bool = True,
        secret: bool = False,
        loggable: str = "",
        on_output: Callable[[bytes], None] | None = None,
        kill: bool = True,
    ) -> channel.Output:
        """Run `command` over one channel; log it as `loggable` (with output only if that is the command)."""
        seconds = self.site.timeout(timeout)
        patience = self.site.timeout(self.site.ssh.connect_timeout)
        transport = self.transport()
        prefix, head = self._sudo.prefix(self.spec, transport, patience) if root else ([], b"")
        words = ["timeout", "-k", "10", f"{seconds:.0f}"] if kill else []
        script = PROLOGUE + command
        if secret:
            # Read from stdin, so that it is in no process list; in braces, so that half of it is a syntax error.
            body = f"{{ {script}\n}}".encode()
            head += body
            script = f'eval "$(head -c {len(body)})"'
        line = " ".join([*prefix, *words, "sh", "-euc", shlex.quote(script)])
        started = time.monotonic()
        output: channel.Output | None = None
        try:
            # The host ends the command by itself; our own limit, a little later, is for a host that does not.
            output = channel.execute(
                transport,
                line,
                stdin=head + stdin,
                timeout=seconds + 15 + patience,
                patience=patience,
                on_output=on_output,
            )
        except channel.ConnectionLost as error:
            raise Unreachable(
                self.name,
                f"the connection was lost ({error})",
                "run it again: what was done is kept",
                command=redact(loggable),
            ) from error
        except channel.CommandTimeout as error:
            output = channel.Output(error.stdout, error.stderr, 124, time.time())
        finally:
            whole = loggable == command
            self.report.command(
                self.name,
                loggable or "(a command with a secret)",
                status=output.status if output else None,
                seconds=time.monotonic() - started,
                stdout=output.stdout.decode(errors="replace") if whole and output else "",
                stderr=output.stderr.decode(errors="replace") if not secret and output else "",
            )
        output.stderr = _SUDO_NOISE.sub(b"", output.stderr)
        self._sudo.refused(self.spec, output)
        return output

    def _fail(self, command: str, output: channel.Output, *, hide: bool = False) -> None:
        text = b"" if hide else output.stdout + (b"\n" if output.stdout and output.stderr else b"") + output.stderr
        raise failure(self.name, command, output.status, text.decode(errors="replace"))


def fleet(
    site: Site, report: Report | None = None, query: FactQuery | None = None, sudo: Sudo | None = None
) -> dict[str, Host]:
    """Return every host of a site by name, not yet connected; a sudo password is asked for at first need."""
    report = report or Report()
    sudo = sudo or Sudo(site)
    hosts: dict[str, Host] = {}
    for spec in site.hosts:
        hosts[spec.name] = Host(spec, site, fleet=hosts, report=report, sudo=sudo, query=query)
    return hosts


def close(hosts: Mapping[str, Host]) -> None:
    """Close all connections."""
    for host in hosts.values():
        host.close()
