"""The report as one HTML file that needs nothing else: no script, no request, no font.

Whatever is not ours (names, error texts, values) is escaped by the template, cut to a length, and
its invisible characters are made visible. Should something slip through all the same: the page's
policy forbids every script and request, and allows the one style sheet by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import unicodedata
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from orchestrations import report
from orchestrations.reporting import pictures
from orchestrations.reporting.model import RunReport

TEMPLATES = Path(__file__).parent / "templates"

LONGEST = 300
"""Characters of a value that are shown."""

_HARMLESS = frozenset("\n\t\u200c\u200d")
"""Invisible, and part of how names are written."""


def render(told: RunReport) -> str:
    """Return the page, as HTML."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    template = _environment().get_template("report.html")
    return template.render(
        told=told,
        run=told.view.run,
        rows=told.view.rows,
        style=Markup(style),  # noqa: S704 - our own file
        policy=_policy(style),
        flow=pictures.flow(told.journey),
        rate_chart=pictures.rate_chart(told.rate) if told.rate else None,
        jobs_chart=pictures.jobs_chart(told.jobs) if told.jobs else None,
        error=report.error_of(told.view.run),
        version=importlib.metadata.version("deskfeed"),
    )


def _policy(style: str) -> str:
    """Return the page's content security policy."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": plain,
        "coded": coded,
        "count": lambda number: f"{number:,}",
        "moment": moment,
        "iso": report.iso,
        "span": span,
        "percent": percent,
    }
    return environment


def plain(value: Any) -> str:
    """Return a value as text that shows what is in it: invisible characters by their number.

    Characters that turn the direction of writing could make a text look like another one.
    """
    text = str(value)
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return "".join(map(_visible, cut))


def coded(value: Any) -> Markup:
    """Return a text as `plain` does, escaped, with what stands between backticks as code."""
    text = plain(value)
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one of them is alone: it means something else
        return escape(text)
    code = Markup("<code>{}</code>")
    return Markup().join(code.format(part) if at % 2 else part for at, part in enumerate(parts))


def _visible(character: str) -> str:
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    return f"[U+{ord(character):04X}]" if hidden and character not in _HARMLESS else character


def moment(seconds: float) -> str:
    """Return a time for people, in UTC to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def span(seconds: float) -> str:
    """Return a time span for people, in its two largest units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    parts: list[str] = []
    left = round(seconds)
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        whole, left = divmod(left, size)
        if whole or parts:
            parts.append(f"{whole} {name}" if whole else "")
    return " ".join(filter(None, parts[:2]))


def percent(part: int, whole: int) -> str:
    """Return a share for people: never 0 % nor 100 % of what is not none and not all."""
    if not whole:
        return "-"
    share = 100 * part / whole
    if part and share < 0.1:
        return "< 0.1 %"
    if part < whole and share > 99.9:
        return "> 99.9 %"
    return f"{share:.1f} %" if part not in (0, whole) else f"{share:.0f} %"
