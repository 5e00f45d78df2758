"""Drive the command line as a person does, from the lab's operator machine, and kill it where a test says so."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.lab.inventory import SMALL

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / ".provisioner" / "lab"
SITE = LAB / "hosts.toml"
LOGS = LAB / ".provisioner" / "logs"
CLI = [sys.executable, "-m", "provisioner"]
HOSTS = ("master", "worker1", "worker2")
STARTED = time.monotonic()


def say(text: str) -> None:
    """Print a line with the minutes since the suite began, so that a long run can be followed."""
    print(f"[{(time.monotonic() - STARTED) / 60:5.1f} min] {text}", flush=True)


@dataclass
class Ran:
    """A finished command. events: what `-o json` printed, parsed; text: everything it printed."""

    status: int
    text: str
    seconds: float
    events: list[dict[str, Any]] = field(default_factory=list)

    def changes(self) -> list[str]:
        """Return the changes that were made or planned, each as "step host: sentence"."""
        return [
            f"{event.get('step')} {event.get('host')}: {event.get('text')}"
            for event in self.events
            if event["kind"] == "change"
        ]


def begins(step: str) -> Callable[[dict[str, Any]], bool]:
    """Return a test of an event: does this step begin?"""
    return lambda event: event["kind"] == "step" and event.get("step") == step


def changing(step: str, words: str = "") -> Callable[[dict[str, Any]], bool]:
    """Return a test of an event: does this step make a change whose sentence starts with `words`?"""
    return lambda event: (
        event["kind"] == "change" and event.get("step") == step and str(event.get("text")).startswith(words)
    )


def lab(*arguments: str) -> Ran:
    """Run `provisioner lab …` on this machine, its output passed through."""
    return _run([*CLI, "lab", *arguments])


def on_site(*arguments: str, site: Path = SITE) -> list[str]:
    """Return the argument vector of a provisioner command as the lab's operator types it."""
    return [*CLI, "lab", "exec", "--", *CLI, "-f", str(site), "-o", "json", *arguments]


def operator(*arguments: str, site: Path = SITE, quiet: bool = False) -> Ran:
    """Run a provisioner command on the lab's operator machine and return its events; quiet: without showing them."""
    say(f"provisioner {' '.join(arguments)}")
    return _run(on_site(*arguments, site=site), quiet=quiet)


def other_site(name: str, *replacements: tuple[str, str], tables: Mapping[str, str] | None = None) -> Path:
    """Write a copy of the lab's hosts.toml with some text replaced, beside it, and return its path.

    tables: lines to put into tables that may be there already.
    """
    text = SITE.read_text()
    for old, new in replacements:
        assert old in text, f"{SITE} has no {old!r}"
        text = text.replace(old, new)
    for table, lines in (tables or {}).items():
        head = f"[{table}]\n"
        text = text.replace(head, f"{head}{lines}\n") if head in text else f"{text}\n{head}{lines}\n"
    path = LAB / f"{name}.toml"
    path.write_text(text)
    return path


def small_site() -> Path:
    """Write the site of a whole lab as it is for a small one."""
    return other_site("small", tables=SMALL)


def ssh(host: str, command: str) -> Ran:
    """Run a shell command on a machine of the lab, as root."""
    return _run([*CLI, "lab", "ssh", host, "sudo", "sh", "-c", shlex.quote(command)], quiet=True)


def kubectl(arguments: str, stdin: str = "", *, unless: tuple[str, ...] = ()) -> str:
    """Run kubectl on the master and return what it prints; arguments as a shell reads them, quoted by the caller.

    unless: words of a refusal that only means "not yet", any of them; "" is returned then.
    """
    words = " ".join(shlex.quote(word) for word in shlex.split(arguments))
    command = f"kubectl --kubeconfig /etc/kubernetes/admin.conf {words}"
    ran = ssh("master", f"{command} <<'END-OF-INPUT'\n{stdin}\nEND-OF-INPUT\n" if stdin else command)
    if ran.status and any(words in ran.text for words in unless):
        return ""
    assert ran.status == 0, ran.text
    return ran.text.strip()


def nodes_of(namespace: str, labels: str) -> list[str]:
    """Return the nodes on which pods with these labels are ready, one entry a pod."""
    items = json.loads(kubectl(f"-n {namespace} get pods -l {labels} -o json"))["items"]
    return sorted(
        item["spec"]["nodeName"]
        for item in items
        if any(one["type"] == "Ready" and one["status"] == "True" for one in item["status"].get("conditions", ()))
    )


def until(what: str, look: Callable[[], bool], limit: float = 900) -> None:
    """Look until it is so; fail after `limit` seconds, which is far more than an emulated machine needs."""
    deadline = time.monotonic() + limit
    while not look():
        assert time.monotonic() < deadline, f"waited {limit:.0f} s for {what}"
        time.sleep(2)


def killed_during(
    at: Callable[[dict[str, Any]], bool],
    running: Callable[[], bool],
    what: str,
    *,
    site: Path = SITE,
    command: Sequence[str] = ("apply", "-y"),
) -> list[str]:
    """Start a command, SIGKILL it while `what` is under way, and return the changes it had begun.

    at: the event that begins the stretch. running: whether the host is really at it by now (looked at until it
    is, so that the kill does not come too early).
    """
    say(f"provisioner {' '.join(command)}, to be killed during {what}")
    with subprocess.Popen(
        on_site(*command, site=site), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    ) as process:
        seen = []
        for event in _events(process):
            if event["kind"] == "change":
                seen.append(str(event.get("text")))
            if at(event):
                break
        else:
            raise AssertionError(f"it ended with {process.wait()} before {what} began:\n" + "\n".join(seen))
        deadline = time.monotonic() + 600
        while not running():
            assert process.poll() is None, f"it ended before {what} was seen on the host"
            assert time.monotonic() < deadline, f"{what} was announced and never seen on the host"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    say(f"killed during {what}")
    return seen


def pausing(at: Callable[[dict[str, Any]], bool], then: Callable[[], None]) -> Ran:
    """Run an apply that is held still (SIGSTOP) at an event while `then` runs; return how it ended."""
    say("provisioner apply -y")
    begun = time.monotonic()
    with subprocess.Popen(
        on_site("apply", "-y"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    ) as process:
        events, held = [], False
        for event in _events(process):
            events.append(event)
            if not held and at(event):
                held = True
                os.kill(process.pid, signal.SIGSTOP)
                try:
                    then()
                finally:
                    os.kill(process.pid, signal.SIGCONT)
        status = process.wait()
    text = "\n".join(json.dumps(event) for event in events)
    return Ran(status, text, time.monotonic() - begun, events)


def _events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        event = _parsed(line)
        _show(event)
        yield event


def _run(argv: list[str], *, quiet: bool = False) -> Ran:
    begun = time.monotonic()
    lines, events = [], []
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            event = _parsed(line)
            events.append(event)
            if not quiet:
                _show(event)
        status = process.wait()
    return Ran(status, "".join(lines), time.monotonic() - begun, events)


def _parsed(line: str) -> dict[str, Any]:
    """Return a line as an event; what is no JSON object is a line of text."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) and "kind" in event else {"kind": "text", "text": line.rstrip()}


def _show(event: dict[str, Any]) -> None:
    if event["kind"] not in ("output", "host"):
        place = " ".join(str(event[key]) for key in ("step", "host") if event.get(key))
        seconds = f" ({event['seconds']} s)" if "seconds" in event else ""
        say(f"  {event['kind']:8} {place}: {event.get('text', '')}{seconds}")
