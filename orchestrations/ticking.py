"""What a tick does: start the runs that are due, and those that come after others.

Whatever starts a run here does it under a key: of a schedule the due minute in UTC, of `after` the
id of the run that ended (`orchestrations.keys`). The same key is the same run, so ticks may come
twice, at once, or again after one that died midway; and a person who starts a run with such a key
starts that one. A message cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from orchestrations import runs
from orchestrations.access import SCHEDULER, load_access
from orchestrations.alert_rules import load_rules
from orchestrations.chains import followers
from orchestrations.keys import key_of
from orchestrations.loader import Catalog, InvalidCatalog, Reading
from orchestrations.schedule import due_minutes
from orchestrations.spec import Orchestration
from orchestrations.timetable import Schedule
from worker.errors import CatalogError, UsageError
from worker.ledger import Ledger
from worker.ledger.records import Origin, Run
from worker.ledger.schedules import Note, Seen
from worker.ledger.states import RunState

log = structlog.get_logger(__name__)

GRACE_S = 600.0
"""A due minute is late when no tick was worked on for so long: a restart takes less."""

CLOCK_SLACK_S = 60.0
"""The ledger's clock may be set back by so much without anybody taking note."""

GOES_ON = frozenset({RunState.SUCCEEDED, RunState.FINISHED_WITH_FAILURES})
"""Ends after which what comes `after` is started: the run went through to its end."""


def declared(orchestration: Orchestration) -> str | None:
    """Return what starts an orchestration by itself, in one line; None: nothing does."""
    if orchestration.status == "draft":
        return None
    if orchestration.schedule is not None:
        return f"{orchestration.schedule.cron} {orchestration.schedule.timezone}"
    return f"after {orchestration.after}" if orchestration.after else None


def all_declared(catalog: Catalog) -> dict[str, str]:
    """Return what starts by itself, by name of the orchestration."""
    found = {name: declared(spec) for name, spec in catalog.orchestrations.items()}
    return {name: text for name, text in found.items() if text is not None}


def chained(catalog: Catalog) -> dict[str, str]:
    """Return which orchestration comes after which; drafts come after none."""
    specs = catalog.orchestrations.items()
    return {name: spec.after for name, spec in specs if spec.after and spec.status == "active"}


def tick(ledger: Ledger, reading: Reading) -> list[Run]:
    """Start all that is due now; return the runs that are new. The caller enqueues their plans.

    Args:
        ledger: it says how far the ticks before came, and what time it is.
        reading: the catalog as far as it is right. What a broken file declared last is kept, and
            made up for once it is mended.

    Raises:
        LedgerError: nothing is lost; the next tick does it.
    """
    reading, may_start = _with_rules(ledger, reading)
    _tell_problems(ledger, reading)
    now = ledger.schedules.now()
    seen = ledger.schedules.see(all_declared(reading.catalog), keep=reading.broken)
    if not may_start:
        return []
    started = _start_due(ledger, reading, seen, now)
    for ended in ledger.schedules.unfollowed():
        started += _follow(ledger, reading, seen, ended)
    return started


def follow(ledger: Ledger, reading: Reading, run_id: str) -> list[Run]:
    """Start what comes after a run that has ended; return the runs that are new.

    A tick does the same for runs after which nobody looked.
    """
    ended = ledger.runs.get(run_id)
    reading, may_start = _with_rules(ledger, reading)
    if ended is None or ended.ended_at is None or not may_start:
        return []
    seen = ledger.schedules.see(all_declared(reading.catalog), keep=reading.broken)
    return _follow(ledger, reading, seen, ended)


def _with_rules(ledger: Ledger, reading: Reading) -> tuple[Reading, bool]:
    """Return the reading with what is wrong with the rules; while it is, nobody may start.

    The ledger learns whether there are rules, for those whose DESKFEED_CATALOG is another folder.
    """
    try:
        access = load_access(reading.catalog.folder)
        ledger.schedules.note_rules(there=not access.everybody)
    except InvalidCatalog as error:
        ledger.schedules.note_rules(there=True)
        problems = (*reading.problems, *error.problems)
        return replace(reading, problems=problems), False
    try:
        load_rules(reading.catalog.folder)
    except InvalidCatalog as error:  # runs start all the same; who is told of them may be wrong
        return replace(reading, problems=(*reading.problems, *error.problems)), True
    return reading, True


def _tell_problems(ledger: Ledger, reading: Reading) -> None:
    problems = [str(problem) for problem in reading.problems]
    if ledger.schedules.tell_problems(problems):
        if problems:
            log.error("catalog_broken", problems=problems, broken=sorted(reading.broken))
        else:
            log.info("catalog_mended")


# --- schedules --------------------------------------------------------------------------------


def _start_due(ledger: Ledger, reading: Reading, seen: Mapping[str, Seen], now: float) -> list[Run]:
    started: list[Run] = []
    idle = []
    for name, orchestration in reading.catalog.orchestrations.items():
        schedule = orchestration.schedule
        if schedule is None or name not in seen:
            continue
        one = seen[name]
        if one.checked_until - now > CLOCK_SLACK_S:
            _set_back(ledger, one, now)
            continue
        dues = _dues(schedule, one.checked_until, now)
        if dues:
            started += _start_newest(ledger, reading.catalog, one, schedule, dues, now)
        elif one.checked_until < now:
            idle.append(one)
    ledger.schedules.move_on(idle, now)
    return started


def _dues(schedule: Schedule, since: float, now: float) -> list[datetime]:
    after, until = datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(now, UTC)
    return list(due_minutes(schedule.cron, schedule.timezone, after, until))


def _start_newest(
    ledger: Ledger,
    catalog: Catalog,
    one: Seen,
    schedule: Schedule,
    dues: Sequence[datetime],
    now: float,
) -> list[Run]:
    """Start a run for the newest of the due minutes; those before it, and one too old, are told."""
    newest = dues[-1]
    late = now - newest.timestamp() > GRACE_S
    missed = dues if late and schedule.catch_up == "none" else dues[:-1]
    notes = [_missed(one, missed, schedule)] if missed else []
    new: list[Run] = []
    if newest not in missed:
        new, refused = _start(ledger, catalog, one.orchestration, key_of(newest), "schedule")
        notes += refused
    if ledger.schedules.settle(one, now, notes):
        _log(notes)
    return new


def _missed(one: Seen, missed: Sequence[datetime], schedule: Schedule) -> Note:
    data = {"count": len(missed), "first": key_of(missed[0]), "last": key_of(missed[-1])}
    data["catch_up"] = schedule.catch_up
    return Note("schedule_missed", one.orchestration, key_of(missed[-1]), data=data)


def _set_back(ledger: Ledger, one: Seen, now: float) -> None:
    """The clock was set back: go on from now. The keys of runs keep all from starting twice."""
    ahead = round(one.checked_until - now)
    note = Note("schedule_clock_set_back", one.orchestration, data={"seconds": ahead})
    if ledger.schedules.settle(one, now, [note]):
        _log([note])


# --- after ------------------------------------------------------------------------------------


def _follow(ledger: Ledger, reading: Reading, seen: Mapping[str, Seen], ended: Run) -> list[Run]:
    """Start what comes after an ended run, and write down that it is done."""
    first = _first_of(ledger, ended)
    started: list[Run] = []
    notes: list[Note] = []
    for name in _following(reading, seen, ended) if first is not None else ():
        if name in reading.broken:
            notes.append(_not_followed(name, ended, "catalog_error"))
        elif ended.state not in GOES_ON:
            notes.append(_not_followed(name, ended, f"run_{ended.state}"))
        else:
            new, refused = _start(ledger, reading.catalog, name, str(first), "after")
            started += new
            notes += refused
    if ledger.schedules.followed(ended.run_id, notes):
        _log(notes)
    return started


def _following(reading: Reading, seen: Mapping[str, Seen], ended: Run) -> list[str]:
    """Return what comes after a run, if that was known before the run ended."""
    after = chained(reading.catalog)
    for name in reading.broken & seen.keys():
        text = seen[name].declared
        if text.startswith("after "):
            after[name] = text.removeprefix("after ")
    return [
        name
        for name in followers(after, ended.orchestration)
        if name in seen and seen[name].first_seen <= (ended.ended_at or 0.0)
    ]


def _first_of(ledger: Ledger, run: Run) -> str | None:
    """Return the id under which others follow a run; None if nothing follows it: it is a sample.

    A retry is followed under the id of the run that it retries, so that whatever came after that
    run already does not come twice.
    """
    while run.parent_run:
        parent = ledger.runs.get(run.parent_run)
        if parent is None:
            return run.parent_run
        run = parent
    return None if runs.Options.from_json(run.options).sample is not None else run.run_id


def _not_followed(name: str, ended: Run, why: str) -> Note:
    reason = f"{ended.run_id} of {ended.orchestration} ended as {ended.state}"
    return Note("schedule_skipped", name, "", ended.run_id, {"why": why, "reason": reason})


# --- both -------------------------------------------------------------------------------------


def _start(
    ledger: Ledger, catalog: Catalog, name: str, key: str, origin: Origin
) -> tuple[list[Run], list[Note]]:
    """Start a run; return it if it is new, and what is to tell if it cannot be started."""
    try:
        run, new = runs.start(
            catalog, name, ledger=ledger, principal=SCHEDULER, key=key, origin=origin
        )
    except CatalogError:
        raise  # it broke since it was read: nothing is settled, the next tick says so
    except UsageError as error:
        in_the_way = ledger.runs.active(name) if error.code == "already_active" else None
        data = {"key": key, "origin": origin, "why": error.code, "reason": error.message}
        if in_the_way:
            data["active"] = in_the_way
        return [], [Note("schedule_skipped", name, key, in_the_way, data)]
    log.info("run_started", run_id=run.run_id, orchestration=name, key=key, origin=origin, new=new)
    return ([run] if new else []), []


def _log(notes: Sequence[Note]) -> None:
    for note in notes:
        log.warning(note.kind, orchestration=note.orchestration, **note.data)
