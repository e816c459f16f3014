"""The verbs that start runs and tell of them: run, watch, runs, show, failures."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from orchestrations.cli import opened
from orchestrations.cli.output import (
    PARAM_HELP,
    console,
    errors,
    print_json,
    say_error,
    verb,
)
from orchestrations.cli.private_file import write_private
from worker.errors import UsageError
from worker.settings import settings

if TYPE_CHECKING:
    from worker.ledger import Ledger
    from worker.ledger.records import RunView


@click.command("run")
@click.argument("orchestration")
@click.option("--wait", is_flag=True, help="Stay and watch until the run has ended.")
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="N", help="Only the first N rows of the result."
)
@click.option("--full", is_flag=True, help="Send also what has not changed (`send: changed`).")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help=PARAM_HELP)
@click.option("--key", metavar="K", help="The same key again is the same run, started once.")
@click.option("--dry-run", is_flag=True, help="Everything but the sending: says what would go.")
@verb
def run(
    orchestration: str,
    *,
    wait: bool,
    sample: int | None,
    full: bool,
    params: tuple[str, ...],
    key: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Start a run of ORCHESTRATION.

    With --wait the exit code tells how it ended: 0 every row delivered or rightly skipped,
    3 finished with failed or unconfirmed rows, 1 failed or stopped. 2: nothing was started.
    """
    from orchestrations import runs
    from orchestrations.cli import trial_verbs
    from orchestrations.params import params_of
    from orchestrations.starting import refuse_key, refuse_sample

    refuse_key(key)
    refuse_sample(sample)
    options = runs.Options(sample=sample, full=full, params=params_of(params))
    if dry_run:
        if wait or key:
            raise UsageError("--dry-run starts no run, so --wait and --key mean nothing with it")
        trial_verbs.dry_run(orchestration, options, as_json=as_json)
        return
    catalog = opened.catalog()
    runs.refuse_draft(catalog.orchestration(orchestration))
    settings().redis()
    with opened.ledger() as ledger:
        begun, new = runs.start(
            catalog,
            orchestration,
            ledger=ledger,
            principal=opened.principal(),
            groups=opened.myself().groups,
            key=key,
            options=options,
        )
        reached = enqueue_plan(begun.run_id) if new else True
        if not as_json:
            _say_started(begun.run_id, new=new, reached=reached)
        if wait:
            follow(ledger, begun.run_id, as_json=as_json)
        if as_json:
            print_json({"ok": True, "run_id": begun.run_id, "new": new, "enqueued": reached})
        else:
            click.echo(f"  Watch it: deskfeed watch {begun.run_id}")


def enqueue_plan(run_id: str) -> bool:
    """Send the first message; False when Redis is away, and then the sweeper sends it later."""
    from kombu.exceptions import OperationalError

    from worker.app import enqueue
    from worker.hints import Plan

    try:
        enqueue(Plan(run_id))
    except OperationalError:
        return False
    return True


def _say_started(run_id: str, *, new: bool, reached: bool) -> None:
    out = errors()
    out.print(f"{'Started' if new else 'Already started:'} {run_id}")
    if not reached:
        out.print(
            "Redis does not answer. The run is recorded and starts by itself once Redis and a "
            "worker are there.",
            style="yellow",
        )


@click.command("watch")
@click.argument("run_id", metavar="RUN")
@verb
def watch(run_id: str, *, as_json: bool) -> None:
    """Watch RUN until it has ended; Ctrl-C leaves it running. RUN may be `last`."""
    from orchestrations import runs

    with opened.ledger() as ledger:
        follow(ledger, runs.find_run(ledger, run_id).run_id, as_json=as_json)


def follow(ledger: Ledger, run_id: str, *, as_json: bool) -> None:
    """Follow a run to its end, say how it ended, and end this command with its exit code."""
    from orchestrations import report
    from orchestrations.cli.gates import Gates
    from orchestrations.cli.waiting import Watcher, say_detached

    notices = errors()
    watcher = Watcher(
        ledger,
        run_id,
        lambda text: notices.print(text, style="yellow", markup=False),
        Gates(settings().redis_url).state,
    )
    try:
        view = watcher.follow()
    except KeyboardInterrupt:
        say_detached(run_id)
        sys.exit(130)
    if as_json:
        print_json(report.run_as_json(view))
    else:
        print_summary(ledger, view)
    sys.exit(report.EXIT_CODES[view.run.state])


@click.command("runs")
@click.option("-n", "limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@verb
def runs_(limit: int, *, as_json: bool) -> None:
    """List the newest runs."""
    from orchestrations import report

    with opened.ledger() as ledger:
        views = [ledger.views.run(run.run_id) for run in ledger.runs.newest(limit)]
    found = [view for view in views if view is not None]
    if as_json:
        print_json({"ok": True, "runs": [report.run_as_json(view) for view in found]})
        return
    if not found:
        click.echo("No runs yet. Start one: deskfeed run ORCHESTRATION --wait")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "orchestration", "started", "state"):
        table.add_column(name, no_wrap=name == "run")
    for name in ("read", "sent", "failed"):
        table.add_column(name, justify="right")
    for view in found:
        rows = view.rows
        table.add_row(
            view.run.run_id,
            view.run.orchestration,
            "retry" if view.run.parent_run else view.run.origin or "",
            str(view.run.state).replace("_", " "),
            f"{rows.read:,}",
            f"{rows.created + rows.updated:,}",
            f"{rows.failed + rows.unconfirmed:,}",
        )
    console().print(table)
    click.echo("One of them in full: deskfeed show RUN")


@click.command("show")
@click.argument("run_id", metavar="RUN")
@verb
def show(run_id: str, *, as_json: bool) -> None:
    """Show RUN: state, what became of its rows, and what to do. RUN may be `last`."""
    from orchestrations import report, runs

    with opened.ledger() as ledger:
        view = _view(ledger, runs.find_run(ledger, run_id).run_id)
        if as_json:
            print_json(report.run_as_json(view))
        else:
            print_summary(ledger, view)
            if not view.run.parent_run:
                console().print(f"started {report.started_by(view.run)}", markup=False)


def _view(ledger: Ledger, run_id: str) -> RunView:
    view = ledger.views.run(run_id)
    if view is None:
        raise UsageError(f"there is no run {run_id!r}", code="run_not_found")
    return view


def print_summary(ledger: Ledger, view: RunView) -> None:
    """Print what became of a run, and the commands that help further."""
    from orchestrations import report

    out, run, rows = console(), view.run, view.rows
    head = f"{run.run_id}  {run.orchestration} -> {run.target.destination}"
    out.print(Text(head, style="bold"), overflow="ellipsis", no_wrap=out.is_terminal)
    out.print(report.verdict(view), markup=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name, value in asdict(rows).items():
        if value or name in ("read", "created", "updated", "failed"):
            table.add_row(name, f"{value:,}", "")
            _add_reasons(table, view, name)
    out.print(table)
    submitted = ledger.views.events(run.run_id, "chunk_submitted")
    if submitted:
        budget = ledger.polling.account(run.target.account).limits.users_per_second
        peak = report.peak_users_per_second(submitted)
        out.print(
            f"peak {peak} users in any second (budget {budget}), "
            f"{view.posts} POSTs, {run.polls} polls"
        )
    if run.started_at and run.ended_at:
        out.print(f"took {run.ended_at - run.started_at:.1f} s")
    for warning in view.warnings:
        out.print(f"warning: {warning}", style="yellow", markup=False)
    error = report.error_of(run)
    if error is not None:
        say_error(f"{error['title']}: {error['message']}", error["resolution"], error["code"])
    _print_family(view)
    _print_next(view)


def _print_next(view: RunView) -> None:
    """Print the commands that help further."""
    from orchestrations import report
    from worker.ledger.states import RunState

    run_id = view.run.run_id
    if view.rows.failed + view.rows.unconfirmed:
        click.echo(f"Every row with its reason: deskfeed failures {run_id}")
    if report.may_be_retried(view):
        click.echo(f"Send them again: deskfeed retry {run_id}")
    if view.run.state == RunState.PAUSED:
        click.echo(f"Go on: deskfeed resume {run_id}")
    if not report.ended(view.run):
        click.echo(f"Watch it: deskfeed watch {run_id}")
        click.echo(f"End it: deskfeed stop {run_id}")
        return
    if view.rows.created + view.rows.updated:
        click.echo(f"Compare with Zendesk: deskfeed verify {run_id}")
    # Without -o: the file is named after the run, so this line never meets another run's file.
    click.echo(f"All of it as one page: deskfeed report {run_id}")


def _print_family(view: RunView) -> None:
    """Print which run this one retries, and which runs retry it."""
    if view.run.parent_run:
        console().print(f"a retry of {view.run.parent_run}", markup=False)
    if view.retries:
        console().print(f"retried by {', '.join(view.retries)}", markup=False)


def _add_reasons(table: Table, view: RunView, kind: str) -> None:
    from orchestrations import report

    if kind == "skipped" and view.run.unchanged:
        table.add_row("", f"{view.run.unchanged:,}", "Zendesk has them already (unchanged)")
    for (of, code), count in sorted(view.reasons.items(), key=lambda item: -item[1]):
        if of == kind:
            table.add_row("", f"{count:,}", f"{report.title_of(code)} ({code})")


@click.command("failures")
@click.argument("run_id", metavar="RUN")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "jsonl"]),
    default="table",
    show_default=True,
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write into this file (readable by you only) instead of the terminal.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there already.")
@click.option("--skipped", is_flag=True, help="Also the rows that were rightly not sent.")
@verb
def failures(
    run_id: str, *, style: str, output: Path | None, force: bool, skipped: bool, as_json: bool
) -> None:
    """List the rows of RUN that were not delivered, each with its reason. RUN may be `last`."""
    from orchestrations import runs
    from orchestrations.failures import as_json as as_json_row
    from orchestrations.failures import lines
    from orchestrations.masking import masked_row, notice
    from worker.profile import OutcomeKind

    if as_json and (output or style != "table"):
        raise UsageError(
            "--json writes one document to the terminal; -o and --format do not go with it",
            resolution="For a file: deskfeed failures RUN --format jsonl -o FILE",
        )
    kinds = [OutcomeKind.FAILED, OutcomeKind.UNCONFIRMED]
    if skipped:
        kinds.append(OutcomeKind.SKIPPED)
    with opened.ledger() as ledger:
        found = runs.find_run(ledger, run_id)
        _say_if_pruned(_view(ledger, found.run_id))
        rows = ledger.views.not_delivered(found.run_id, tuple(kinds))
        rights = opened.rights("failures")
        if rights.restrict_pii:
            errors().print(notice(rights), style="yellow", markup=False)
            rows = map(masked_row, rows)
        if as_json:
            listed = [as_json_row(row, found) for row in rows]
            print_json({"ok": True, "run_id": found.run_id, "failures": listed})
        else:
            _write(lines(rows, found, style), output, force=force)


def _say_if_pruned(view: RunView) -> None:
    if view.rows_pruned:
        errors().print(
            "The single rows of this run are no longer kept (DESKFEED_RETENTION__OUTCOMES); its "
            f"sums are: deskfeed show {view.run.run_id}",
            style="yellow",
        )


def _write(lines: Iterable[str], output: Path | None, *, force: bool) -> None:
    if output is None:
        for line in lines:
            click.echo(line)
        return
    count = write_private(output, (line + "\n" for line in lines), force=force)
    click.echo(f"{output}: {count} lines", err=True)
