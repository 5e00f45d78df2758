"""The lock that keeps two runs apart: a file on the first control plane, with its holder and a time to live.

The lock survives the SSH connection and this process, and expires unless its holder refreshes it. Nothing else ends
it: not a jump of a clock, since its age is by the host's uptime, and not that its holder seems to be dead, since a
clone of this machine has the same name, machine ID and process numbers. For such a holder, a run waits for the expiry.
"""

from __future__ import annotations

import json
import math
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
MAX_TTL = 120.0  # also on the slowest machines, so that nobody waits for minutes after a run was killed
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
    def ttl(self) -> float:
        """Seconds after the last refresh until the lock expires."""
        return self.holder.ttl if self.holder else TTL

    @property
    def expires_in(self) -> float:
        """Seconds until the lock expires, negative after that."""
        return self.ttl - self.age


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


def seems_dead(other: Holder | None, holder: Holder, start_of: Callable[[int], str | None]) -> bool:
    """Return whether the process that holds a lock seems to have died on this machine, so that waiting is worthwhile.

    start_of: returns the start time of a process on this machine by PID, None if it does not exist.
    """
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
    holder = this_process(command, min(host.site.timeout(TTL), MAX_TTL))
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
    expected, ttl = "", 0.0
    noted = False
    youngest = float("inf")
    while held := _parse(_swap(host, expected, text, ttl)):
        if held.text != expected:
            youngest = float("inf")  # another run took it meanwhile
        if held.expires_in > 0:
            refreshed = held.age < youngest and youngest != float("inf")
            if refreshed or not seems_dead(held.holder, holder, process_start):
                raise _locked(host, held)
            if not noted:
                noted = True
                host.report.emit(
                    "note",
                    f"{host.name}: waiting {held.expires_in:.0f} s until the lock of {held.holder} expires, whose "
                    "process is gone from this machine; if you know that it is dead: provisioner unlock",
                    host=host.name,
                )
            host.closed.wait(min(held.expires_in, 5.0))
            if host.closed.is_set():
                raise _locked(host, held)
        youngest = held.age
        expected, ttl = held.text, held.ttl


def _locked(host: Host, held: HeldLock) -> Locked:
    whose = str(held.holder) if held.holder else "an unknown run"
    return Locked(
        f"{host.name}: another run holds the lock: {whose}; it expires in {max(0, round(held.expires_in))} s unless "
        "refreshed",
        "wait for that run, or inspect and remove the lock: provisioner unlock",
    )


def _swap(host: Host, expected: str, new: str, ttl: float) -> str:
    try:
        return _script(host, "swap", expected=expected, new=new, older=ttl)
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
        self._refreshed = _now()
        self._lost_to = ""

    def run(self) -> None:
        while not self._stopped.wait(self._holder.ttl / 3):
            try:
                self._refresh()
            except ProvisionerError as error:
                # Perhaps unreachable for a moment: ensure_held() decides once the lock may have expired.
                self._host.report.detail(f"lock    not refreshed: {error}")

    def _refresh(self) -> None:
        if self._lost_to:
            return
        started = _now()
        answer = _script(self._host, "refresh", ours=self._holder.id)
        if answer.startswith("ok"):
            self._refreshed = started
        else:
            held = _parse(answer)
            self._lost_to = str(held.holder) if held and held.holder else "whoever removed it"

    def ensure_held(self) -> None:
        """Raise Locked unless we still hold the lock."""
        if _now() - self._refreshed > self._holder.ttl:
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


# Every access holds a kernel file lock, so that two runs never both find the lock free. Beside the lock, `stamp` has
# the host's boot ID and uptime of the last refresh. After a reboot the lock is at least as old as the boot. Without a
# stamp (an older version wrote the lock), its time to live begins when it is first seen.
_SCRIPT = r"""
mode={mode} expected={expected} new={new} ours={ours} older={older}
umask 077; mkdir -p {directory}; cd {directory}
exec 9>>lock.guard; flock -w 30 9
read -r boot </proc/sys/kernel/random/boot_id; read -r up _ </proc/uptime; up=${{up%.*}}
current=; if [ -s lock ]; then current=$(cat lock); fi
stamp() {{ printf '%s %s\n' "$boot" "$up" >stamp.new; mv stamp.new stamp; }}
age() {{
  [ -s stamp ] || stamp
  read -r then at <stamp; case $at in ''|*[!0-9]*) at=$up;; esac
  if [ "$then" = "$boot" ] && [ "$at" -le "$up" ]; then echo $((up - at)); else echo "$up"; fi
}}
show() {{ [ -z "$current" ] || printf 'held %s\n%s\n' "$(age)" "$current"; }}
mine() {{ case $current in *"\"id\": \"$ours\""*) ;; *) return 1;; esac; }}
case $mode in
show) show;;
swap) if [ "$current" != "$expected" ]; then show
      elif [ -n "$current" ] && [ "$(age)" -lt "$older" ]; then show
      elif [ -n "$new" ]; then printf '%s\n' "$new" >lock.new; stamp; mv lock.new lock; echo taken
      else rm -f lock stamp; echo taken; fi;;
refresh) if mine; then stamp; echo ok; else show; fi;;
release) if mine; then rm -f lock stamp; fi;;
esac
"""


def _script(host: Host, mode: str, *, expected: str = "", new: str = "", ours: str = "", older: float = 0) -> str:
    words = {"mode": mode, "expected": expected, "new": new, "ours": ours, "older": str(math.ceil(older))}
    return host.run(
        _SCRIPT.format(directory=DIRECTORY, **{key: shlex.quote(word) for key, word in words.items()})
    ).stdout


def _now() -> float:
    """Return a time that no clock setting changes and that goes on while this machine sleeps (CLOCK_BOOTTIME)."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _parse(answer: str) -> HeldLock | None:
    head, _, text = answer.partition("\n")
    word, _, age = head.partition(" ")
    if word != "held":
        return None
    text = text.rstrip("\n")
    return HeldLock(_holder(text), text, float(age) if age.isdecimal() else 0.0)


def _holder(text: str) -> Holder | None:
    """Return who wrote this, None if it was another version or the text is damaged; the lock expires all the same."""
    try:
        holder = Holder(**json.loads(text))
        str(holder)  # `since` is a time that can be shown
    except (ValueError, TypeError, OverflowError, OSError, RecursionError):
        return None
    words = (holder.user, holder.hostname, holder.machine, holder.boot, holder.pids, holder.started, holder.id)
    sound = all(isinstance(word, str) for word in (*words, holder.command)) and type(holder.pid) is int
    return holder if sound and isinstance(holder.ttl, int | float) and 0 < holder.ttl <= MAX_TTL else None


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
