"""The verbs about what is there already: verify what was delivered, prune what is old."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
from rich.table import Table

from orchestrations.cli import opened
from orchestrations.cli.asking import leave_for
from orchestrations.cli.limits_verbs import TimeSpan
from orchestrations.cli.output import EXIT_FAILED, console, fail, print_json, verb
from worker.errors import RunError, UsageError
from worker.settings import settings, variable

if TYPE_CHECKING:
    from orchestrations.verification import Verified
    from worker.ledger.records import Run
    from worker.ledger.retention import Pruned

EXIT_DIFFERENT = 3

LISTED = 20
"""So many rows a person is shown; --json has more."""

_FOUND = {
    "equal": "as they were delivered, as far as Zendesk shows",
    "differs": "differ at Zendesk from what was delivered",
    "missing": "missing at Zendesk",
    "source_changed": "source changed: the row is not what was delivered",
    "not_delivered": "not delivered: nothing is known of this person at Zendesk",
    "not_verifiable": "not verifiable: no external_id that Zendesk can be asked for",
    "not_sampled": "not in the sample",
    "not_sent": "not sent: refused by the mapping, or a duplicate",
}


@click.command("verify")
@click.argument("run_id", metavar="RUN")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compare N rows only, for the same RUN always the same ones.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value that RUN was given; such values are not kept once a run has ended.",
)
@verb
def verify(run_id: str, *, sample: int | None, params: tuple[str, ...], as_json: bool) -> None:
    """Compare what RUN delivered with what Zendesk has now; nothing is changed.

    The query runs again; rows that are exactly what was delivered are compared field by field.
    Exit code: 0 all equal, 3 differences found, 1 it could not be done.
    """
    from orchestrations import runs, verification
    from orchestrations.params import params_of
    from worker.app import client_for

    catalog = opened.catalog()
    given = params_of(params)
    with opened.ledger() as ledger, _scratch() as scratch:
        run = runs.find_run(ledger, run_id)
        verification.refuse_unverifiable(run)
        orchestration = catalog.orchestration(run.orchestration)
        destination = catalog.destinations[orchestration.destination]
        runs.authorize(catalog, destination, opened.myself(), "verify")
        with client_for(run.target, settings(), opened.times()) as client:
            leave = leave_for(run.target.account)
            reader = verification.Reader(client, leave.permit, leave.failed)
            fields = opened.fields_of(client, leave.permit, run.target.account)
            verifier = verification.Verifier(ledger, catalog, reader, scratch, variable, fields)
            found = verifier.verify(run, sample, given)
    _tell(run, found, as_json=as_json)


def _tell(run: Run, found: Verified, *, as_json: bool) -> None:
    """Say what was found, and end with the exit code that says it, too."""
    problem = None
    if found.read and not found.compared:
        problem = RunError(
            f"none of the {found.read:,} rows of {run.orchestration} could be compared",
            code="not_verified",
            resolution=f"Run it again (deskfeed run {run.orchestration} --wait), then: "
            "deskfeed verify last",
        )
    bad = bool(found.differs or found.missing)
    if as_json:
        answer = {"ok": not problem and not bad, "run_id": run.run_id, **asdict(found)}
        answer["differing"] = [{"row": row, "fields": names} for row, names in found.differing]
        print_json({**answer, "error": problem.as_dict() if problem else None})
    else:
        _say_verified(run, found)
        if problem:
            fail(problem, as_json=False)
    sys.exit(EXIT_FAILED if problem else EXIT_DIFFERENT if bad else 0)


def _say_verified(run: Run, found: Verified) -> None:
    out = console()
    out.print(f"{run.run_id}  {run.orchestration} -> {run.target.account}", style="bold")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    table.add_row(f"{found.read:,}", "rows read")
    for name, words in _FOUND.items():
        count = getattr(found, name)
        if count or name in ("equal", "differs", "missing"):
            table.add_row(f"{count:,}", words)
    out.print(table)
    if found.fields:
        out.print(f"Fields that differ: {_counted(found.fields)}", markup=False)
    for row, names in found.differing[:LISTED]:
        out.print(f"  row {row}: {', '.join(names)}", markup=False)
    if found.missing_rows:
        out.print("Missing rows: " + ", ".join(map(str, found.missing_rows[:LISTED])))
    if found.differs > LISTED or found.missing > LISTED:
        out.print("There are more; --json lists up to 1,000 of each.")
    _say_unseen(found)


def _say_unseen(found: Verified) -> None:
    out = console()
    if found.unseen:
        fields = _counted(found.unseen)
        out.print(f"Not compared, as Zendesk does not show what was sent: {fields}", markup=False)
    if "email" in found.unseen:
        out.print(
            "  email: another address is the primary one; the one that was sent may be secondary"
        )


def _counted(fields: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({rows:,})" for name, rows in fields.items())


# --- where rows lie meanwhile ---------------------------------------------------------------------


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for customers' rows, readable by us only; what a killed command left goes first."""
    folder = settings().state_dir / "verify"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in folder.iterdir():
        if not _is_alive(left.name.partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(dir=folder, prefix=f"{os.getpid()}-") as made:
        yield Path(made)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True  # somebody else's
    except (ValueError, OverflowError, OSError):
        return False
    return True


# --- prune ----------------------------------------------------------------------------------------


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Count what would be removed; remove nothing.")
@click.option(
    "--older-than",
    type=TimeSpan(),
    metavar="TIME",
    help="Remove everything of runs that ended longer ago than this (30d, 12h), whatever the "
    "settings keep.",
)
@click.option(
    "--digests",
    is_flag=True,
    help="Remove what is known to be at Zendesk instead, of everybody, so that DESKFEED_HASH_KEY "
    "may be changed; with `send: changed` the next runs send everybody once more.",
)
@verb
def prune(*, dry_run: bool, older_than: float | None, digests: bool, as_json: bool) -> None:
    """Remove what is older than the settings keep it; workers do it once a day by themselves.

    Nothing of a run that has not ended is touched, nor (without --digests) what is known to be at
    Zendesk.
    """
    if digests:
        _remove_digests(dry_run=dry_run, older_than=older_than, as_json=as_json)
        return
    ages = opened.ages()
    if older_than is not None:
        ages = ages.at_most(older_than)
    with opened.ledger() as ledger:
        done = ledger.retention.look(ages) if dry_run else ledger.retention.prune(ages)
        if done.anything and not dry_run:
            ledger.audit.note(opened.principal(), "prune", "ledger", **asdict(done))
    if as_json:
        print_json({"ok": True, "dry_run": dry_run, "removed": asdict(done)})
    else:
        _say_pruned(done, dry_run=dry_run)


def _remove_digests(*, dry_run: bool, older_than: float | None, as_json: bool) -> None:
    """The way over to another key of the hashes: the ledger need not open with the one set."""
    if dry_run or older_than is not None:
        raise UsageError("--digests goes with no other option")
    from worker.ledger.hashing import forget_everybody

    with opened.database() as database:
        removed = forget_everybody(database, opened.principal())
    if as_json:
        print_json({"ok": True, "dry_run": False, "removed": {"digests": removed}})
    else:
        click.echo(f"Removed what was known of {removed:,} people at Zendesk.")


def _say_pruned(done: Pruned, *, dry_run: bool) -> None:
    if not done.anything:
        click.echo("Nothing is old enough to be removed.")
        return
    click.echo("Would be removed:" if dry_run else "Removed:")
    for count, words in (
        (done.kept_rows, "chunks' kept rows (of failed, unconfirmed and cancelled rows)"),
        (done.outcomes, "rows' reasons"),
        (done.results, "chunks' lists of Zendesk ids"),
        (done.events, "events"),
        (done.chunks, "chunks"),
        (done.runs, "runs"),
        (done.audit, "lines of the audit"),
    ):
        if count:
            click.echo(f"  {count:>9,}  {words}")
