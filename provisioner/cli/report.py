"""The command report: one HTML page about the cluster as it is now."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from provisioner import ownership, page
from provisioner.cli.l2_collect import write
from provisioner.cli.l2_guard import default_db
from provisioner.cli.options import Options, split_names
from provisioner.cli.session import open_session
from provisioner.errors import ProvisionerError
from provisioner.l2.guard.store import parse_since
from provisioner.page import Context, Document, Earlier, Wishes
from provisioner.redact import redact
from provisioner.site import load_site
from provisioner.steps import STEPS
from provisioner.text import did_you_mean, join_words

DEFAULT = Path("report.html")


@click.command("report")
@click.option(
    "-O",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Write the page into this file, - for stdout. [default: {DEFAULT}]",
)
@click.option(
    "--skip",
    default="",
    metavar="PARTS",
    help="Leave these out, comma-separated: checks (10 to 60 s), drift (5 to 20 s), segment (2 s, "
    "and 10 ms an address).",
)
@click.option(
    "--from",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Use what verify, drift, l2 scan, l2 check, l2 watch, l2 guard history or report printed with -o json. "
    "Repeatable.",
)
@click.option("--offline", is_flag=True, help="Contact nothing: hosts.toml and --from only.")
@click.option(
    "--since", default="7d", show_default=True, metavar="PERIOD", help="Events of l2 guard from so long ago on."
)
@click.option(
    "--db", type=click.Path(path_type=Path), metavar="FILE", help="The file of past events of l2 guard. [default: its]"
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), help="json: print the report as JSON, report/v1.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.pass_obj
def report(
    options: Options,
    *,
    out: Path | None,
    skip: str,
    files: tuple[Path, ...],
    offline: bool,
    since: str,
    db: Path | None,
    output: str | None,
    quiet: bool,
) -> None:
    """Write one HTML page about the cluster: what is there, what is wrong with it, and what to do.

    Nodes, who answers for which address, pools, the checks of `verify` that change nothing, failovers, versions,
    certificates and drift. What cannot be had (a host is down, the API does not answer) is missing on the page, which
    says why. The page loads nothing from elsewhere. It describes your network; its file has mode 0600.

    Exit status: 0 written, 2 written, but parts are missing, 1 not written.

    Example: provisioner report -O cluster.html --from verify.json
    """
    form = output or options.output
    parts = _parts(skip)
    earlier = page.read(files)
    _require_place(out)
    wishes = Wishes(
        earlier=earlier,
        skip=parts,
        since=parse_since(since),
        db=db or default_db(),
        runnable=options.runnable,
    )
    document = _document(options, wishes, offline=offline, quiet=quiet or form == "json")
    if form == "json":
        click.echo(page.document.to_json(document))
    if out is not None or form != "json":
        _write(out or DEFAULT, page.render(document), document)
    sys.exit(2 if document.missing else 0)


def _parts(skip: str) -> tuple[str, ...]:
    names = split_names(skip)
    for name in names:
        if name not in page.PARTS:
            raise ProvisionerError(
                f"--skip {name!r} is no part that can be left out",
                did_you_mean(name, page.PARTS) or f"these can be: {join_words(page.PARTS)}",
            )
    return names


def _require_place(out: Path | None) -> None:
    """Raise ProvisionerError before anything is asked if the page could not be written."""
    if out is None or str(out) == "-":
        return
    if out.is_dir():
        raise ProvisionerError(f"{out} is a folder", f"name a file: -O {out / DEFAULT}")
    if not out.parent.is_dir():
        raise ProvisionerError(f"no such folder: {out.parent}", "create it, or choose another with -O")


def _document(options: Options, wishes: Wishes, *, offline: bool, quiet: bool) -> Document:
    earlier = wishes.earlier
    if earlier.report is not None:
        if earlier != Earlier(report=earlier.report):
            raise ProvisionerError(
                "a report is whole and takes no other file", "give --from its file alone, or the others without it"
            )
        return earlier.report
    if offline:
        return page.from_files(load_site(options.file), wishes)
    with open_session(replace(options, output="text"), "report", STEPS, silent=quiet) as session:
        events = session.report

        def begin(part: str, purpose: str) -> None:
            events.emit("step", purpose, step=part)

        session.cluster.progress = lambda text: events.emit("output", text, host="cluster", step="report")
        context = Context(session.site, session.hosts, session.cluster, events, options.parallel)
        document = page.gather(context, replace(wishes, begin=begin))
        events.emit("idle")
        return document


def _write(out: Path, text: str, document: Document) -> None:
    if str(out) == "-":
        click.echo(text, nl=False)
        return
    write(out, text)
    ownership.give_back(out)
    _, verdict = page.verdict(document)
    click.echo(redact(f"{out}: {verdict[:1].lower()}{verdict[1:]} ({len(text.encode()) // 1024 + 1} kB)"), err=True)
    for name, source in document.missing.items():
        click.echo(redact(f"note: without {name}: {source.why}"), err=True)
