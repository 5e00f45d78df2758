"""A machine of the site: its connection, its facts, and the operations that steps use on it."""

from __future__ import annotations

import secrets
import shlex
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from provisioner.errors import HostError, Unreachable
from provisioner.redact import redact
from provisioner.report import Report
from provisioner.ssh import channel, connect, facts_parser, facts_script, shell
from provisioner.ssh.command import CommandResult, failure
from provisioner.ssh.connections import Connections
from provisioner.ssh.facts import FactQuery, HostFacts
from provisioner.ssh.sudo import Sudo
from provisioner.ssh.tunnel import Tunnel

if TYPE_CHECKING:
    from paramiko import Transport

    from provisioner.site import HostSpec, Site


# What parsing the output of a damaged or malicious host can raise.
_MALFORMED = (
    ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, EOFError, tarfile.TarError,
)  # fmt: skip


class Host:
    """A host of the site; its connection opens at first use and is safe to use from several threads."""

    def __init__(
        self,
        spec: HostSpec,
        site: Site,
        *,
        fleet: Mapping[str, Host],
        report: Report,
        sudo: Sudo,
        query: FactQuery | None = None,
        jumps: connect.Jumps | None = None,
    ) -> None:
        self.spec = spec
        self.site = site
        self.name: str = spec.name
        self.fleet = fleet
        self.report = report
        self.query = query or FactQuery()
        self.step = ""
        self.running_job = ""  # the name of the job that is running, which outlives this process
        self._sudo = sudo
        self._connections = Connections(site, spec, self._notify, jumps)
        self._facts: HostFacts | None = None
        self._outputs: dict[str, str] = {}  # of `read`, by script
        self._facts_lock = threading.Lock()
        self.closed = self._connections.closed
        self.lock = threading.Lock()  # serializes what other hosts do through this one

    def __repr__(self) -> str:
        return f"Host({self.name!r})"

    # --- connection ----------------------------------------------------------------------------------------

    def transport(self) -> Transport:
        """Return the live SSH transport, logging in again if necessary; raise Unreachable."""
        return self._connections.transport()

    def _notify(self, sentence: str) -> None:
        self.report.emit("note", f"{self.name}: {sentence}", host=self.name)

    def close(self) -> None:
        """Close the connection for good; commands still running on it fail."""
        self._connections.close()

    # --- facts ---------------------------------------------------------------------------------------------

    @property
    def facts(self) -> HostFacts:
        """The host's facts: read in one round trip at first use, cached until `forget_facts`."""
        with self._facts_lock:
            if self._facts is None:
                self._facts = self._read_facts()
            return self._facts

    def reachable_facts(self) -> dict[str, HostFacts]:
        """Return the facts of every reachable host of the fleet, by name.

        An unreachable host that is part of the run fails on its own; one that is not must not fail the others.
        """
        facts = {}
        for name, host in self.fleet.items():
            try:
                facts[name] = host.facts if host is self else host._facts_for_others()
            except Unreachable as error:
                self.report.detail(f"without {name}", str(error))
        return facts

    def _facts_for_others(self) -> HostFacts:
        """Return the facts; raise Unreachable at once if the last login failed, which took the whole timeout."""
        with self._facts_lock:
            if self._facts is None and self._connections.out_of_reach is not None:
                raise self._connections.out_of_reach
            if self._facts is None:
                self._facts = self._read_facts()
            return self._facts

    def forget_facts(self) -> None:
        """Drop the cached facts after a change to the host."""
        with self._facts_lock:
            self._facts = None
            self._outputs.clear()

    def read(self, script: str) -> str:
        """Return the output of a script that changes nothing; read once, like the facts, until `forget_facts`."""
        with self._facts_lock:
            if script not in self._outputs:
                self._outputs[script] = self.run(script).stdout
            return self._outputs[script]

    def _read_facts(self) -> HostFacts:
        token = facts_parser.new_token()
        sent = time.time()
        output = self._execute(facts_script.script(self.query, token), b"", 120, loggable="(facts)")
        if output.status != 0:
            self._fail("reading facts", output)
        try:
            return facts_parser.parse(self.query, token, output.stdout, sent, output.first_output_at)
        except _MALFORMED as error:
            detail = str(error) or type(error).__name__
            raise HostError(
                self.name,
                f"its answer to the script that reads its state makes no sense ({redact(detail)})",
                f"see whether its tools are sound: provisioner ssh {self.name} -- 'ip -j address; df -m; systemctl'",
            ) from error

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
        """Run a shell command with `sh -euc` as root (or, with root=False, as the login user).

        timeout: seconds, scaled by the site, after which the command is killed on the host. check: raise HostError
        if it fails. secret: keep command, stdin and output out of argv, log and errors.
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
        """Replace a file atomically, creating its parent folders: a crash leaves the old file or the new one."""
        body = content.encode()
        place = PurePosixPath(path)
        temporary = shlex.quote(str(place.with_name(f".{place.name}.{secrets.token_hex(4)}")))
        folder = shlex.quote(str(place.parent))
        # A broken connection ends stdin early: the size check detects a truncated file.
        command = (
            f"[ -d {folder} ] || mkdir -p {folder}; umask 077; t={temporary}; trap 'rm -f \"$t\"' EXIT\n"
            f'cat >"$t"; [ "$(wc -c <"$t")" -eq {len(body)} ]\n'
            f'chown {shlex.quote(owner)} "$t"; chmod {mode:04o} "$t"; sync "$t"\n'
            f'mv -fT "$t" {shlex.quote(path)}; trap - EXIT\n'
        )
        output = self._execute(command, body, 60, loggable=f"(write {path}, {len(body)} bytes)")
        if output.status != 0:
            self._fail(f"write {path}", output, hide=secret)

    def follow(self, name: str, script: str, seconds: float, on_output: Callable[[bytes], None]) -> channel.Output:
        """Run a script that follows another process, passing on its output. seconds: real time, not scaled."""
        scaled = max(1.0, seconds) / self.site.timeout(1)
        return self._execute(script, b"", scaled, loggable=name, on_output=on_output, kill=False)

    @contextmanager
    def tunnel(self, address: str, port: int) -> Iterator[Tunnel]:
        """Forward a local port to address:port as seen from the host, for the duration of the context."""
        with Tunnel(self.transport, address, port) as tunnel:
            yield tunnel

    def forward(self, address: str, port: int) -> Tunnel:
        """Forward a local port to address:port as seen from the host; the caller closes the Tunnel."""
        return Tunnel(self.transport, address, port)

    # --- internals -------------------------------------------------------------------------------------------

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
        """Run `command` over one channel; log it as `loggable`, with its stdout only if the two are equal."""
        seconds = self.site.timeout(timeout)
        reply_timeout = self.site.timeout(self.site.ssh.connect_timeout)
        words = ("timeout", "-k", "10", f"{seconds:.0f}") if kill else ()
        script = command
        body = b""
        if secret:
            # From stdin, to keep it out of process lists; in braces, so that half of it is a syntax error.
            body = f"{{ {command}\n}}".encode()
            script = f'eval "$(head -c {len(body)})"'

        def send(transport: Transport) -> channel.Output:
            prefix, head = self._sudo.prefix(self.spec, transport, reply_timeout) if root else ((), b"")
            line = shell.line(script, (*prefix, *words))
            # timeout(1) on the host kills the command; our own, later timeout is for a host that fails to.
            return channel.execute(
                transport,
                line.text,
                stdin=head + body + stdin,
                timeout=seconds + 15 + reply_timeout,
                reply_timeout=reply_timeout,
                marker=line.marker,
                on_output=on_output,
            )

        started = time.monotonic()
        output: channel.Output | None = None
        try:
            output = self._connections.run(send)
        except channel.ConnectionLost as error:
            raise Unreachable(
                self.name,
                f"the connection was lost ({error})",
                "run it again; completed changes are kept",
                command=redact(loggable),
            ) from error
        except channel.OutputTooLarge as error:
            raise HostError(
                self.name,
                f"a command printed more than {channel.MAX_OUTPUT // 2**20} MiB",
                f"see why on the host: provisioner ssh {self.name}",
                command=redact(loggable),
            ) from error
        except channel.CommandTimeout as error:
            output = error.output
        finally:
            logs_output = loggable == command
            self.report.command(
                self.name,
                loggable or "(a command with a secret)",
                status=output.status if output else None,
                seconds=time.monotonic() - started,
                stdout=output.stdout.decode(errors="replace") if logs_output and output else "",
                stderr=output.stderr.decode(errors="replace") if not secret and output else "",
            )
        if not output.started:
            raise self._sudo.refusal(self.spec, output.noise, output.status, timed_out=output.status == 124)
        return output

    def _fail(self, command: str, output: channel.Output, *, hide: bool = False) -> None:
        text = b"" if hide else output.stdout + (b"\n" if output.stdout and output.stderr else b"") + output.stderr
        raise failure(self.name, command, output.status, text.decode(errors="replace"))


def fleet(
    site: Site, report: Report | None = None, query: FactQuery | None = None, sudo: Sudo | None = None
) -> dict[str, Host]:
    """Return every host of a site by name, not yet connected; the sudo password is read when first needed."""
    report = report or Report()
    sudo = sudo or Sudo(site)
    hosts: dict[str, Host] = {}
    jumps = connect.Jumps()
    for spec in site.hosts:
        hosts[spec.name] = Host(spec, site, fleet=hosts, report=report, sudo=sudo, query=query, jumps=jumps)
    return hosts


def close(hosts: Mapping[str, Host]) -> None:
    """Close all connections."""
    for host in hosts.values():
        host.close()
