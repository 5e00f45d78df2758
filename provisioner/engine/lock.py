"""One run at a time: a lock on the first control plane, with owner and expiry.

It lies on disk, so that it outlives the SSH connection and this process; it expires, so that a dead owner's lock
does not. A dead owner on this very machine is recognised at once. Times are the host's own: clocks differ.
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

TTL = 60.0  # seconds without a refresh after which a lock counts for nothing; scaled by the site
DIRECTORY = "/var/lib/provisioner"


@dataclass(frozen=True)
class Holder:
    """Whose run it is. machine: machine-id; boot: boot id; pids: PID namespace; started: of the process."""

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
class Held:
    """A lock as found on the host. text: its file; age: seconds since its last refresh."""

    owner: Holder | None
    text: str
    age: float

    @property
    def left(self) -> float:
        """Seconds until it expires."""
        return (self.owner.ttl if self.owner else TTL) - self.age


def me(command: str, ttl: float) -> Holder:
    """Return this process as an owner."""
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


def may_take(held: Held, owner: Holder, start_of: Callable[[int], str | None]) -> bool:
    """Tell whether a lock that was found may be taken over.

    start_of: gives the start time of a process of this machine, None when there is none of that PID.
    """
    if held.left <= 0:
        return True
    other = held.owner
    if other is None or (other.hostname, other.machine) != (owner.hostname, owner.machine):
        return False
    if other.boot != owner.boot:
        return True  # this machine was rebooted since
    if other.pids != owner.pids:
        return False  # another container here: its processes cannot be seen
    return start_of(other.pid) != other.started


def process_start(pid: int) -> str | None:
    """Return when a process of this machine started, in the kernel's own words; None when there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            return stat.read_text().rpartition(")")[2].split()[19]  # proc(5): field 22, starttime
        except (FileNotFoundError, ProcessLookupError):
            return None
    listing = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listing.stdout.strip() or None


@contextmanager
def acquired(host: Host, command: str) -> Iterator[Callable[[], None]]:
    """Hold the lock meanwhile; give a guard that raises Locked once it was lost. Raise Locked if another has it."""
    owner = me(command, host.site.timeout(TTL))
    _take(host, owner)
    keeper = _Keeper(host, owner)
    keeper.start()
    try:
        yield keeper.guard
    finally:
        keeper.stop()


def held(host: Host) -> Held | None:
    """Return the lock as it is now, None when there is none."""
    return _parse(_script(host, "show"))


def remove(host: Host, lock: Held) -> bool:
    """Remove the very lock that was shown; return whether it was still that one."""
    return _script(host, "swap", expected=lock.text).startswith("taken")


def _take(host: Host, owner: Holder) -> None:
    text = json.dumps(asdict(owner))
    expected = ""
    while found := _parse(_swap(host, expected, text)):
        if not may_take(found, owner, process_start):
            break
        expected = found.text
    else:
        return
    whose = str(found.owner) if found.owner else "one that cannot be made out"
    left = max(0, round(found.left))
    raise Locked(
        f"{host.name}: another run holds the lock: {whose}; it expires in {left} s unless refreshed",
        "wait for it, or look at it and remove it with: provisioner unlock",
    )


def _swap(host: Host, expected: str, new: str) -> str:
    try:
        return _script(host, "swap", expected=expected, new=new)
    except HostError as error:
        # It comes before everything else, and so before preflight, which looks at the disks.
        if "No space left" not in error.tail:
            raise
        raise HostError(
            host.name, f"{DIRECTORY} has no space left for the run's lock", "free some; nothing was changed"
        ) from error


class _Keeper(threading.Thread):
    """Refresh a lock three times in its life, and know whether it is still ours."""

    def __init__(self, host: Host, owner: Holder) -> None:
        super().__init__(name="lock", daemon=True)
        self._host = host
        self._owner = owner
        self._stopped = threading.Event()
        self._refreshed = time.monotonic()
        self._thief = ""

    def run(self) -> None:
        while not self._stopped.wait(self._owner.ttl / 3):
            try:
                self._refresh()
            except HostError as error:
                # Out of reach for a moment: guard() decides once the lock may have expired.
                self._host.report.detail(f"lock    not refreshed: {error}")

    def _refresh(self) -> None:
        if self._thief:
            return
        began = time.monotonic()
        answer = _script(self._host, "refresh", ours=self._owner.id)
        if answer.startswith("ok"):
            self._refreshed = began
        else:
            found = _parse(answer)
            self._thief = str(found.owner) if found and found.owner else "somebody who removed it"

    def guard(self) -> None:
        """Raise Locked unless the lock is ours."""
        if time.monotonic() - self._refreshed > self._owner.ttl:
            self._refresh()
        if self._thief:
            raise Locked(
                f"{self._host.name}: the lock was lost to {self._thief}", "see who is at work, then run again"
            )

    def stop(self) -> None:
        """Stop refreshing and give the lock back."""
        self._stopped.set()
        try:
            _script(self._host, "release", ours=self._owner.id)
        except ProvisionerError as error:
            self._host.report.detail(f"lock    not released, it expires by itself: {error}")


# Every look and change happens under a kernel file lock, so that two runs never both see the lock free.
_SCRIPT = r"""
mode={mode} expected={expected} new={new} ours={ours}
umask 077; mkdir -p {directory}; cd {directory}
exec 9>>lock.guard; flock -w 30 9
current=; if [ -s lock ]; then current=$(cat lock); fi
tell() {{
  [ -z "$current" ] || printf 'held %s\n%s\n' "$(($(date +%s) - $(stat -c %Y lock)))" "$current"
}}
mine() {{ case $current in *"\"id\": \"$ours\""*) ;; *) return 1;; esac; }}
case $mode in
show) tell;;
swap) if [ "$current" != "$expected" ]; then tell
      elif [ -n "$new" ]; then printf '%s\n' "$new" >lock.new; mv lock.new lock; echo taken
      else rm -f lock; echo taken; fi;;
refresh) if mine; then touch lock; echo ok; else tell; fi;;
release) if mine; then rm -f lock; fi;;
esac
"""


def _script(host: Host, mode: str, *, expected: str = "", new: str = "", ours: str = "") -> str:
    words = {"mode": mode, "expected": expected, "new": new, "ours": ours}
    return host.run(
        _SCRIPT.format(directory=DIRECTORY, **{key: shlex.quote(word) for key, word in words.items()})
    ).stdout


def _parse(answer: str) -> Held | None:
    head, _, text = answer.partition("\n")
    word, _, age = head.partition(" ")
    if word != "held":
        return None
    text = text.rstrip("\n")
    try:
        owner = Holder(**json.loads(text))
    except (ValueError, TypeError):
        owner = None  # written by another version, or damaged: it still expires
    return Held(owner, text, float(age))


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""  # not Linux: the host name has to do


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
