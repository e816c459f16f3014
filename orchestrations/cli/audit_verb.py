"""The verb `audit`: who did what, and when."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import orjson
from rich.table import Table

from orchestrations.cli import opened
from orchestrations.cli.output import console, print_json, verb


@click.command("audit")
@click.option("-n", "limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option(
    "--of", "subject", metavar="SUBJECT", help="Only of this run, account or destination."
)
@verb
def audit(limit: int, *, subject: str | None, as_json: bool) -> None:
    """List who started, paused, stopped, resumed, retried or changed what; the newest first."""
    with opened.ledger() as ledger:
        lines = ledger.audit.newest(limit, subject)
    if as_json:
        shown = [
            {
                "number": line.number,
                "at": _moment(line.at),
                "principal": line.principal,
                "action": line.action,
                "subject": line.subject,
                "data": dict(line.data),
            }
            for line in lines
        ]
        print_json({"ok": True, "lines": shown})
        return
    if not lines:
        click.echo("Nobody did anything yet.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("when (UTC)", "who", "did", "to", "with"):
        table.add_column(title)
    for line in lines:
        words = orjson.dumps(dict(line.data)).decode() if line.data else ""
        table.add_row(_moment(line.at), line.principal, line.action, line.subject, words)
    console().print(table, markup=False)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
