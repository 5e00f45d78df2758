"""Run a probe on all hosts of a site at once: one script a host, whatever the number of hosts."""

from __future__ import annotations

import contextlib
import errno
import json
import secrets
import selectors
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.errors import HostError, Unreachable
from provisioner.reach import filters, program
from provisioner.reach.ports import NODE_PORT, VXLAN_PORT, Needs, Port
from provisioner.site import HostSpec
from provisioner.ssh import Host

SECONDS = 8.0  # that a probe lasts if something does not get through; scaled by the site
AT_LEAST = 1.5  # seconds that a host listens for the operator, who connects meanwhile; scaled
OPERATOR = "this machine"
_SYN_WAIT = 0.6  # seconds for one attempt from here: hosts that have seen all their peers listen no longer
_LOST = 3  # answers missing of program.PINGS from which a path counts as lossy
_NO_PYTHON = "no-python"
_SCRIPT = f"""
if command -v python3 >/dev/null; then python3 -I -c 'import sys; exec(sys.stdin.read())'; else echo {_NO_PYTHON}; fi
{filters.SCRIPT}
"""


@dataclass(frozen=True)
class Overlay:
    """The address of a node inside the pod network, as all others must reach it. mtu: of that network."""

    name: str
    address: str
    mtu: int


@dataclass(frozen=True)
class Blocked:
    """A port that a source does not get through to. how: "silent", "refused", or the name of an error number."""

    source: str
    target: str
    port: Port
    how: str


@dataclass(frozen=True)
class Narrow:
    """A path on which packets of this size, which the source's NIC sends, do not arrive. kind: "node" or "pods"."""

    source: str
    target: str
    size: int
    kind: str


@dataclass(frozen=True)
class Lossy:
    """A path that lost some of the packets sent. All of them on the pod network: it does not work."""

    source: str
    target: str
    lost: int
    sent: int
    kind: str


@dataclass
class Probed:
    """What a probe found.

    not_tried: host -> why. filters: host -> what filters.sections returns. tried: the number of pairs and ports that
    were tried.
    """

    blocked: list[Blocked] = field(default_factory=list)
    narrow: list[Narrow] = field(default_factory=list)
    lossy: list[Lossy] = field(default_factory=list)
    not_tried: dict[str, str] = field(default_factory=dict)
    filters: dict[str, dict[str, str]] = field(default_factory=dict)
    tried: int = 0


def probe(
    needs: Needs, hosts: Mapping[str, Host], nodes: Collection[str] = (), overlay: Sequence[Overlay] = ()
) -> Probed:
    """Probe every needed port between these hosts, and from this machine; packets of full size; and losses.

    What does not get through is probed again for twice as long, and only that counts: on busy machines one host's
    probe may be over before another's has begun.
    nodes: the names of the hosts that are nodes already: their own programs answer, or nothing does; there is no
    listening in their place. overlay: the nodes' addresses in the pod network, if there is one.
    """
    probed = _probe(needs, hosts, nodes, overlay, SECONDS)
    if probed.blocked or probed.lossy or probed.narrow:
        probed = _probe(needs, hosts, nodes, overlay, 2 * SECONDS)
    return probed


def _probe(
    needs: Needs, hosts: Mapping[str, Host], nodes: Collection[str], overlay: Sequence[Overlay], seconds: float
) -> Probed:
    """Probe once. seconds: that a host's probe lasts if something does not get through; scaled."""
    token = secrets.token_hex(16)
    answers: dict[str, dict[str, Any]] = {}
    probed = Probed()
    silent: set[str] = set()  # there is no login to them either: not a matter of ports
    with ThreadPoolExecutor(len(hosts) + 1) as pool:
        running = {
            name: pool.submit(_on_host, host, config | {"seconds": needs.site.timeout(seconds)})
            for name, host in hosts.items()
            for config in [_config(needs, hosts, host, token=token, overlay=overlay, nodes=nodes)]
        }
        operator = pool.submit(_from_here, needs, hosts, needs.site.timeout(seconds))
        for name, future in running.items():
            try:
                answer, probed.filters[name] = future.result()
                if answer is None:
                    probed.not_tried[name] = "it has no python3"
                else:
                    answers[name] = answer
            except Unreachable as error:
                silent.add(name)
                probed.not_tried[name] = error.message
            except HostError as error:
                probed.not_tried[name] = f"the probe failed there ({error.message})"
        from_here = operator.result()
    for name, answer in answers.items():
        _judge_host(needs, hosts[name].spec, answers, answer, probed)
    _judge_here(needs, hosts, answers, from_here, probed)
    probed.blocked = [
        each
        for each in probed.blocked
        if each.target not in silent and not (each.port.number == NODE_PORT and each.target in nodes)
    ]
    return probed


def _config(
    needs: Needs,
    hosts: Mapping[str, Host],
    host: Host,
    *,
    token: str,
    overlay: Sequence[Overlay],
    nodes: Collection[str],
) -> dict[str, Any]:
    """Return what the program on a host is given."""
    spec = host.spec
    others = [each.spec for name, each in hosts.items() if name != host.name]
    nic = host.facts.address_nic(spec.address)
    pings = [
        {"name": each.name, "kind": "node", "address": each.address, "size": nic.mtu if nic else 1500}
        for each in others
        if _same_family(each.address, spec.address)
    ]
    pings += [
        {"name": each.name, "kind": "pods", "address": each.address, "size": each.mtu}
        for each in overlay
        if each.name != host.name and _same_family(each.address, spec.address)
    ]
    return {
        "token": token,
        "at_least": needs.site.timeout(AT_LEAST),
        "source": spec.address,
        "listen": [] if host.name in nodes else [port.key for port in needs.listening(spec)],
        "peers": [
            {
                "name": each.name,
                "address": each.address,
                "ports": [port.key for port in needs.needed(spec, each)],
                "from": [port.key for port in needs.needed(each, spec)],
            }
            for each in others
            if _same_family(each.address, spec.address)
        ],
        "pings": pings,
    }


def _on_host(host: Host, config: Mapping[str, Any]) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """Run the program on a host; return its answer, None without python3, and what filters packets there."""
    source = Path(program.__file__).read_text(encoding="utf-8")
    stdin = f"{source}\nmain({json.dumps(json.dumps(config))})\n"
    text = host.run(_SCRIPT, stdin=stdin, timeout=2 * SECONDS + 60).stdout
    answer, _, _ = text.partition("\n@filter ")
    found = filters.sections(text)
    if answer.strip() == _NO_PYTHON:
        return None, found
    try:
        return _results(json.loads(answer), config), found
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise HostError(host.name, "its python3 printed something else than the probe's results") from error


def _results(parsed: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the program's results as lists of the types that it prints, of what it was told to try."""
    ports = {(peer["name"], key) for peer in config["peers"] for key in peer["ports"]}
    pings = {target["name"] for target in config["pings"]}
    return {
        "listening": [str(key) for key in parsed["listening"]],
        "taken": [str(key) for key in parsed["taken"]],
        "ports": [(name, key, str(how)) for name, key, how in parsed["ports"] if (name, key) in ports],
        "pings": [
            (name, str(kind), int(size), int(sent), int(received), bool(full))
            for name, kind, size, sent, received, full in parsed["pings"]
            if name in pings
        ],
    }


def _judge_host(
    needs: Needs, spec: HostSpec, answers: Mapping[str, Mapping[str, Any]], answer: Mapping[str, Any], probed: Probed
) -> None:
    """Add what one host found."""
    for name, key, how in answer["ports"]:
        port = next(each for each in needs.needed(spec, needs.site.host(name)) if each.key == key)
        _judge(Blocked(spec.name, name, port, how), answers.get(name), probed)
    for name, kind, size, sent, received, full in answer["pings"]:
        if not received and kind == "node":
            continue  # a host may drop all ICMP, which says nothing about the rest
        if sent - received >= _LOST:
            probed.lossy.append(Lossy(spec.name, name, sent - received, sent, kind))
        if received and not full:
            probed.narrow.append(Narrow(spec.name, name, size, kind))


def _judge(found: Blocked, there: Mapping[str, Any] | None, probed: Probed) -> None:
    """Add one port of a target as a source found it. there: the target's own answer, None if it could not be asked."""
    ours = there is not None and found.port.key in there["listening"]
    if found.port.protocol == "udp" and not ours:
        return  # only our own listener answers
    if found.how == "refused" and not ours:
        return  # it came through: nothing listens there yet
    probed.tried += 1
    if found.how != "open":
        probed.blocked.append(found)


def _judge_here(
    needs: Needs,
    hosts: Mapping[str, Host],
    answers: Mapping[str, Mapping[str, Any]],
    from_here: Mapping[tuple[str, int], str],
    probed: Probed,
) -> None:
    """Add what this machine found. If it reaches no host at all, it is elsewhere and goes through SSH."""
    if from_here and not any(how in ("open", "refused") for how in from_here.values()):
        probed.not_tried[OPERATOR] = "it reaches no host's address directly"
        return
    for (name, number), how in from_here.items():
        port = next(each for each in needs.needed(None, hosts[name].spec) if each.number == number)
        _judge(Blocked(OPERATOR, name, port, how), answers.get(name), probed)


def _from_here(needs: Needs, hosts: Mapping[str, Host], seconds: float) -> dict[tuple[str, int], str]:
    """Connect from this machine to what it needs, until each port answers or that many seconds have passed."""
    states = {
        (name, port.number): "silent"
        for name, host in hosts.items()
        for port in needs.needed(None, host.spec)
        if port.protocol == "tcp"
    }
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(how != "open" for how in states.values()):
        waiting = [key for key, how in states.items() if how != "open"]
        states |= _connect_all({key: (hosts[key[0]].spec.address, key[1]) for key in waiting}, _SYN_WAIT)
        time.sleep(program.RETRY)
    return states


def _connect_all(addresses: Mapping[tuple[str, int], tuple[str, int]], wait: float) -> dict[tuple[str, int], str]:
    """Connect to all addresses at once and return how each attempt ended."""
    states = dict.fromkeys(addresses, "silent")
    attempts: dict[tuple[str, int], socket.socket] = {}
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for key, (address, number) in addresses.items():
            attempts[key] = stack.enter_context(
                socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            )
            attempts[key].setblocking(False)
            with contextlib.suppress(OSError):
                attempts[key].connect_ex((address, number))
            selector.register(attempts[key], selectors.EVENT_WRITE, key)
        deadline = time.monotonic() + wait
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for ready, _ in selector.select(left):
                selector.unregister(ready.fileobj)
                status = attempts[ready.data].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                states[ready.data] = {0: "open", errno.ECONNREFUSED: "refused"}.get(status, f"error {status}")
    return states


def own_address(target: str) -> str:
    """Return the address that this machine sends from to another one; nothing is sent."""
    with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as probing:
        probing.connect((target, VXLAN_PORT))
        return str(probing.getsockname()[0])


def _same_family(one: str, other: str) -> bool:
    return (":" in one) == (":" in other)
