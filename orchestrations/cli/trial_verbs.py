"""Trying before sending: `preview`, and what `run --dry-run` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.table import Table

from orchestrations.cli import opened
from orchestrations.cli.asking import leave_for
from orchestrations.cli.output import (
    EXIT_FAILED,
    PARAM_HELP,
    console,
    print_json,
    say_error,
    verb,
)
from worker.errors import DeskfeedError
from worker.settings import settings, variable

if TYPE_CHECKING:
    from orchestrations.loader import Catalog
    from orchestrations.mapping import Mapper
    from orchestrations.preflight import PreFlight
    from orchestrations.runs import Options
    from orchestrations.spec import Orchestration
    from orchestrations.trial import DryRun

PREVIEW_PATIENCE_S = 5.0
"""A preview waits no longer for leave to ask Zendesk; it can do without."""


@click.command("preview")
@click.argument("orchestration")
@click.option(
    "-n",
    "count",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="How many rows of the result.",
)
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help=PARAM_HELP)
@verb
def preview(orchestration: str, count: int, *, params: tuple[str, ...], as_json: bool) -> None:
    """Show the first rows of ORCHESTRATION as they would go to Zendesk; nothing is sent.

    The account's user fields and staff are asked for; where they cannot be had the rows are shown
    without them, and that is said.
    """
    from orchestrations import trial
    from orchestrations.masking import masked_user, notice
    from orchestrations.params import params_of
    from orchestrations.reading import QueryReader
    from orchestrations.runs import Options, authorize

    catalog = opened.catalog()
    chosen = catalog.orchestration(orchestration)
    destination = catalog.destinations[chosen.destination]
    rights = authorize(catalog, destination, opened.myself(), "preview")
    options = Options(sample=count, params=params_of(params))
    with scratch() as folder, maker(catalog, chosen) as (make, missing):
        reader = QueryReader(catalog, variable, folder)
        found = trial.preview(reader, chosen, options, make)
        rows = [trial.as_json(row) for row in found.rows]
    warnings = [*found.warnings, *missing]
    if rights.restrict_pii:
        warnings.append(notice(rights))
        rows = [row | {"user": row["user"] and masked_user(row["user"])} for row in rows]
    if as_json:
        print_json(
            {
                "ok": True,
                "rows": rows,
                "withheld": list(found.withheld),
                "warnings": warnings,
                "user_fields_known": not missing,
            }
        )
        return
    for row in rows:
        _say_row(row)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def _say_row(row: dict[str, Any]) -> None:
    from orchestrations.failures import visible

    if row["user"] is None:
        click.echo(f"row {row['row']}: not sent: {row['code']}: {row['detail']}")
    else:
        text = orjson.dumps(row["user"], option=orjson.OPT_INDENT_2).decode()
        lines = map(visible, text.split("\n"))  # JSON's own ends of lines; its texts have none
        click.echo(f"row {row['row']}: " + "\n".join(lines))


@contextmanager
def maker(
    catalog: Catalog, orchestration: Orchestration
) -> Iterator[tuple[Callable[[Sequence[str]], Mapper], list[str]]]:
    """Give what makes mappers with what the account knows, or without it and then says so.

    The list is filled when the first mapper is made: why the account could not be asked.
    """
    from orchestrations.mapping import mapper_for
    from orchestrations.preflight import Connection

    missing: list[str] = []

    def make(columns: Sequence[str]) -> Mapper:
        try:
            asking = stack.enter_context(_asked(catalog, orchestration, PREVIEW_PATIENCE_S))
            staff = asking.staff(orchestration)
            found = Connection(role="", fields=asking.fields(), staff=staff)
        except DeskfeedError as error:
            missing.append(
                "the account's user fields and staff could not be asked for, so values are shown "
                f"by their own type: {error.message}"
            )
            allow_pii = catalog.destinations[orchestration.destination].allow_pii
            return mapper_for(orchestration, columns, allow_pii=allow_pii)
        return asking.mapper(orchestration, columns, found)

    with ExitStack() as stack:
        yield make, missing


@contextmanager
def _asked(
    catalog: Catalog, orchestration: Orchestration, patience_s: float | None = None
) -> Iterator[PreFlight]:
    """Give what asks the destination of an orchestration."""
    from orchestrations import runs
    from worker.app import client_for

    destination = catalog.destinations[orchestration.destination]
    target = runs.target_of(destination)
    with client_for(target, settings(), opened.times()) as client:
        limits = runs.limits_of(catalog, target.account)
        leave = leave_for(target.account, limits, patience_s)
        try:
            yield opened.pre_flight(
                client, leave.permit, target.account, allow_pii=destination.allow_pii
            )
        except DeskfeedError as error:
            leave.failed(error)
            raise


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for customers' rows, readable by us only, that is gone afterwards."""
    with TemporaryDirectory(prefix="deskfeed-") as folder:
        yield Path(folder)


def dry_run(orchestration: str, options: Options, *, as_json: bool) -> None:
    """Do everything of a run but the sending, and tell what it would have sent."""
    from orchestrations import trial
    from orchestrations.reading import QueryReader
    from orchestrations.runs import authorize

    catalog = opened.catalog()
    chosen = catalog.orchestration(orchestration)
    destination = catalog.destinations[chosen.destination]
    authorize(catalog, destination, opened.myself(), "run")
    account = destination.account
    with scratch() as folder, opened.ledger() as ledger, _asked(catalog, chosen) as asking:
        found = asking.check(chosen)
        kept = ledger.kept
        done = trial.dry_run(
            QueryReader(catalog, variable, folder),
            chosen,
            options,
            lambda columns: asking.mapper(chosen, columns, found),
            trial.Known(kept.hash_key, kept.marks(account, chosen.name)),
        )
    if as_json:
        print_json(_as_json(chosen, done))
    else:
        _say(chosen, done)
    if done.error:
        raise SystemExit(EXIT_FAILED)


def _as_json(orchestration: Orchestration, done: DryRun) -> dict[str, Any]:
    return {
        "ok": not done.error,
        "orchestration": orchestration.name,
        "dry_run": True,
        "read": done.read,
        "to_send": done.to_send,
        "changed": done.changed,
        "unchanged": done.unchanged,
        "chunks": done.chunks,
        "rejected": [
            {"outcome": kind, "code": code, "rows": rows}
            for (kind, code), rows in sorted(done.rejected.items())
        ],
        "warnings": list(done.warnings),
        "error": done.error.as_dict() if done.error else None,
    }


def _say(orchestration: Orchestration, done: DryRun) -> None:
    from orchestrations import report

    out = console()
    out.print(
        f"{orchestration.name} -> {orchestration.destination}: nothing was sent", style="bold"
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    table.add_row(f"{done.read:,}", "rows read")
    table.add_row(f"{done.to_send:,}", f"would be sent, in {done.chunks:,} requests")
    table.add_row(f"{done.changed:,}", "new or changed since Zendesk last confirmed them")
    table.add_row(f"{done.unchanged:,}", "unchanged")
    for (kind, code), rows in sorted(done.rejected.items()):
        table.add_row(f"{rows:,}", f"{kind}: {report.title_of(code)} ({code})")
    out.print(table)
    for warning in done.warnings:
        out.print(f"warning: {warning}", style="yellow", markup=False)
    if done.error:
        say_error(done.error.message, done.error.resolution, done.error.code)
    else:
        click.echo(f"Send it: deskfeed run {orchestration.name} --wait")
