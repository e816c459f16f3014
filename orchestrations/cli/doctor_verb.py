"""`deskfeed doctor`: look at everything that must be there, and say what to do where it is not."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from orchestrations.cli import opened
from orchestrations.cli.output import EXIT_FAILED, console, print_json, verb
from worker.errors import DeskfeedError, UsageError
from worker.settings import settings

if TYPE_CHECKING:
    from orchestrations.diagnosis import Check
    from orchestrations.loader import Catalog
    from worker.ledger import Ledger

COLORS = {"ok": "green", "warn": "yellow", "fail": "bold red"}

PINGS = 5

CLOCK_DAYS = 14
"""A change of the clock is told so early; `check` tells of a whole year."""


@click.command("doctor")
@verb
def doctor(*, as_json: bool) -> None:
    """Check settings, Redis, ledger, workers, beat, catalog, schedules, credentials; 1: one fails.

    Nothing is sent to Zendesk; whether it accepts us says: deskfeed destinations test NAME.
    """
    from orchestrations import diagnosis

    checks = [diagnosis.ok("settings", "read"), diagnosis.judge_times(opened.times())]
    looks = {
        "redis": _redis,
        "ledger": _ledger,
        "catalog": _catalog,
        "schedules": _schedules,
        "alerts": _alerts,
    }
    for name, look in looks.items():
        checks.extend(_looked(name, look))
    ill = diagnosis.failed(checks)
    if as_json:
        print_json({"ok": not ill, "checks": [asdict(check) for check in checks]})
    else:
        _say(checks)
    if ill:
        raise SystemExit(EXIT_FAILED)


def _looked(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    from orchestrations import diagnosis

    try:
        return list(look())
    except DeskfeedError as error:
        return [diagnosis.fail(name, error)]


def _redis() -> list[Check]:
    from orchestrations import diagnosis
    from worker.limiter import connect
    from worker.redis_server import inspect_server, measure

    with connect(settings().redis()) as client:
        server = inspect_server(client)
        latency, ahead = min(measure(client, time.time) for _ in range(PINGS))
    return diagnosis.judge_redis(server, latency, ahead)


def _ledger() -> Iterable[Check]:
    from orchestrations import diagnosis
    from worker.ledger.pulse import Pulse
    from worker.options import TICK_SECONDS

    times = opened.times()
    with opened.ledger() as ledger:
        pulse = Pulse(ledger.database)
        file = ledger.database.is_sqlite
        yield diagnosis.judge_revision(*pulse.revision(), "SQLite" if file else "PostgreSQL")
        # On another host than the ledger's SQLite refuses to be opened, which is told as well.
        yield diagnosis.ok("ledger hosts", "this one only" if file else "any number")
        yield from _disk(ledger)
        yield diagnosis.judge_encryption(ledger.secrecy.look())
        yield diagnosis.judge_workers(pulse.workers(), times)
        yield diagnosis.judge_backlog(pulse.backlog(), times)
        tick = TICK_SECONDS * settings().time_scale
        yield diagnosis.judge_beat(pulse.beat_silent_seconds(), tick)


def _disk(ledger: Ledger) -> Iterable[Check]:
    from orchestrations import diagnosis

    if ledger.database.is_sqlite:
        file = Path(settings().ledger.partition("///")[2].partition("?")[0])
        yield diagnosis.judge_disk(shutil.disk_usage(file.parent).free)


def _catalog() -> Iterable[Check]:
    from orchestrations import diagnosis
    from orchestrations.credentials import ending_tokens

    catalog = opened.catalog()
    count = len(catalog.orchestrations)
    yield diagnosis.ok("catalog", f"{count} orchestration{'' if count == 1 else 's'}")
    named = {one.credential for one in catalog.destinations.values()}
    problems = {name: _problem(name) for name in named}
    ending = ending_tokens(settings(), named, _now().date())
    yield from diagnosis.judge_credentials(problems, _used(catalog), ending)


def _schedules() -> Iterable[Check]:
    from orchestrations import agenda, diagnosis
    from orchestrations.cli.schedule_verb import not_started
    from orchestrations.loader import read_catalog

    now = _now()
    try:
        reading = read_catalog(settings().catalog)
        with opened.ledger() as ledger:
            entries = agenda.agenda(reading, ledger, 0, now)
    except DeskfeedError:
        return []  # told by the checks of catalog and ledger
    doubts = {
        name: agenda.warnings(reading.catalog, one, now, CLOCK_DAYS)
        for name, one in reading.catalog.orchestrations.items()
    }
    unstarted = {entry.name: agenda.not_made_up_for(entry) for entry in entries}
    return diagnosis.judge_schedules(
        sum(entry.by_itself for entry in entries),
        doubts,
        {name: not_started(note) for name, note in unstarted.items() if note},
        {entry.name for entry in entries if entry.orchestration is None and entry.seen},
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _problem(credential: str) -> UsageError | None:
    try:
        settings().credential(credential)
    except UsageError as error:
        return error
    return None


def _alerts() -> Iterable[Check]:
    from orchestrations import diagnosis
    from orchestrations.alert_rules import load_rules
    from orchestrations.channels import refuse_unsendable

    refuse_unsendable(settings().alerts)
    named = load_rules(settings().catalog).all_channels
    return [diagnosis.judge_channels(set(settings().alerts), named)]


def _used(catalog: Catalog) -> set[str]:
    return {
        catalog.destinations[one.destination].credential
        for one in catalog.orchestrations.values()
        if one.status == "active"
    }


def _say(checks: Iterable[Check]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for check in checks:
        color = COLORS[check.verdict]
        table.add_row(f"[{color}]{check.verdict}[/]", check.name, _escaped(check.said))
        if check.remedy:
            table.add_row("", "", _escaped(f"What to do: {check.remedy}"))
    console().print(table)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
