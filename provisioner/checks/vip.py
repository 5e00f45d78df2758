"""The API's own address is on one control plane, answers from its MAC, and every control plane could take it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from provisioner.checks.check import Check, Context, Finding, failed, passed, wait_for
from provisioner.errors import HostError
from provisioner.site import HostSpec
from provisioner.ssh import Host
from provisioner.steps import pool_conflicts, vip
from provisioner.text import join_words

LOG = f"journalctl -u {vip.UNIT} -n 10 --no-pager -o cat"


@dataclass(frozen=True)
class State:
    """What one control plane says: the MAC of its NIC that has the vip, whether keepalived runs, /readyz's status.

    mac: "" without the vip. silent: why it could not be asked, "" if it could.
    """

    mac: str = ""
    active: bool = False
    ready: str = ""
    silent: str = ""


def run(context: Context) -> Iterator[Finding]:
    """Yield who holds the address, who answers for it, whether the API is ready there, and who could take over."""
    address = context.site.cluster.vip
    states = wait_for(
        context,
        f"one control plane to hold {address}",
        lambda: {spec.name: _ask(context.hosts[spec.name], spec, address) for spec in context.site.control_planes},
        lambda states: len([one for one in states.values() if one.mac]) == 1,
        timeout=20,
    )
    holding = [name for name, state in states.items() if state.mac]
    logs = [f"{name}: {_log(context.hosts[name])}" for name, state in states.items() if not state.silent]
    if not holding:
        detail = "is on none of the control planes, so nothing reaches the API by it"
        yield failed("VIP_NO_HOLDER", f"vip {address}", detail, "provisioner apply --only vip", *logs)
    elif len(holding) > 1:
        yield failed(
            "VIP_TWO_HOLDERS",
            f"vip {address}",
            f"is on {join_words(holding)} at the same time: their VRRP packets do not reach each other",
            "let IP protocol 112 pass between the control planes (nft list ruleset on each)",
            *logs,
        )
    else:
        (holder,) = holding
        yield passed("VIP_HELD", f"vip {address}", f"is on {holder}")
        yield from _answers(context, holder, states[holder].mac)
    yield from _standby(context, states, holding)


def _ask(host: Host, spec: HostSpec, address: str) -> State:
    """Read one control plane's state in one round trip."""
    url = vip.ready_url(spec.api_server)
    script = (
        f"for nic in $(ip -o address show to {address} | cut -d' ' -f2); do cat /sys/class/net/$nic/address; done\n"
        f"echo active=$(systemctl is-active {vip.UNIT})\n"
        f"echo ready=$(curl -sk --max-time 3 -o /dev/null -w '%{{http_code}}' {url})\n"
    )
    try:
        lines = host.run(script).stdout.split()
    except HostError as error:
        return State(silent=error.message)
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    macs = [line for line in lines if "=" not in line]
    return State(
        mac=macs[0].lower() if macs else "",
        active=values.get("active") == "active",
        ready=values.get("ready", ""),
    )


def _log(host: Host) -> str:
    return host.run(LOG, check=False).stdout


def _answers(context: Context, holder: str, mac: str) -> Iterator[Finding]:
    """Yield whether the segment gets the answer from the holder's MAC, and a ready API; asked from another host."""
    address = context.site.cluster.vip
    for spec in context.site.hosts:
        host = context.hosts[spec.name]
        nic = _nic(host, spec) if spec.name != holder else ""
        if not nic:
            continue
        url = vip.ready_url(context.site.endpoint)
        status = f"curl -sk --max-time 5 -o /dev/null -w 'ready=%{{http_code}}' {url}"
        answer = host.run(f"{pool_conflicts.question(nic, [address])}; {status}", timeout=60, check=False).stdout
        found = [owner.lower() for asked, owner in pool_conflicts.owners(answer) if asked == address]
        if found != [mac]:
            said = f"got the answer from {found[0]}" if found else "got no answer"
            yield failed(
                "VIP_WRONG_MAC",
                f"vip {address}",
                f"is on {holder} ({mac}), but {host.name} {said}",
                "provisioner l2 check api finds out why",
            )
        elif "ready=200" not in answer:
            code = answer.rpartition("ready=")[2][:3]
            yield failed(
                "VIP_API_NOT_READY",
                f"vip {address}",
                f"answers from {holder}, but {url} "
                + (f"returns {code}" if code != "000" else "does not accept connections"),
                f"provisioner ssh {holder} -- sudo crictl ps -a",
            )
        else:
            yield passed(
                "VIP_ANSWERS", f"vip {address}", f"answers {host.name} from {mac}, and the API is ready there"
            )
        return


def _nic(host: Host, spec: HostSpec) -> str:
    """Return the NIC that has the host's own address; "" if it does not answer."""
    try:
        words = host.run(f"ip -o address show to {spec.address}").stdout.split()
    except HostError:
        return ""
    return words[1] if len(words) > 1 else ""


def _standby(context: Context, states: dict[str, State], holding: list[str]) -> Iterator[Finding]:
    """Yield which of the other control planes could not take the address over."""
    able = []
    for name, state in states.items():
        if state.silent:
            why, remedy = f"could not be asked: {state.silent}", f"provisioner ssh {name}"
        elif not state.active:
            why, remedy = f"does not run {vip.UNIT}", "provisioner apply --only vip"
        elif state.ready != "200":
            why = f"has an API server that is not ready (/readyz: {state.ready})"
            remedy = f"provisioner ssh {name} -- sudo crictl ps -a"
        else:
            able += [name] if name not in holding else []
            continue
        log = () if state.silent else (_log(context.hosts[name]),)
        yield failed("VIP_NO_STANDBY", name, f"{why}, so it would not take {context.site.cluster.vip}", remedy, *log)
    if able:
        yield passed("VIP_STANDBY", f"vip {context.site.cluster.vip}", f"could move to {join_words(able, 'or')}")


CHECK = Check(
    "vip",
    "The API's own address is on one control plane, and the others could take it.",
    run,
    skip_reason=lambda site: "" if site.cluster.vip else "vip is not set under [cluster]",
    reads_only=True,
    without_api=True,
)
