"""Jobs: long commands on a host that survive the loss of the connection and the death of this process.

A wrapper runs the command detached on the host (as a transient systemd service, or in a new session without
systemd) and holds a file lock while it runs. The kernel releases the lock when the wrapper dies, and the command's
children do not inherit it. We follow the output with tail and reconnect when the connection breaks; if we are killed,
the next run finds the lock held and waits.

    /run/provisioner/busy             locked while a job runs; contains "NAME ID"
    /run/provisioner/NAME.ID/         script, wrapper, log, pid, and rc after the job has ended
"""

from __future__ import annotations

import codecs
import re
import secrets
import shlex
import time

from provisioner.errors import HostError, Unreachable
from provisioner.redact import redact
from provisioner.ssh import connect
from provisioner.ssh.command import CommandResult, failure
from provisioner.ssh.host import Host
from provisioner.ssh.shell import PROLOGUE

DIRECTORY = "/run/provisioner"
RETRY_DELAY = 2.0  # seconds between attempts to reconnect
MAX_KEPT = 4 * 1024 * 1024  # characters of a job's output that its result holds at least
MAX_REPORTED = 4 * 1024 * 1024  # characters of it that are shown and logged
MAX_LINE = 16 * 1024

_WRAPPER = r"""umask 077
cd {directory} || exit 1
exec 9>>../busy
flock -w 2 9 || {{ echo busy 1<>ready; exit 75; }}
printf '%s\n' '{name} {id}' >../busy
for old in ../*/rc; do if [ -e "$old" ]; then rm -rf "${{old%/rc}}"; fi; done
echo $$ >pid
: >log
echo started 1<>ready
export HOME=/root
timeout -k 30 {seconds:.0f} sh -eu ./script >>log 2>&1 </dev/null 9>&-
echo $? >rc.new
mv rc.new rc
: >../busy
"""

# Opening a FIFO read-write never blocks, whichever side opens it first or has died.
_START = r"""umask 077
mkdir -p {parent}
[ -e {directory}/pid ] || {{
mkdir -p {directory}
cd {directory}
cat >script <<'{mark}'
{script}
{mark}
cat >wrapper <<'{mark}'
{wrapper}{mark}
[ -p ready ] || mkfifo ready
exec 8<>ready
if [ -d /run/systemd/system ]; then
  systemd-run --quiet --collect --unit=provisioner-{name}-{id} /bin/sh {directory}/wrapper 8<&-
else
  setsid sh {directory}/wrapper </dev/null >/dev/null 2>&1 8<&- &
fi
reply=$(timeout {start_timeout:.0f} head -n 1 <&8) || reply=none
exec 8<&-
if [ "$reply" = busy ] && [ ! -e pid ]; then echo "busy $(cat ../busy)" >&2; rm -rf {directory}; exit 0; fi
if [ "$reply" = none ]; then echo "it did not start" >&2; exit 1; fi
}}
"""

# The outcome is the last line of stderr: "exit N", "gone" (wrapper killed or host rebooted) or "busy NAME ID".
_FOLLOW = r"""cd {directory} 2>/dev/null || {{ echo gone >&2; exit 0; }}
tail -c +{start} -s 0.3 -f --pid="$(cat pid)" log
if [ -e rc ]; then echo "exit $(cat rc)" >&2; else echo gone >&2; fi
"""

_BUSY = rf"""[ -e {DIRECTORY}/busy ] || exit 0
flock -n {DIRECTORY}/busy true && exit 0
cat {DIRECTORY}/busy
"""


def run(host: Host, name: str, command: str, *, timeout: float) -> CommandResult:
    """Run a long command on a host, detached, and wait for it; it survives this process and its connection.

    Each output line goes to the report; after a lost connection we reconnect and follow on. timeout: seconds, scaled
    by the site, after which the command's process group is killed on the host. The result's `stdout` holds stdout and
    stderr. A host runs one job at a time; HostError if it is busy.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise ValueError(f"not usable in file and unit names: {name!r}")
    identity = secrets.token_hex(4)
    directory = f"{DIRECTORY}/{name}.{identity}"
    seconds = host.site.timeout(timeout)
    wrapper = _WRAPPER.format(directory=directory, name=name, id=identity, seconds=seconds)
    start = _START.format(
        parent=DIRECTORY,
        directory=directory,
        mark=f"END-{secrets.token_hex(8)}",
        script=PROLOGUE + command,
        wrapper=wrapper,
        name=name,
        id=identity,
        start_timeout=host.site.timeout(60),
    )
    started = time.monotonic()
    host.report.detail(f"start   {host.name}: {name}", command)
    host.running_job = name
    stream, outcome = _follow(host, name, directory, start, seconds + 60)
    host.running_job = ""
    word, _, detail = outcome.partition(" ")
    if word == "busy":
        holder = detail.split(" ")[0] or "another command"
        raise HostError(host.name, f"still busy with {holder}", "wait until it ends, then run again")
    if word == "gone":
        raise HostError(
            host.name,
            f"`{name}` was killed on the host, or the host rebooted",
            "run again; only what is missing is done",
            command=redact(command),
            tail=redact(stream.stdout[-2000:]),
        )
    if word != "exit":
        raise failure(host.name, f"start {name}", 1, stream.stdout + outcome)
    status = int(detail)
    if status != 0:
        raise failure(host.name, command, status, stream.stdout, title=name)
    return CommandResult(stream.stdout, "", status, time.monotonic() - started)


def busy(host: Host) -> str:
    """Return the name of the job running on the host, or an empty string."""
    return _running(host)[0]


def wait_idle(host: Host, timeout: float) -> str:
    """Follow a job left by an earlier run until it ends; return its name."""
    name, identity = _running(host)
    if not name:
        return ""
    host.report.emit("output", f"waiting for {name}, started by an earlier run", host=host.name, step=host.step)
    _follow(host, name, f"{DIRECTORY}/{name}.{identity}", "", host.site.timeout(timeout))
    if still := busy(host):
        raise HostError(
            host.name,
            f"{still}, started by an earlier run, is still running",
            f"inspect it: provisioner ssh {host.name} -- ps -ef f",
        )
    return name


def _running(host: Host) -> tuple[str, str]:
    name, _, identity = host.run(_BUSY).stdout.strip().partition(" ")
    return name, identity


class _OutputStream:
    """Output as it arrives: counts bytes for resuming, passes complete lines to the report, keeps the last MAX_KEPT.

    Of a job that prints without end, the report gets MAX_REPORTED and a sentence about it; the job goes on.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line = ""
        self._reported = 0
        self.received = 0
        self.stdout = ""

    def add(self, piece: bytes) -> None:
        self.received += len(piece)
        text = self._decoder.decode(piece)
        self.stdout += text
        if len(self.stdout) > 2 * MAX_KEPT:
            self.stdout = self.stdout[-MAX_KEPT:]
        *lines, self._line = re.split(r"[\r\n]+", self._line + text)
        if len(self._line) > MAX_LINE:
            lines.append(self._line)
            self._line = ""
        for line in lines:
            if line.strip():
                self._report(line.rstrip())

    def _report(self, line: str) -> None:
        if self._reported > MAX_REPORTED:
            return
        self._reported += len(line)
        if self._reported > MAX_REPORTED:
            line = f"(printed more than {MAX_REPORTED // 2**20} MiB; the rest is not shown)"
        self._host.report.emit("output", line[:MAX_LINE], host=self._host.name, step=self._host.step)


def _follow(host: Host, name: str, directory: str, start: str, seconds: float) -> tuple[_OutputStream, str]:
    """Run the start script, then follow the job until it ends, reconnecting when the connection breaks.

    Returns the output and the outcome (see _FOLLOW).
    """
    stream = _OutputStream(host)
    deadline = time.monotonic() + seconds
    while True:
        follow = _FOLLOW.format(directory=shlex.quote(directory), start=stream.received + 1)
        try:
            output = host.follow(f"job {name}", start + follow, deadline - time.monotonic(), stream.add)
        except connect.LoginRefused:
            raise
        except Unreachable as error:
            if time.monotonic() >= deadline or host.closed.is_set():
                raise
            host.report.emit(
                "output", f"{error.message}; {name} is still running there", host=host.name, step=host.step
            )
            host.closed.wait(RETRY_DELAY)
            continue
        stderr = output.stderr.decode(errors="replace").strip()
        return stream, stderr if output.status else stderr.rpartition("\n")[2]
