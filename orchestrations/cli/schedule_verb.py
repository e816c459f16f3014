"""The verb `schedule`: what starts by itself, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from orchestrations.cli import opened
from orchestrations.cli.output import console, duration, errors, print_json, verb
from worker.settings import settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from orchestrations.agenda import Entry
    from orchestrations.loader import Problem

SILENT_S = 120.0
"""Beat ticks every 30 seconds; after so long without a tick something is wrong with it."""

BEAT = "celery -A worker.app beat"


@click.command("schedule")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=5, show_default=True)
@verb
def schedule(count: int, *, as_json: bool) -> None:
    """Show what starts by itself: the next times, what comes after what, and whether beat ticks.

    -n says how many times of each orchestration.
    """
    from orchestrations import agenda
    from orchestrations.loader import read_catalog
    from worker.ledger.pulse import Pulse

    reading = read_catalog(settings().catalog)
    with opened.ledger() as ledger:
        entries = agenda.agenda(reading, ledger, count, datetime.now(UTC))
        silent = Pulse(ledger.database).beat_silent_seconds()
    ticks = silent is not None and silent <= SILENT_S * settings().time_scale
    if as_json:
        beat = {"ticks": ticks, "last_tick_seconds_ago": silent}
        shown = [agenda.as_json(entry) for entry in entries]
        problems = [str(problem) for problem in reading.problems]
        print_json({"ok": True, "beat": beat, "orchestrations": shown, "problems": problems})
        return
    for entry in entries:
        _say_entry(entry)
    if not entries:
        click.echo("The catalog holds no orchestrations yet. Make an example: deskfeed init")
    _say_problems(reading.problems)
    _say_beat(silent, ticks=ticks, needed=any(entry.by_itself for entry in entries))


def _say_entry(entry: Entry) -> None:
    out = console()
    out.print(f"{entry.name}  {_starts(entry)}", style="bold", markup=False)
    for title, line in _lines(entry):
        out.print(f"  {title:<12}{line}", markup=False)


def _starts(entry: Entry) -> str:
    """Say what starts an orchestration."""
    one = entry.orchestration
    if one is None:
        return "its file is wrong: nothing starts it (deskfeed check)"
    said = f"after {one.after}" if one.after else "by hand"
    if one.schedule:
        said = f"{one.schedule.cron}  {one.schedule.timezone}"
        said += ", the last one missed is made up for" if one.schedule.catch_up == "last" else ""
    return f"{said} (a draft: nothing starts it)" if one.status == "draft" else said


def _lines(entry: Entry) -> list[tuple[str, str]]:
    from orchestrations.agenda import local
    from orchestrations.report import started_by

    found: list[tuple[str, str]] = []
    zone = entry.orchestration.schedule if entry.orchestration else None
    for moment in entry.next if zone else ():
        title = "" if found else "next"
        found.append((title, f"{local(moment, zone.timezone)}   {moment:%Y-%m-%dT%H:%MZ}"))  # type: ignore[union-attr]
    if entry.then:
        found.append(("then", ", ".join(entry.then)))
    if entry.last:
        run = entry.last
        state = str(run.state).replace("_", " ")
        found.append(("last run", f"{run.run_id} {state}, {started_by(run)}"))
    if entry.seen and entry.seen.note:
        found.append(("not started", not_started(entry.seen.note)))
    if entry.by_itself and entry.seen is None:
        found.append(("", "no tick has seen it yet; what was due before one does is not started"))
    return found


def not_started(note: Mapping[str, Any]) -> str:
    """Say what was due last and not started."""
    if note["kind"] == "schedule_missed":
        span = note["first"] if note["count"] == 1 else f"{note['first']} to {note['last']}"
        return f"{span}: nobody was there ({note['count']} missed)"
    if note["kind"] == "schedule_clock_set_back":
        return f"the clock was set back by {duration(note['seconds'])}"
    if note["kind"] == "schedule_changed":
        return (
            "it was declared otherwise before, and counts from when a tick saw the change; if this "
            "stays here, workers have different catalogs"
        )
    return f"{note['key']}: {note['reason']}" if "key" in note else str(note["reason"])


def _say_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        errors().print(f"deskfeed: {problem}", style="yellow", markup=False)


def _say_beat(silent: float | None, *, ticks: bool, needed: bool) -> None:
    if ticks and silent is not None:
        click.echo(f"Beat ticks: the last time {duration(silent)} ago.")
        return
    if not needed:
        return
    said = "for an hour or more" if silent is None else f"for {duration(silent)}"
    errors().print(
        f"No tick {said}: nothing starts by itself. Start beat, and a worker that takes its "
        f"ticks: {BEAT}",
        style="bold yellow",
        markup=False,
    )
