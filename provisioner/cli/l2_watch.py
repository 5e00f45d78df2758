"""`provisioner l2 watch`: time a failover."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner import __version__
from provisioner.cli import l2_sources
from provisioner.cli.l2 import interface_option, no_zero_option, writable
from provisioner.cli.l2_collect import write
from provisioner.cli.options import Options
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2 import check, diagnosis, owners, targets
from provisioner.l2.facts import Facts
from provisioner.l2.owners import NodeMacs
from provisioner.l2.probe import interfaces
from provisioner.l2.probe.capture import Answer
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.result import AddressOwner, Result
from provisioner.l2.watch import recorder, report
from provisioner.l2.watch import text as timeline_text
from provisioner.l2.watch.live import Live
from provisioner.l2.watch.recorder import Heard, Plan
from provisioner.l2.watch.svg import svg
from provisioner.l2.watch.timeline import Timeline, tell
from provisioner.l2.watch.verdict import judge, name, seconds
from provisioner.redact import redact

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address


LONGEST = 600.0  # seconds that --until-stable waits, unless told otherwise
FORGOTTEN = 4 * 3600.0  # seconds after which one without an end is taken for forgotten; every frame of it is kept


@click.command()
@click.argument("ip", metavar="IP")
@click.option(
    "--until-stable", is_flag=True, help="End when something has happened and one owner answers alone again."
)
@click.option(
    "--stable-for",
    default=6.0,
    type=click.FloatRange(1, 3600),
    show_default=True,
    metavar="SECONDS",
    help="How long it must answer alone. Less than 6 misses some of MetalLB's gratuitous frames.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 86400),
    metavar="SECONDS",
    help="End after that long. [default: 4 hours; with --until-stable 600]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="TCP port to try. [default: --facts' or none; 0: none]",
)
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Draw the timeline into this file too.")
@click.option("--facts", type=click.Path(path_type=Path), metavar="FILE", help="What `l2 collect` wrote: names nodes.")
@interface_option
@click.option(
    "--interval",
    default=0.1,
    type=click.FloatRange(0.02, 10),
    show_default=True,
    metavar="SECONDS",
    help="From question to question; the silence is no finer than that.",
)
@click.option(
    "--gap",
    default=1.0,
    type=click.FloatRange(0.1, 60),
    show_default=True,
    metavar="SECONDS",
    help="From when on a silence that the same owner ends is told.",
)
@no_zero_option
@click.pass_obj
def watch(
    options: Options | None,
    ip: str,
    *,
    until_stable: bool,
    stable_for: float,
    timeout: float | None,
    interface: str,
    port: int | None,
    interval: float,
    gap: float,
    no_zero: bool,
    svg: Path | None,
    facts: Path | None,
) -> None:
    """Time a failover of an external IP: who had it, how long nobody answered, who has it now.

    Start it, then power the node off or delete its speaker; a drain moves only services of externalTrafficPolicy
    Local. Ctrl-C ends it with the report. It asks ten times a second and announces nothing.

    Exit status: 0 one owner at the end, 1 a fault (it never came back, two owners, no gratuitous frames), 2 it cannot
    be told from here, or nothing happened.

    Example: provisioner l2 watch 192.168.56.200 --until-stable --port 80 --svg failover.svg
    """
    options = options or Options()
    target = _address(ip)
    # The cluster is not asked: while a node dies, it is the last place to wait for an answer.
    with l2_sources.opened(options, "l2-watch", facts, offline=True) as source:
        known = source.facts
        if known is None:
            click.echo(f"note: {'; '.join(source.notes)}; --facts gives nodes their names", err=True)
    place = check.choose_interface(interfaces.read(), [target], known, interface)
    _refuse_bad_places(place, target, known)
    plan = Plan(
        ip=target,
        port=port if port is not None else next(iter(check.tcp_ports(known).get(target, ())), 0),
        interval=interval,
        gap=gap,
        stable=stable_for if until_stable else None,
        timeout=timeout or (LONGEST if until_stable else FORGOTTEN),
        arp_probe=not no_zero,
        nodes=tuple(node for node in check.node_addresses(known) if place.reaches(node)),
    )
    writable(svg)  # now rather than after the failover that will not come again
    heard = _record(place, plan, known)
    _finish(options, place, heard, known, svg)


def _address(text: str) -> IPv4Address | IPv6Address:
    from ipaddress import ip_address

    try:
        return ip_address(text)
    except ValueError as error:
        raise ProvisionerError(f"{text!r} is no IP address", "write 192.0.2.200 or 2001:db8::200") from error


def _refuse_bad_places(place: Interface, target: IPv4Address | IPv6Address, facts: Facts | None) -> None:
    """Raise Inconclusive where nothing could be concluded: on a node, or where the address is this machine's own."""
    vantage = interfaces.vantage(place)
    if target in vantage.own_addresses:
        raise Inconclusive(f"this machine itself has {target}", "watch from another machine on the segment")
    if (nowhere := diagnosis.diagnose_location(vantage, facts, [target])) is not None:
        raise Inconclusive(" ".join(nowhere.evidence).rstrip("."), nowhere.remedy)


def _record(place: Interface, plan: Plan, facts: Facts | None) -> Heard:

    what = f"watching {plan.ip} from {place.name}: a question every {seconds(plan.interval)}"
    tcp = f", TCP {plan.port} every {seconds(plan.tcp_interval)}" if plan.port else ""
    click.echo(f"{what}{tcp}; Ctrl-C ends it with the report", err=True)
    heard: list[Answer] = []
    live = Live(sys.stderr, lambda mac: name(_owners([mac], facts, heard), mac))

    def progress(moment: recorder.Moment) -> None:
        heard.extend(answer for answer in moment.answers if answer.ip != plan.ip)
        live(moment)

    try:
        return recorder.record(place, plan, progress)
    finally:
        live.close()


def _known(facts: Facts | None, answers: list[Answer] | tuple[Answer, ...]) -> NodeMacs:

    return owners.from_facts(facts, answers) if facts is not None else owners.NodeMacs()


def _owners(
    macs: list[str], facts: Facts | None, answers: list[Answer] | tuple[Answer, ...]
) -> dict[str, AddressOwner]:
    """Return whose each MAC is."""
    known = _known(facts, answers)
    found = {}
    for mac in macs:
        owner = known.owner(mac)
        maker = "" if owner.nodes else owners.vendor(mac)
        found[mac] = AddressOwner(mac, owner.node, owner.nic, owner.nodes, matched_by=owner.matched_by, vendor=maker)
    return found


def _finish(options: Options, place: Interface, heard: Heard, facts: Facts | None, path: Path | None) -> None:
    """Print the report, draw it, and exit."""
    timeline = tell(heard.recording)
    macs = [*timeline.macs, *(frame.mac for frame in heard.recording.announcements)]
    services = targets.services_by_ip(facts).get(heard.recording.ip, ())
    pools = targets.pool_ranges(facts)
    result = judge(
        timeline,
        _owners(macs, facts, heard.answers),
        service=", ".join(service.key for service in services),
        pool=next((one for one, ranges in pools.items() if any(heard.recording.ip in part for part in ranges)), ""),
        strangers=tuple(mac for mac in timeline.macs if _known(facts, heard.answers).is_foreign(mac)),
    )
    if options.output == "json":
        made = report.document(timeline, result, _run(place, heard))
        click.echo(redact(json.dumps(made, indent=2)))
    else:
        utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        width = min(shutil.get_terminal_size((100, 24)).columns, 140) if sys.stdout.isatty() else 100
        told = timeline_text.text(timeline, result, width=width, marks=None if utf8 else timeline_text.ASCII)
        click.echo(options.runnable(redact(told)))
    if path is not None:
        _draw(path, timeline, result, place.name)
    sys.exit(0 if result.ok else 2 if result.inconclusive else 1)


def _run(place: Interface, heard: Heard) -> dict[str, object]:

    source = place.source_for(heard.recording.ip)
    return {
        "version": __version__,
        "interface": place.name,
        "source_mac": place.mac,
        "source_ip": None if source is None else str(source),
        "sent": heard.sent,
        "received": heard.received,
    }


def _draw(path: Path, timeline: Timeline, result: Result, interface: str) -> None:

    when = datetime.fromtimestamp(timeline.zero).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    write(path, svg(timeline, result, f"0 is {when}, seen from {interface}"))
    click.echo(f"{path}: the timeline", err=True)
