"""The page: a template and a stylesheet around the document. The only module that imports Jinja2.

What is not in the template is text of others (names, events, log lines of hosts, API messages): Jinja escapes it,
control characters are shown, and the page's Content-Security-Policy allows one stylesheet, by its hash, and nothing
else: no script, no image, no connection, no form.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from provisioner.page import picture, summary, timeline
from provisioner.page.document import Certificate, Checked, Document, mapped
from provisioner.redact import printable

_FOREVER = 253402300799.0  # the end of the year 9999, which certificates without an end have (RFC 5280, 4.1.2.5)


def render(document: Document) -> str:
    """Return the page of a report as HTML."""
    shown = mapped(document, _text)
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            document=shown,
            style=Markup(f"<style>{style}</style>"),
            policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
            verdict=summary.verdict(shown),
            tiles=summary.tiles(shown),
            attention=summary.attention(shown),
            machines=picture.machines(shown) if shown.segment.source.had else [],
            by_check=_by_check(shown),
            by_host=_by_host(shown),
        )
    )


def _text(text: str) -> str:
    """Return a text that a browser shows as it is: no control characters, no half of a surrogate pair."""
    return printable(text.encode("utf-8", "replace").decode())


def _style() -> str:
    text = files("provisioner.page").joinpath("templates/page.css").read_text(encoding="utf-8")
    return f"\n{text}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("provisioner.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"clock": summary.clock, "iso": _iso, "day": _day}
    made.globals |= {
        "titles": summary.TITLES,
        "states": summary.STATES,
        "level_of": summary.level_of,
        "certificate_level": summary.certificate_level,
        "remaining": summary.remaining,
        "cells": picture.cells,
        "lanes": timeline.lanes,
        "past": timeline.past,
        "scale": timeline.scale,
        "width": timeline.WIDTH,
    }
    return made


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds") if 0 <= when < _FOREVER else ""


def _day(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d") if when < _FOREVER else "never"


def _by_check(document: Document) -> list[tuple[str, Counter[str], list[Checked]]]:
    """Return the findings by check, each with how many failed, were inconclusive, passed and were skipped."""
    grouped: dict[str, list[Checked]] = {}
    for one in document.checks.findings:
        grouped.setdefault(one.check, []).append(one)
    return [(check, Counter(map(_outcome, found)), found) for check, found in grouped.items()]


def _outcome(finding: Checked) -> str:
    if finding.ok:
        return "skipped" if finding.skipped else "passed"
    return "inconclusive" if finding.inconclusive else "failed"


def _by_host(document: Document) -> list[tuple[str, list[Certificate]]]:
    """Return the certificates by host, the first to expire first."""
    grouped: dict[str, list[Certificate]] = {}
    for one in document.certificates.found:
        grouped.setdefault(one.host, []).append(one)
    return [(host, sorted(found, key=lambda one: one.ends or 0.0)) for host, found in grouped.items()]
