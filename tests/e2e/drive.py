"""Run the command line on the lab's operator machine, and kill it where a test says so."""

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

from provisioner.lab import lifecycle

ROOT = Path(__file__).resolve().parents[2]
# Another suite may run beside this one, on a lab of its own.
LAB = Path(os.environ.get("E2E_LAB") or ROOT / ".provisioner" / "lab")
SITE = LAB / "hosts.toml"
LOGS = LAB / ".provisioner" / "logs"
CLI = [sys.executable, "-m", "provisioner"]
STARTED = time.monotonic()


def say(text: str) -> None:
    """Print a line with the minutes since the suite started."""
    print(f"[{(time.monotonic() - STARTED) / 60:5.1f} min] {text}", flush=True)


@dataclass
class Ran:
    """A finished command. events: the parsed output of `-o json`; text: its whole output."""

    status: int
    text: str
    seconds: float
    events: list[dict[str, Any]] = field(default_factory=list)

    def changes(self) -> list[str]:
        """Return the changes that were made or planned, each as "step host: summary"."""
        return [
            f"{event.get('step')} {event.get('host')}: {event.get('text')}"
            for event in self.events
            if event["kind"] == "change"
        ]


def begins(step: str) -> Callable[[dict[str, Any]], bool]:
    """Return a predicate on events: this step begins."""
    return lambda event: event["kind"] == "step" and event.get("step") == step


def ends(step: str) -> Callable[[dict[str, Any]], bool]:
    """Return a predicate on events: this step has ended on every host."""
    return lambda event: event["kind"] == "step-done" and event.get("step") == step


def changing(step: str, words: str = "") -> Callable[[dict[str, Any]], bool]:
    """Return a predicate on events: this step makes a change whose summary starts with `words`."""
    return lambda event: (
        event["kind"] == "change" and event.get("step") == step and str(event.get("text")).startswith(words)
    )


def lab(verb: str, *arguments: str, quiet: bool = False) -> Ran:
    """Run `provisioner lab VERB …` on this machine; quiet: without showing its output."""
    return _run([*CLI, "lab", verb, "--directory", str(LAB), *arguments], quiet=quiet)


def hosts() -> tuple[str, ...]:
    """Return the names of the lab's machines, the first control plane first."""
    return tuple(vm.name for vm in lifecycle.find_up(LAB).vms)


def on_site(*arguments: str, site: Path = SITE) -> list[str]:
    """Return the argument vector of a provisioner command on the lab's operator machine."""
    inside = [*CLI, "lab", "exec", "--directory", str(LAB), "--"]
    return [*inside, *CLI, "-f", str(site), "-o", "json", *arguments]


def operator(*arguments: str, site: Path = SITE, quiet: bool = False) -> Ran:
    """Run a provisioner command on the lab's operator machine; quiet: without showing its output."""
    say(f"provisioner {' '.join(arguments)}")
    return _run(on_site(*arguments, site=site), quiet=quiet)


def other_site(name: str, *replacements: tuple[str, str], tables: Mapping[str, str] | None = None) -> Path:
    """Write a copy of the lab's hosts.toml next to it, with some text replaced, and return its path.

    tables: lines to add to tables, which are created if missing.
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


def ssh(host: str, command: str) -> Ran:
    """Run a shell command as root on a machine of the lab."""
    return lab("ssh", host, "sudo", "sh", "-c", shlex.quote(command), quiet=True)


def kubectl(arguments: str, stdin: str = "", *, unless: tuple[str, ...] = ()) -> str:
    """Run kubectl on the master and return its output; `arguments` are quoted by the caller, as for a shell.

    unless: messages of errors to ignore; returns "" then.
    """
    words = " ".join(shlex.quote(word) for word in shlex.split(arguments))
    command = f"kubectl --kubeconfig /etc/kubernetes/admin.conf {words}"
    ran = ssh("master", f"{command} <<'END-OF-INPUT'\n{stdin}\nEND-OF-INPUT\n" if stdin else command)
    if ran.status and any(words in ran.text for words in unless):
        return ""
    assert ran.status == 0, ran.text
    return ran.text.strip()


def nodes_of(namespace: str, labels: str) -> list[str]:
    """Return the node of each ready pod with these labels, sorted."""
    items = json.loads(kubectl(f"-n {namespace} get pods -l {labels} -o json"))["items"]
    return sorted(
        item["spec"]["nodeName"]
        for item in items
        if any(one["type"] == "Ready" and one["status"] == "True" for one in item["status"].get("conditions", ()))
    )


def until(what: str, condition: Callable[[], bool], limit: float = 900) -> None:
    """Wait until `condition` holds; fail after `limit` seconds, far more than an emulated machine needs."""
    deadline = time.monotonic() + limit
    while not condition():
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
    """Start a command, SIGKILL it during `what`, and return the summaries of the changes that it had started.

    at: matches the event after which to kill it. running: whether the host is really doing it by now; it is waited
    for, so that the kill does not come too early.
    """
    say(f"provisioner {' '.join(command)}, to be killed during {what}")
    with subprocess.Popen(
        on_site(*command, site=site), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    ) as process:
        started: list[str] = []
        last: list[str] = []
        for event in _events(process):
            last = [*last[-20:], json.dumps(event)]
            if event["kind"] == "change":
                started.append(str(event.get("text")))
            if at(event):
                break
        else:
            raise AssertionError(f"it exited with {process.wait()} before {what} started:\n" + "\n".join(last))
        deadline = time.monotonic() + 600
        while not running():
            assert process.poll() is None, f"it exited before {what} ran on the host"
            assert time.monotonic() < deadline, f"{what} was reported but never ran on the host"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    say(f"killed during {what}")
    return started


def _events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        event = _parsed(line)
        _show(event)
        yield event


def _run(argv: list[str], *, quiet: bool = False) -> Ran:
    start = time.monotonic()
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
    return Ran(status, "".join(lines), time.monotonic() - start, events)


def _parsed(line: str) -> dict[str, Any]:
    """Return a line as an event; a line that is not a JSON event becomes one of kind "text"."""
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
