"""`provisioner l2 watch`: time a failover."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from provisioner import __version__
from provisioner.cli.l2 import Seconds, interface_option, no_zero_option, require_folder
from provisioner.cli.l2_collect import write
from provisioner.cli.l2_selection import Selection, cluster_options, output_option
from provisioner.cli.l2_sources import open_source
from provisioner.cli.options import Options
from provisioner.errors import Inconclusive, ProvisionerError
from provisioner.l2 import check, diagnosis, owners, targets, terminal
from provisioner.l2.facts import Facts
from provisioner.l2.macs import vendor as vendor_of
from provisioner.l2.owners import NodeMacs
from provisioner.l2.probe import interfaces
from provisioner.l2.probe.capture import Address, Answer
from provisioner.l2.probe.interfaces import Interface
from provisioner.l2.result import AddressOwner, Result
from provisioner.l2.watch import chart, chart_svg, recorder, report
from provisioner.l2.watch.live import END, Live
from provisioner.l2.watch.recorder import RecordedRun, WatchPlan
from provisioner.l2.watch.timeline import Timeline, build_timeline
from provisioner.l2.watch.verdict import format_seconds, judge, owner_name
from provisioner.redact import redact

UNTIL_STABLE_TIMEOUT = 600.0  # seconds
DEFAULT_TIMEOUT = 4 * 3600.0  # seconds; every frame is kept, so a forgotten watch has to end


@click.command()
@click.argument("ip", metavar="IP")
@click.option("--until-stable", is_flag=True, help="End after a failover, once only one owner answers.")
@click.option(
    "--stable-for",
    default=6.0,
    type=Seconds(1, 3600),
    show_default=True,
    metavar="SECONDS",
    help="How long only one owner must answer. Less than 6 misses some of MetalLB's gratuitous frames.",
)
@click.option(
    "--timeout",
    type=Seconds(1, 86400),
    metavar="SECONDS",
    help="End after this time. [default: 4 hours; with --until-stable 600]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="TCP port to try, 0 for none. [default: the Service's in --facts, else none]",
)
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Also draw the timeline into this file.")
@click.option(
    "--facts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take the nodes' names from this file of `l2 collect`.",
)
@interface_option
@click.option(
    "--interval",
    default=0.1,
    type=Seconds(0.02, 10),
    show_default=True,
    metavar="SECONDS",
    help="Time between requests, which is the resolution of the silence.",
)
@click.option(
    "--gap",
    default=1.0,
    type=Seconds(0.1, 60),
    show_default=True,
    metavar="SECONDS",
    help="Shortest silence to report if the same owner ends it.",
)
@no_zero_option
@output_option
@cluster_options
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
    selection: Selection,
) -> None:
    """Time a failover of an external IP: the old owner, the silence, the new owner.

    Start it, then power off the node or delete its speaker; a drain moves only Services with externalTrafficPolicy
    Local. Press Ctrl-C to end it with the report. It sends ten requests per second and no gratuitous ARP.

    Exit status: 0 one owner at the end, 1 a fault (no owner, two owners, no gratuitous ARP), 2 inconclusive from here,
    or no failover.

    Example: provisioner l2 watch 192.168.56.200 --until-stable --port 80 --svg failover.svg
    """
    options = options or Options()
    target = _address(ip)
    targets.refuse_unusable([target], None)
    # The API is read once, if at all: during a failover it may not answer. hosts.toml names the nodes without it.
    if selection.site(options):
        selection = replace(selection, offline=True)
    with open_source(options, "l2-watch", selection) as source:
        known = source.facts
        for note in source.problems or (source.notes if known is None else ()):
            click.echo(redact(f"note: {note}; nodes have no names here"), err=True)
    place = check.choose_interface(interfaces.read(), [target], known, interface)
    targets.refuse_unusable([target], None, place.subnets)
    _require_vantage(place, target, known)
    plan = WatchPlan(
        ip=target,
        port=port if port is not None else next(iter(check.tcp_ports(known).get(target, ())), 0),
        interval=interval,
        gap=gap,
        stable=stable_for if until_stable else None,
        timeout=timeout or (UNTIL_STABLE_TIMEOUT if until_stable else DEFAULT_TIMEOUT),
        arp_probe=not no_zero,
        nodes=tuple(node for node in check.node_addresses(known) if place.reaches(node)),
    )
    require_folder(svg)  # before the failover, which happens only once
    run = _record(place, plan, known)
    _finish(options, place, run, known, svg)


def _address(text: str) -> Address:
    if (ip := targets.address(text)) is None:
        raise ProvisionerError(f"{text!r} is not an IP address", "write 192.0.2.200 or 2001:db8::200")
    return ip


def _require_vantage(place: Interface, target: Address, facts: Facts | None) -> None:
    """Raise Inconclusive if nothing can be concluded here: on a node, or if the address is this machine's own."""
    vantage = interfaces.vantage(place)
    if target in vantage.own_addresses:
        raise Inconclusive(f"{target} is this machine's own", "run it on another machine on the segment")
    if (wrong_place := diagnosis.diagnose_location(vantage, facts, [target])) is not None:
        raise Inconclusive(" ".join(wrong_place.evidence).rstrip("."), wrong_place.remedy)


def _record(place: Interface, plan: WatchPlan, facts: Facts | None) -> RecordedRun:
    what = f"watching {plan.ip} from {place.name}: one request every {format_seconds(plan.interval)}"
    tcp = f", TCP {plan.port} every {format_seconds(plan.tcp_interval)}" if plan.port else ""
    click.echo(f"{what}{tcp}; {END}", err=True)
    node_answers: list[Answer] = []
    live = Live(sys.stderr, lambda mac: owner_name(_owners([mac], facts, node_answers), mac))

    def progress(tick: recorder.Tick) -> None:
        node_answers.extend(answer for answer in tick.answers if answer.ip != plan.ip)
        live(tick)

    try:
        return recorder.record(place, plan, progress)
    finally:
        live.close()


def _node_macs(facts: Facts | None, answers: Sequence[Answer]) -> NodeMacs:
    return owners.from_facts(facts, answers) if facts is not None else NodeMacs()


def _owners(macs: Sequence[str], facts: Facts | None, answers: Sequence[Answer]) -> dict[str, AddressOwner]:
    known = _node_macs(facts, answers)
    found = {}
    for mac in macs:
        owner = known.owner(mac)
        vendor = "" if owner.nodes else vendor_of(mac)
        found[mac] = AddressOwner(mac, owner.node, owner.nic, owner.nodes, matched_by=owner.matched_by, vendor=vendor)
    return found


def _finish(options: Options, place: Interface, run: RecordedRun, facts: Facts | None, path: Path | None) -> None:
    """Print the report, draw it, and exit."""
    timeline = build_timeline(run.recording)
    macs = [*timeline.macs, *(frame.mac for frame in run.recording.announcements)]
    services = targets.services_by_ip(facts).get(run.recording.ip, ())
    pools = targets.pool_ranges(facts)
    known = _node_macs(facts, run.answers)
    result = judge(
        timeline,
        _owners(macs, facts, run.answers),
        service=", ".join(service.key for service in services),
        pool=next((one for one, ranges in pools.items() if any(run.recording.ip in part for part in ranges)), ""),
        foreign=tuple(mac for mac in timeline.macs if known.is_foreign(mac)),
    )
    if options.output == "json":
        document = report.document(timeline, result, _run(place, run))
        click.echo(redact(json.dumps(document, indent=2)))
    else:
        utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        width = min(terminal.columns(sys.stdout.isatty()), 140)
        text = chart.render(timeline, result, width=width, marks=None if utf8 else chart.ASCII)
        click.echo(options.runnable(redact(text)))
    if path is not None:
        _draw(path, timeline, result, place.name)
    sys.exit(0 if result.ok else 2 if result.inconclusive else 1)


def _run(place: Interface, run: RecordedRun) -> dict[str, object]:
    source = place.source_for(run.recording.ip)
    return {
        "version": __version__,
        "interface": place.name,
        "source_mac": place.mac,
        "source_ip": None if source is None else str(source),
        "sent": run.sent,
        "received": run.received,
    }


def _draw(path: Path, timeline: Timeline, result: Result, interface: str) -> None:
    when = datetime.fromtimestamp(timeline.zero).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    write(path, chart_svg.render(timeline, result, f"0 is {when}, seen from {interface}"))
    click.echo(f"{path}: the timeline", err=True)
