"""The lock that keeps two runs apart: a file on the first control plane, with its holder and a time to live.

The lock survives the SSH connection and this process, and expires unless refreshed. A holder on this machine that has
died is recognized at once. Times are by the host's clock, since clocks differ.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from provisioner.errors import HostError, Locked, ProvisionerError
from provisioner.ssh import Host

TTL = 60.0  # seconds after the last refresh until a lock expires; scaled by the site
DIRECTORY = "/var/lib/provisioner"


@dataclass(frozen=True)
class Holder:
    """The run that holds a lock. machine: machine ID; boot: boot ID; pids: PID namespace; started: process start."""

    user: str
    hostname: str
    machine: str
    boot: str
    pids: str
    pid: int
    started: str
    id: str
    command: str
    since: int
    ttl: float

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since).strftime("%H:%M:%S")
        return f"{self.user}@{self.hostname} (pid {self.pid}, `{self.command}`, since {since})"


@dataclass(frozen=True)
class HeldLock:
    """A lock as read from the host. text: the file's content; age: seconds since its last refresh."""

    holder: Holder | None
    text: str
    age: float

    @property
    def expires_in(self) -> float:
        """Seconds until the lock expires, negative after that."""
        return (self.holder.ttl if self.holder else TTL) - self.age


def this_process(command: str, ttl: float) -> Holder:
    """Return this process as the holder of a new lock."""
    return Holder(
        user=os.environ.get("USER") or f"uid {os.getuid()}",
        hostname=socket.gethostname(),
        machine=_read("/etc/machine-id"),
        boot=_read("/proc/sys/kernel/random/boot_id"),
        pids=_pid_namespace(),
        pid=os.getpid(),
        started=process_start(os.getpid()) or "",
        id=secrets.token_hex(8),
        command=command,
        since=int(time.time()),
        ttl=ttl,
    )


def can_take_over(held: HeldLock, holder: Holder, start_of: Callable[[int], str | None]) -> bool:
    """Return whether `holder` may take over a lock: it has expired, or the process that held it has died.

    start_of: returns the start time of a process on this machine by PID, None if it does not exist.
    """
    if held.expires_in <= 0:
        return True
    other = held.holder
    if other is None or (other.hostname, other.machine) != (holder.hostname, holder.machine):
        return False
    if other.boot != holder.boot:
        return True  # this machine has rebooted
    if other.pids != holder.pids:
        return False  # another container on this machine, whose processes are not visible
    return start_of(other.pid) != other.started


def process_start(pid: int) -> str | None:
    """Return the start time of a process on this machine, as the kernel prints it; None if it does not exist."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            return stat.read_text().rpartition(")")[2].split()[19]  # proc(5): field 22, starttime
        except (FileNotFoundError, ProcessLookupError):
            return None
    listing = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listing.stdout.strip() or None


@contextmanager
def acquire(host: Host, command: str) -> Iterator[Callable[[], None]]:
    """Hold the lock for the duration of the context; raise Locked if another run holds it.

    The context's value is a function that raises Locked once the lock is lost.
    """
    holder = this_process(command, host.site.timeout(TTL))
    _acquire(host, holder)
    refresher = _Refresher(host, holder)
    refresher.start()
    try:
        yield refresher.ensure_held
    finally:
        refresher.stop()


def read(host: Host) -> HeldLock | None:
    """Return the current lock, or None."""
    return _parse(_script(host, "show"))


def remove(host: Host, lock: HeldLock) -> bool:
    """Remove the lock if it is still the given one; return whether it was."""
    return _script(host, "swap", expected=lock.text).startswith("taken")


def _acquire(host: Host, holder: Holder) -> None:
    text = json.dumps(asdict(holder))
    expected = ""
    while held := _parse(_swap(host, expected, text)):
        if not can_take_over(held, holder, process_start):
            break
        expected = held.text
    else:
        return
    whose = str(held.holder) if held.holder else "an unknown run"
    seconds = max(0, round(held.expires_in))
    raise Locked(
        f"{host.name}: another run holds the lock: {whose}; it expires in {seconds} s unless refreshed",
        "wait for that run, or inspect and remove the lock: provisioner unlock",
    )


def _swap(host: Host, expected: str, new: str) -> str:
    try:
        return _script(host, "swap", expected=expected, new=new)
    except HostError as error:
        # The lock precedes preflight, which checks the disks.
        if "No space left" not in error.tail:
            raise
        raise HostError(
            host.name, f"no space left in {DIRECTORY} for the run's lock", "free disk space; nothing was changed"
        ) from error


class _Refresher(threading.Thread):
    """Refresh a lock three times per time to live, and notice its loss."""

    def __init__(self, host: Host, holder: Holder) -> None:
        super().__init__(name="lock", daemon=True)
        self._host = host
        self._holder = holder
        self._stopped = threading.Event()
        self._refreshed = time.monotonic()
        self._lost_to = ""

    def run(self) -> None:
        while not self._stopped.wait(self._holder.ttl / 3):
            try:
                self._refresh()
            except HostError as error:
                # Perhaps unreachable for a moment: ensure_held() decides once the lock may have expired.
                self._host.report.detail(f"lock    not refreshed: {error}")

    def _refresh(self) -> None:
        if self._lost_to:
            return
        started = time.monotonic()
        answer = _script(self._host, "refresh", ours=self._holder.id)
        if answer.startswith("ok"):
            self._refreshed = started
        else:
            held = _parse(answer)
            self._lost_to = str(held.holder) if held and held.holder else "whoever removed it"

    def ensure_held(self) -> None:
        """Raise Locked unless we still hold the lock."""
        if time.monotonic() - self._refreshed > self._holder.ttl:
            self._refresh()
        if self._lost_to:
            raise Locked(
                f"{self._host.name}: the lock was lost to {self._lost_to}", "wait for that run, then run again"
            )

    def stop(self) -> None:
        """Stop refreshing and release the lock."""
        self._stopped.set()
        try:
            _script(self._host, "release", ours=self._holder.id)
        except ProvisionerError as error:
            self._host.report.detail(f"lock    not released, will expire: {error}")


# Every access holds a kernel file lock, so that two runs never both find the lock free.
_SCRIPT = r"""
mode={mode} expected={expected} new={new} ours={ours}
umask 077; mkdir -p {directory}; cd {directory}
exec 9>>lock.guard; flock -w 30 9
current=; if [ -s lock ]; then current=$(cat lock); fi
show() {{
  [ -z "$current" ] || printf 'held %s\n%s\n' "$(($(date +%s) - $(stat -c %Y lock)))" "$current"
}}
mine() {{ case $current in *"\"id\": \"$ours\""*) ;; *) return 1;; esac; }}
case $mode in
show) show;;
swap) if [ "$current" != "$expected" ]; then show
      elif [ -n "$new" ]; then printf '%s\n' "$new" >lock.new; mv lock.new lock; echo taken
      else rm -f lock; echo taken; fi;;
refresh) if mine; then touch lock; echo ok; else show; fi;;
release) if mine; then rm -f lock; fi;;
esac
"""


def _script(host: Host, mode: str, *, expected: str = "", new: str = "", ours: str = "") -> str:
    words = {"mode": mode, "expected": expected, "new": new, "ours": ours}
    return host.run(
        _SCRIPT.format(directory=DIRECTORY, **{key: shlex.quote(word) for key, word in words.items()})
    ).stdout


def _parse(answer: str) -> HeldLock | None:
    head, _, text = answer.partition("\n")
    word, _, age = head.partition(" ")
    if word != "held":
        return None
    text = text.rstrip("\n")
    try:
        holder = Holder(**json.loads(text))
    except (ValueError, TypeError):
        holder = None  # written by another version or damaged; it still expires
    return HeldLock(holder, text, float(age))


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""  # not Linux: the host name has to suffice


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
