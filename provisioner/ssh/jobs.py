"""Jobs: long commands on a host that outlive us.

A wrapper runs the command on the host, detached (a transient systemd service, or a session of its own where
there is no systemd), and holds a file lock while it lives: the lock is the kernel's, so no crash leaves it behind,
and the command's own children do not inherit it. We follow the output with tail and come back when the connection
breaks; if we are killed, the next run sees the lock held and waits.

    /run/provisioner/busy             locked while something runs; holds "NAME ID"
    /run/provisioner/NAME.ID/         script, wrapper, log, pid, and rc when it has ended
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
from provisioner.ssh.command import PROLOGUE, CommandResult, failure
from provisioner.ssh.host import Host

DIRECTORY = "/run/provisioner"
RETRY = 2.0  # seconds between attempts to log in again, where the host refuses at once

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

# Opening a FIFO read-write never blocks, whichever side comes first or has died meanwhile.
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
said=$(timeout {patience:.0f} head -n 1 <&8) || said=silent
exec 8<&-
if [ "$said" = busy ] && [ ! -e pid ]; then echo "busy $(cat ../busy)" >&2; rm -rf {directory}; exit 0; fi
if [ "$said" = silent ]; then echo "it did not start" >&2; exit 1; fi
}}
"""

# The outcome is the last line of stderr: "exit N", "gone" (the wrapper was killed, the host rebooted) or "busy WHAT".
_FOLLOW = r"""cd {directory} 2>/dev/null || {{ echo gone >&2; exit 0; }}
tail -c +{start} -s 0.3 -f --pid="$(cat pid)" log
if [ -e rc ]; then echo "exit $(cat rc)" >&2; else echo gone >&2; fi
"""

_BUSY = rf"""[ -e {DIRECTORY}/busy ] || exit 0
flock -n {DIRECTORY}/busy true && exit 0
cat {DIRECTORY}/busy
"""


def run(host: Host, name: str, command: str, *, timeout: float) -> CommandResult:
    """Run a long command that changes the host and outlives this process and its connection.

    It runs detached; its last output line goes to the report; a broken connection is made again and the command
    followed further. timeout: seconds, scaled by the site; its process group is killed on the host then. Output
    (stdout and stderr together) is in `stdout`. One at a time on a host.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise ValueError(f"a job's name goes into file and unit names: {name!r}")
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
        patience=host.site.timeout(60),
    )
    started = time.monotonic()
    host.report.detail(f"start   {host.name}: {name}", command)
    host.running_job = name
    text, outcome = _follow(host, name, directory, start, seconds + 60)
    host.running_job = ""
    word, _, detail = outcome.partition(" ")
    if word == "busy":
        holder = detail.split(" ")[0] or "another command"
        raise HostError(host.name, f"is still busy with {holder}", "wait for it, then run again")
    if word == "gone":
        raise HostError(
            host.name,
            f"`{name}` was killed on the host, or the host was rebooted",
            "run again: it starts over where it has to",
            command=redact(command),
            tail=redact(text.stdout[-2000:]),
        )
    if word != "exit":
        raise failure(host.name, f"start {name}", 1, text.stdout + outcome)
    status = int(detail)
    if status != 0:
        raise failure(host.name, command, status, text.stdout)
    return CommandResult(text.stdout, "", status, time.monotonic() - started)


def busy(host: Host) -> str:
    """Return the name of what runs on the host, empty for nothing."""
    return _busy(host)[0]


def wait_idle(host: Host, timeout: float) -> str:
    """Follow what an earlier run left running until it ends; return its name."""
    name, identity = _busy(host)
    if not name:
        return ""
    host.report.emit("output", f"waiting for {name}, which an earlier run started", host=host.name, step=host.step)
    _follow(host, name, f"{DIRECTORY}/{name}.{identity}", "", host.site.timeout(timeout))
    if still := busy(host):
        raise HostError(host.name, f"{still}, which an earlier run started, does not end", "look at it with: ps -ef f")
    return name


def _busy(host: Host) -> tuple[str, str]:
    name, _, identity = host.run(_BUSY).stdout.strip().partition(" ")
    return name, identity


class _Text:
    """Output as it arrives: bytes counted for coming back, lines passed on to the report."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line = ""
        self.received = 0
        self.stdout = ""

    def add(self, piece: bytes) -> None:
        self.received += len(piece)
        text = self._decoder.decode(piece)
        self.stdout += text
        *lines, self._line = re.split(r"[\r\n]+", self._line + text)
        for line in lines:
            if line.strip():
                self._host.report.emit("output", line.rstrip(), host=self._host.name, step=self._host.step)


def _follow(host: Host, name: str, directory: str, start: str, seconds: float) -> tuple[_Text, str]:
    """Start (unless started already) and follow until it ends, coming back when the connection breaks.

    Returns the output and the outcome (see _FOLLOW).
    """
    text = _Text(host)
    deadline = time.monotonic() + seconds
    while True:
        follow = _FOLLOW.format(directory=shlex.quote(directory), start=text.received + 1)
        try:
            output = host.follow(f"job {name}", start + follow, deadline - time.monotonic(), text.add)
        except connect.LoginRefused:
            raise
        except Unreachable as error:
            if time.monotonic() >= deadline or host.closed.is_set():
                raise
            host.report.emit("output", f"{error.message}; {name} goes on there", host=host.name, step=host.step)
            host.closed.wait(RETRY)
            continue
        said = output.stderr.decode(errors="replace").strip()
        return text, said if output.status else said.rpartition("\n")[2]
