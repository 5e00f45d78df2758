"""Faults on a machine's links to the segment: lost frames, delay, and a firewall in between.

They are made at the machine's ports on the lab's bridge, so the machine itself has nothing to see or to undo. Loss and
the firewall are rules of one nftables table per machine in the lab's namespace; they name the ports and survive a boot
of the machine. Delay is a queue of the port, which a boot makes anew.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import ProvisionerError
from provisioner.lab import network
from provisioner.lab.settings import write_text
from provisioner.lab.spec import LabSpec, VmSpec

_PORT = re.compile(r"(tcp|udp)/([0-9]{1,5})")


@dataclass(frozen=True)
class Fault:
    """What a machine's links suffer. loss: percent of the frames of each direction; delay: ms of those to the machine.

    block: names of machines that it cannot exchange frames with, and ports such as tcp/10250 that nothing reaches on
    it.
    """

    loss: float = 0.0
    delay: int = 0
    block: tuple[str, ...] = ()

    def words(self) -> str:
        """Return the fault in a few words, "" for none."""
        return ", ".join(
            [
                *([f"loses {self.loss:g} %"] if self.loss else []),
                *([f"delayed by {self.delay} ms"] if self.delay else []),
                *([f"blocked: {', '.join(self.block)}"] if self.block else []),
            ]
        )


def put(spec: LabSpec, name: str, fault: Fault) -> None:
    """Replace the faults of a machine's links; the empty Fault removes them."""
    vm = spec.vm(name)
    rules = ruleset(spec, vm, fault)
    if rules and shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
        raise ProvisionerError("faults of links need nft", "apt-get install --no-install-recommends nftables")
    _delay(spec, vm, fault.delay)
    table = f"table bridge {_table(vm)}"
    # Declared before it is deleted, since deleting what is absent is an error; all in one transaction.
    _run(spec, ["nft", "-f", "-"], f"{table}\ndelete {table}\n{rules}")
    known = faults(spec)
    known[name] = fault
    write_text(_file(spec), json.dumps({each: vars(one) for each, one in known.items() if one != Fault()}))


def faults(spec: LabSpec) -> dict[str, Fault]:
    """Return the faults of the lab's links by machine; none after its namespace was made anew."""
    try:
        stored = json.loads(_file(spec).read_text())
    except FileNotFoundError:
        return {}
    return {name: Fault(one["loss"], one["delay"], tuple(one["block"])) for name, one in stored.items()}


def ruleset(spec: LabSpec, vm: VmSpec, fault: Fault) -> str:
    """Return the nftables table of a machine's faults, "" for none."""
    port = _ports(vm)
    lost = "drop" if fault.loss >= 99.995 else f"numgen random mod 10000 < {round(fault.loss * 100)} drop"
    ingress = [f"iifname {port} {lost}"] if fault.loss else []
    egress = [f"oifname {port} {lost}"] if fault.loss else []
    between: list[str] = []
    for word in fault.block:
        if match := _PORT.fullmatch(word):
            egress.append(f"oifname {port} {match[1]} dport {match[2]} drop")
        elif word == vm.name:
            raise ProvisionerError(
                f"{word} cannot be blocked from itself", "name another machine, or a port: tcp/10250"
            )
        else:
            other = _ports(spec.vm(word))
            between += [f"iifname {port} oifname {other} drop", f"iifname {other} oifname {port} drop"]
    chains = {"prerouting": ingress, "forward": between, "postrouting": egress}
    text = "".join(
        f"chain {hook} {{\ntype filter hook {hook} priority 0;\n" + "".join(f"{line}\n" for line in lines) + "}\n"
        for hook, lines in chains.items()
        if lines
    )
    return f"table bridge {_table(vm)} {{\n{text}}}\n" if text else ""


def _delay(spec: LabSpec, vm: VmSpec, milliseconds: int) -> None:
    for port, _ in vm.ports.values():
        if milliseconds:
            argv = ["tc", "qdisc", "replace", "dev", port, "root", "netem", "delay", f"{milliseconds}ms"]
            done = _tried(spec, argv)
            if done.returncode != 0:
                raise ProvisionerError(
                    f"{vm.name}: its link cannot be delayed: {done.stderr.strip()}",
                    "this machine's kernel needs netem (modprobe sch_netem), and the machine has to be on",
                )
        elif "netem" in _tried(spec, ["tc", "qdisc", "show", "dev", port]).stdout:
            _run(spec, ["tc", "qdisc", "del", "dev", port, "root"])


def _run(spec: LabSpec, argv: list[str], text: str = "") -> None:
    done = _tried(spec, argv, text)
    if done.returncode != 0:
        raise ProvisionerError(
            f"`{' '.join(argv)}` failed: {done.stderr.strip()}",
            "faults of links need nftables with the bridge family in this machine's kernel",
        )


def _tried(spec: LabSpec, argv: list[str], text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        network.inside(spec.namespace, argv), input=text, capture_output=True, text=True, check=False
    )  # fmt: skip


def _ports(vm: VmSpec) -> str:
    return "{ " + ", ".join(f'"{port}"' for port, _ in vm.ports.values()) + " }"


def _table(vm: VmSpec) -> str:
    return f"lab_{vm.name}"


def _file(spec: LabSpec) -> Path:
    """Return the record, which is gone whenever the namespace with the rules is: after a reboot, when destroyed."""
    return spec.run / "links.json"
